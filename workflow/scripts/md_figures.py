"""Figures of a trajectory: the run itself, its spectrum, and the energy along a bond."""

import json
from pathlib import Path

from ase.io import read

from nnpipe.analysis import plots
from nnpipe.analysis.md_figures import md_figures
from nnpipe.runtime.job import job
from nnpipe.simulation.calculator import load_calculator

with job(snakemake.log[0], snakemake.threads):
    frames = read(snakemake.input.trajectory, ":")
    summaries = json.loads(Path(snakemake.input.summary).read_text())
    folder = Path(snakemake.input.weights).parent
    calculator = load_calculator(folder, device=snakemake.params.device)
    figures = md_figures(frames, summaries, calculator, snakemake.params.limit)
    for name, figure in figures.items():
        plots.save(figure, snakemake.output[name])
