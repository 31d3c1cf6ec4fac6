"""Figures and data of a trajectory: the run itself, its spectrum, and the energy along a bond."""

import json
from pathlib import Path

from ase.io import read

from nnpipe.analysis.md_figures import md_figures, run_data, write_frames
from nnpipe.analysis.style import save
from nnpipe.runtime.files import write_csv
from nnpipe.runtime.job import job
from nnpipe.simulation.calculator import load_calculator

with job(snakemake.log[0], snakemake.threads):
    frames = read(snakemake.input.trajectory, ":")
    summaries = json.loads(Path(snakemake.input.summary).read_text())
    folder = Path(snakemake.input.weights).parent
    data = run_data(frames, load_calculator(folder, device=snakemake.params.device))
    write_frames(data.modes, snakemake.output.modes)
    write_csv(data.spectrum, snakemake.output.density)
    write_frames(data.geometries, snakemake.output.geometries)
    figures = md_figures(frames, summaries, data, snakemake.params.limit)
    for name, figure in figures.items():
        save(figure, snakemake.output[name])
