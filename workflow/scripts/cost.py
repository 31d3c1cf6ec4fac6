"""Table of what every job cost."""

from nnpipe.evaluate import cost
from nnpipe.script import script
from nnpipe.store import write_csv

with script(snakemake.log[0]):
    write_csv(cost(snakemake.input), snakemake.output.table)
