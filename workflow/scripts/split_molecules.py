"""Draw the training, validation and test molecules."""

from nnpipe.data.molecules import read_molecules
from nnpipe.data.splits import check_elements, smallest, write_split
from nnpipe.runtime.job import job

with job(snakemake.log[0]):
    molecules, _ = read_molecules(snakemake.input.molecules)
    sizes = dict(snakemake.params.sizes)
    always = smallest(molecules, sizes.pop("smallest"))
    write_split(molecules.index, **sizes, path=snakemake.output.split, always=always)
    check_elements(snakemake.output.split, molecules)
