"""Copy a model that was trained before."""

from pathlib import Path

from nnpipe.models.checkpoint import copy_model
from nnpipe.runtime.job import job

with job(snakemake.log[0], snakemake.threads):
    copy_model(
        source=Path(snakemake.input.weights).parent,
        folder=Path(snakemake.output.weights).parent,
        architecture=snakemake.params.architecture,
        target=snakemake.params.target,
        hyperparameters=snakemake.params.hyperparameters,
    )
