"""Read QM9 into one table."""

from nnpipe.logs import logged
from nnpipe.qm9 import convert

with logged(snakemake.log[0]):
    convert(snakemake.input.manifest, snakemake.output.molecules)
