"""Train a model."""

from pathlib import Path

from nnpipe.device import use_threads
from nnpipe.fit import fit
from nnpipe.script import promised_cores, script
from nnpipe.train import Settings

with script(snakemake.log[0]):
    use_threads(snakemake.threads, promised_cores())
    start = [Path(path).parent for path in snakemake.input.start]
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
        labels=snakemake.input.labels or None,
        start=start[0] if start else None,
        code=snakemake.params.code,
        device=snakemake.params.device,
    )
