"""Write the table of all molecular dynamics runs."""

import json
from pathlib import Path

import pandas as pd

from nnpipe.runtime.files import write_csv
from nnpipe.runtime.job import job

with job(snakemake.log[0], snakemake.threads):
    rows = [row for path in snakemake.input.summaries for row in json.loads(Path(path).read_text())]
    write_csv(pd.DataFrame(rows), snakemake.output.table)
