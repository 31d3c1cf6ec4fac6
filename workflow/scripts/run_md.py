"""Relax a molecule with a model and run it."""

import json
from dataclasses import asdict
from pathlib import Path

from ase.io import read

from nnpipe.runtime.files import atomic
from nnpipe.runtime.job import job
from nnpipe.simulation.calculator import load_calculator
from nnpipe.simulation.md import simulate
from nnpipe.simulation.settings import Settings

with job(snakemake.log[0], snakemake.threads):
    settings = dict(snakemake.params.settings)
    dtype, replicas = settings.pop("dtype"), settings.pop("replicas")
    folder = Path(snakemake.input.weights).parent
    long = settings["length_ps"] / settings["timestep_fs"] > 5  # 5,000 steps
    summaries = simulate(
        [read(snakemake.input.structure)] * replicas,
        load_calculator(folder, dtype, snakemake.params.device, compiled=long),
        Settings(**settings),
        snakemake.output.trajectory,
        snakemake.wildcards.model,
        [snakemake.wildcards.molecule] * replicas,
    )
    with atomic(snakemake.output.summary) as path:
        path.write_text(json.dumps(list(map(asdict, summaries)), indent=1) + "\n")
