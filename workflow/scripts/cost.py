"""Table of what every job cost."""

from nnpipe.evaluate import cost, write_csv
from nnpipe.script import script

with script(snakemake.log[0]):
    write_csv(cost(snakemake.input), snakemake.output.table)
