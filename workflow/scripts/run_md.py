"""Relax a molecule with a model and run molecular dynamics."""

import json
from dataclasses import asdict
from pathlib import Path

from ase.io import read

from nnpipe.runtime.files import atomic
from nnpipe.runtime.job import job
from nnpipe.simulation.calculator import load_calculator, worth_compiling
from nnpipe.simulation.md import number_of_steps, write_trajectory
from nnpipe.simulation.settings import Settings

with job(snakemake.log[0], snakemake.threads):
    values = dict(snakemake.params.settings)
    dtype, replicas = values.pop("dtype"), values.pop("replicas")
    settings = Settings(**values)
    compiled = worth_compiling(number_of_steps(settings))
    folder = Path(snakemake.input.weights).parent
    summaries = write_trajectory(
        [read(snakemake.input.structure)] * replicas,
        load_calculator(folder, dtype, snakemake.params.device, compiled),
        settings,
        snakemake.output.trajectory,
        snakemake.wildcards.model,
        [snakemake.wildcards.molecule] * replicas,
        checkpoint=snakemake.params.checkpoint,
        code=snakemake.params.code,
    )
    with atomic(snakemake.output.summary) as path:
        path.write_text(json.dumps(list(map(asdict, summaries)), indent=1) + "\n")
