"""Figures of a run, of its spectrum, and of the energy along a bond."""

import json
from pathlib import Path

import numpy as np
from ase.io import read
from tblite.ase import TBLite

from nnpipe.analysis import plots
from nnpipe.analysis.frequencies import relax
from nnpipe.analysis.scan import scan
from nnpipe.analysis.spectrum import vibrational_density
from nnpipe.runtime.job import job
from nnpipe.simulation.calculator import load_calculator
from nnpipe.structures.vibrations import normal_modes

with job(snakemake.log[0], snakemake.threads):
    files, out, model = snakemake.input, snakemake.output, snakemake.wildcards.model
    frames = read(files.trajectory, ":")
    summaries = json.loads(Path(files.summary).read_text())
    plots.save(plots.trajectory(frames, summaries, snakemake.params.limit), out.run)

    first = [frame for frame in frames if frame.info.get("replica", 0) == 0]
    calculator = load_calculator(Path(files.weights).parent, device=snakemake.params.device)
    relaxed, _ = relax(first[0], calculator)
    where = relaxed.numbers, relaxed.positions
    hessian, periodic = calculator.get_hessian(relaxed), bool(relaxed.pbc.any())
    frequencies, _ = normal_modes(*where, hessian, periodic)
    velocities = np.array([frame.get_velocities() for frame in first])
    spacing = first[1].info["time_fs"] if len(first) > 1 else 1.0
    density = vibrational_density(velocities, relaxed.get_masses(), spacing)
    plots.save(plots.spectrum(summaries[0], *density, frequencies), out.spectrum)

    surfaces = {model: calculator, "GFN2-xTB": TBLite(method="GFN2-xTB", verbosity=0)}
    name = f"{summaries[0]['molecule']} with {model}"
    plots.save(plots.scan(name, scan(relaxed, surfaces)), out.scan)
