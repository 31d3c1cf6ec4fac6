"""Write the table of the time and memory of every job."""

from nnpipe.analysis.cost import cost
from nnpipe.runtime.files import write_csv
from nnpipe.runtime.job import job

with job(snakemake.log[0], snakemake.threads):
    write_csv(cost(snakemake.input), snakemake.output.table)
