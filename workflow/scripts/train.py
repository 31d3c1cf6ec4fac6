"""Train a model, in as many processes as it has GPUs."""

from functools import partial
from pathlib import Path

from nnpipe.fit import fit
from nnpipe.processes import work_together
from nnpipe.script import script
from nnpipe.train import Settings

if __name__ == "__main__":  # the processes that share a training load this file, too
    with script(snakemake.log[0]):
        start = [Path(path).parent for path in snakemake.input.start]
        training = partial(
            fit,
            folder=Path(snakemake.output.weights).parent,
            architecture=snakemake.params.architecture,
            hyperparameters=snakemake.params.hyperparameters,
            target=snakemake.params.target,
            settings=Settings(**snakemake.params.settings),
            molecules=snakemake.input.molecules,
            neighbours=snakemake.input.neighbours,
            split=snakemake.input.split,
            checkpoint=snakemake.params.checkpoint,
            labels=snakemake.input.labels or None,
            start=start[0] if start else None,
            code=snakemake.params.code,
            device=snakemake.params.device,
        )
        processes, threads = snakemake.params.processes, snakemake.threads
        work_together(training, processes, threads, snakemake.log[0])
