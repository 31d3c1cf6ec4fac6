"""Find every atom's neighbours."""

from nnpipe.logs import logged
from nnpipe.molecules import read_molecules
from nnpipe.neighbours import write_neighbours

with logged(snakemake.log[0]):
    molecules, header = read_molecules(snakemake.input.molecules)
    provenance = {"molecules": header["digest"]}
    write_neighbours(
        molecules, snakemake.params.cutoff, snakemake.output.neighbours, provenance
    )
