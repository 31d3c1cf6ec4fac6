"""Table of what every job cost."""

from nnpipe.analysis.cost import cost
from nnpipe.runtime.files import write_csv
from nnpipe.runtime.job import script

with script(snakemake.log[0]):
    write_csv(cost(snakemake.input), snakemake.output.table)
