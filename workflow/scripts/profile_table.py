"""Write the table of errors along energy profiles off the minimum, and plot the profiles."""

from pathlib import Path

from ase.io import read

from nnpipe.analysis.profiles import profile_curves, profile_errors
from nnpipe.analysis.style import save
from nnpipe.labelling.delta import with_delta
from nnpipe.labelling.methods import method
from nnpipe.runtime.files import write_csv
from nnpipe.runtime.job import job
from nnpipe.simulation.calculator import load_calculator

with job(snakemake.log[0], snakemake.threads):
    frames = read(snakemake.input.reference, ":")
    energies = {"GFN2-xTB": [frame.info["gfn2_energy"] for frame in frames]}
    if snakemake.input.parameters:
        plain = method("teacher", snakemake.input.parameters)
        teacher = with_delta(plain, snakemake.input.delta)
        energies["teacher"] = [teacher(frame.numbers)(frame.positions)[0] for frame in frames]
    for model, weights in zip(snakemake.params.models, snakemake.input.weights, strict=True):
        calculator = load_calculator(Path(weights).parent, device=snakemake.params.device)
        energies[model] = [calculator.get_potential_energy(frame) for frame in frames]
    write_csv(profile_errors(frames, energies), snakemake.output.table)
    save(profile_curves(frames, energies), snakemake.output.figure)
