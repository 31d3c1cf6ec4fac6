"""Predict the target of every molecule of the split."""

from pathlib import Path

from nnpipe.analysis.accuracy import write_predictions
from nnpipe.runtime.device import use_threads
from nnpipe.runtime.job import cores_of_workflow, job

with job(snakemake.log[0]):
    use_threads(snakemake.threads, cores_of_workflow())
    write_predictions(
        Path(snakemake.input.weights).parent,
        snakemake.input.molecules,
        snakemake.input.neighbours,
        snakemake.input.split,
        snakemake.output.predictions,
        snakemake.params.device,
    )
