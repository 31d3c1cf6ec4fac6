"""Relax held-out molecules with a model and find their harmonic frequencies."""

from pathlib import Path

from nnpipe.analysis.frequencies import at_minima, held_out
from nnpipe.data.molecules import read_molecules
from nnpipe.runtime.files import write_csv
from nnpipe.runtime.job import job
from nnpipe.simulation.calculator import load_calculator

with job(snakemake.log[0], snakemake.threads):
    molecules, _ = read_molecules(snakemake.input.molecules)
    rows = held_out(molecules, snakemake.input.split, snakemake.params.molecules)
    folder = Path(snakemake.input.weights).parent
    many = snakemake.params.molecules > 200
    calculator = load_calculator(folder, device=snakemake.params.device, compiled=many)
    table = at_minima(molecules, rows, calculator, calculator.get_hessian)
    write_csv(table, snakemake.output.modes)
