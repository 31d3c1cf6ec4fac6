"""Plot predictions against labels."""

from pathlib import Path

import pandas as pd

from nnpipe.analysis import plots
from nnpipe.analysis.style import save
from nnpipe.models.checkpoint import read_info
from nnpipe.runtime.job import job

with job(snakemake.log[0], snakemake.threads):
    info = read_info(Path(snakemake.input.info).parent)
    predictions = pd.read_csv(snakemake.input.predictions)
    figure = plots.parity(snakemake.wildcards.model, predictions, info.target, info.unit)
    save(figure, snakemake.output.figure)
