"""Table and figure of harmonic frequencies."""

import pandas as pd

from nnpipe import plots
from nnpipe.minima import summary
from nnpipe.script import script
from nnpipe.store import write_csv

with script(snakemake.log[0]):
    models = snakemake.params.models
    tables = dict(zip(models, map(pd.read_csv, snakemake.input.modes), strict=True))
    rows = [summary(model, table) for model, table in tables.items()]
    write_csv(pd.DataFrame(rows), snakemake.output.table)
    plots.save(plots.frequency_parity(tables), snakemake.output.figure)
