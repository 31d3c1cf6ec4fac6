"""Write the table of harmonic frequencies and plot them."""

import pandas as pd

from nnpipe.analysis import plots
from nnpipe.analysis.frequencies import summary
from nnpipe.analysis.style import save
from nnpipe.runtime.files import write_csv
from nnpipe.runtime.job import job

with job(snakemake.log[0], snakemake.threads):
    models = snakemake.params.models
    tables = dict(zip(models, map(pd.read_csv, snakemake.input.modes), strict=True))
    rows = [summary(model, table) for model, table in tables.items()]
    write_csv(pd.DataFrame(rows), snakemake.output.table)
    save(plots.frequency_parity(tables), snakemake.output.figure)
