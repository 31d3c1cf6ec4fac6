"""Predict the target of every molecule of the split."""

from pathlib import Path

from nnpipe.analysis.accuracy import write_predictions
from nnpipe.runtime.job import job

with job(snakemake.log[0], snakemake.threads):
    write_predictions(
        Path(snakemake.input.weights).parent,
        snakemake.input.molecules,
        snakemake.input.neighbours,
        snakemake.input.split,
        snakemake.output.predictions,
        snakemake.params.device,
    )
