"""Predict the target of every molecule of the split."""

import os
from pathlib import Path

from nnpipe.device import use_threads
from nnpipe.evaluate import write_predictions
from nnpipe.logs import logged

with logged(snakemake.log[0]):
    use_threads(snakemake.threads, int(os.environ.get("NNPIPE_CORES") or snakemake.threads))
    write_predictions(
        Path(snakemake.input.weights).parent,
        snakemake.input.molecules,
        snakemake.input.neighbours,
        snakemake.input.split,
        snakemake.output.predictions,
        snakemake.params.device,
    )
