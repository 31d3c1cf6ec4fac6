"""Draw the training, validation and test molecules."""

from nnpipe.molecules import read_molecules
from nnpipe.script import script
from nnpipe.splits import write_split

with script(snakemake.log[0]):
    molecules, _ = read_molecules(snakemake.input.molecules)
    write_split(molecules.index, **snakemake.params.sizes, path=snakemake.output.split)
