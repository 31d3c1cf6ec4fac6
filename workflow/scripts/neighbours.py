"""Find every atom's neighbours."""

from nnpipe.molecules import read_molecules
from nnpipe.neighbours import write_neighbours
from nnpipe.script import script

with script(snakemake.log[0]):
    molecules, header = read_molecules(snakemake.input.molecules)
    provenance = {"molecules": header["digest"]}
    write_neighbours(molecules, snakemake.params.cutoff, snakemake.output.neighbours, provenance)
