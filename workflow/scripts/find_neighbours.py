"""Find the neighbours of every atom."""

from nnpipe.data.molecules import read_molecules
from nnpipe.data.neighbour_table import write_neighbours
from nnpipe.runtime.job import job

with job(snakemake.log[0], snakemake.threads):
    molecules, header = read_molecules(snakemake.input.molecules)
    provenance = {"molecules": header["digest"]}
    write_neighbours(molecules, snakemake.params.cutoff, snakemake.output.neighbours, provenance)
