"""Read QM9 into one table."""

from nnpipe.qm9 import convert
from nnpipe.script import script

with script(snakemake.log[0]):
    convert(snakemake.input.manifest, snakemake.output.molecules)
