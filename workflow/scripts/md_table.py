"""Table of all runs."""

import json
from pathlib import Path

import pandas as pd

from nnpipe.evaluate import write_csv
from nnpipe.script import script

with script(snakemake.log[0]):
    rows = [json.loads(Path(path).read_text()) for path in snakemake.input.summaries]
    write_csv(pd.DataFrame(rows), snakemake.output.table)
