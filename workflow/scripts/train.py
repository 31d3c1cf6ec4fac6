"""Train a model in as many processes as it has GPUs."""

from pathlib import Path

from nnpipe.runtime.job import job
from nnpipe.training.run import launch

with job(snakemake.log[0], snakemake.threads):
    start = [Path(path).parent for path in snakemake.input.start]
    launch(
        snakemake.params.processes,
        snakemake.params.nodes,
        snakemake.threads,
        snakemake.log[0],
        folder=str(Path(snakemake.output.weights).parent),
        architecture=snakemake.params.architecture,
        hyperparameters=snakemake.params.hyperparameters,
        target=snakemake.params.target,
        settings=snakemake.params.settings,
        molecules=snakemake.input.molecules,
        neighbours=snakemake.input.neighbours,
        split=snakemake.input.split,
        checkpoint=snakemake.params.checkpoint,
        labels=snakemake.input.labels or None,
        start=str(start[0]) if start else None,
        code=snakemake.params.code,
        device=snakemake.params.device,
    )
