"""Write the tables of the errors of every model."""

from pathlib import Path

import pandas as pd

from nnpipe.analysis.accuracy import accuracy, accuracy_markdown
from nnpipe.models.checkpoint import read_info
from nnpipe.models.names import readable_name
from nnpipe.runtime.files import atomic, write_csv
from nnpipe.runtime.job import job

with job(snakemake.log[0], snakemake.threads):
    infos = [read_info(Path(path).parent) for path in snakemake.input.infos]
    predictions = [pd.read_csv(path) for path in snakemake.input.predictions]
    rows = map(accuracy, snakemake.params.models, infos, predictions)
    table = pd.concat(rows, ignore_index=True)
    write_csv(table, snakemake.output.table)
    named = table.assign(model=table["model"].map(readable_name))
    with atomic(snakemake.output.readable) as path:
        path.write_text(accuracy_markdown(named, pd.read_csv(snakemake.input.published)))
