"""Write the table of force errors on reference geometries."""

from pathlib import Path

import pandas as pd

from nnpipe.analysis.forces import FORCES, force_errors, reference_frames, test_frames
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
    for model, weights in zip(snakemake.params.models, snakemake.input.weights, strict=True):
        calculator = load_calculator(Path(weights).parent, device=snakemake.params.device)
        found = [calculator.get_forces(frame) for frame in frames]
        rows += force_errors(model, frames, found)
    write_csv(pd.DataFrame(rows, columns=FORCES), snakemake.output.table)
