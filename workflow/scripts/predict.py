"""Predict the target of every molecule of the split."""

from pathlib import Path

from nnpipe.device import use_threads
from nnpipe.evaluate import write_predictions
from nnpipe.script import promised_cores, script

with script(snakemake.log[0]):
    use_threads(snakemake.threads, promised_cores())
    write_predictions(
        Path(snakemake.input.weights).parent,
        snakemake.input.molecules,
        snakemake.input.neighbours,
        snakemake.input.split,
        snakemake.output.predictions,
        snakemake.params.device,
    )
