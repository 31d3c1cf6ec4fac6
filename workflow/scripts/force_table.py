"""Write the table of force errors on reference geometries."""

from pathlib import Path

import pandas as pd

from nnpipe.analysis.forces import FORCES, force_errors, reference_frames, test_frames
from nnpipe.data.molecules import read_molecules
from nnpipe.labelling.correction import read_correction
from nnpipe.labelling.delta import with_delta
from nnpipe.labelling.methods import method
from nnpipe.labelling.table import label_forces
from nnpipe.runtime.files import write_csv
from nnpipe.runtime.job import job
from nnpipe.simulation.calculator import load_calculator

with job(snakemake.log[0], snakemake.threads):
    reference, split = snakemake.input.reference, snakemake.input.split
    if snakemake.params.own_data:
        frames, rows = test_frames(reference, split), []
    else:
        frames = reference_frames(reference, split)
        rows = force_errors("GFN2-xTB", frames, [f.arrays["gfn2_forces"] for f in frames])
    if snakemake.params.labels:
        plain = method(snakemake.params.labels, snakemake.input.parameters)
        teacher = with_delta(plain, snakemake.input.delta)
        correction = read_correction(snakemake.input.correction)
        molecules, _ = read_molecules(snakemake.input.molecules)
        rows += force_errors("labels", frames, label_forces(frames, molecules, teacher, correction))
    for model, weights in zip(snakemake.params.models, snakemake.input.weights, strict=True):
        calculator = load_calculator(Path(weights).parent, device=snakemake.params.device)
        found = [calculator.get_forces(frame) for frame in frames]
        rows += force_errors(model, frames, found)
    write_csv(pd.DataFrame(rows, columns=FORCES), snakemake.output.table)
