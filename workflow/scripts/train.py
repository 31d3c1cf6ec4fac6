"""Train a model."""

import os
from pathlib import Path

from nnpipe.device import use_threads
from nnpipe.fit import fit
from nnpipe.logs import logged
from nnpipe.train import Settings

with logged(snakemake.log[0]):
    use_threads(snakemake.threads, int(os.environ.get("NNPIPE_CORES") or snakemake.threads))
    fit(
        folder=Path(snakemake.output.weights).parent,
        architecture=snakemake.params.architecture,
        hyperparameters=snakemake.params.hyperparameters,
        target=snakemake.params.target,
        settings=Settings(**snakemake.params.settings),
        molecules=snakemake.input.molecules,
        neighbours=snakemake.input.neighbours,
        split=snakemake.input.split,
        checkpoint=snakemake.params.checkpoint,
        code=snakemake.params.code,
        device=snakemake.params.device,
    )
