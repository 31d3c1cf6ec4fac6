"""Relax test molecules with a model and compute their harmonic frequencies."""

from pathlib import Path

from nnpipe.analysis.frequencies import EVALUATIONS_PER_MOLECULE, at_minima, held_out
from nnpipe.data.molecules import read_molecules
from nnpipe.runtime.files import write_csv
from nnpipe.runtime.job import job
from nnpipe.simulation.calculator import load_calculator, worth_compiling

with job(snakemake.log[0], snakemake.threads):
    molecules, _ = read_molecules(snakemake.input.molecules)
    rows = held_out(molecules, snakemake.input.split, snakemake.params.molecules)
    folder = Path(snakemake.input.weights).parent
    compiled = worth_compiling(EVALUATIONS_PER_MOLECULE * len(rows))
    calculator = load_calculator(folder, device=snakemake.params.device, compiled=compiled)
    table = at_minima(molecules, rows, calculator, calculator.get_hessian)
    write_csv(table, snakemake.output.modes)
