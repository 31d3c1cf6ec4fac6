"""Table of force errors on reference geometries."""

from pathlib import Path

import pandas as pd
from ase.io import read

from nnpipe.calculator import load_calculator
from nnpipe.device import use_threads
from nnpipe.evaluate import force_errors
from nnpipe.script import script
from nnpipe.store import write_csv

with script(snakemake.log[0]):
    use_threads(snakemake.threads)
    split = pd.read_csv(snakemake.input.split).query("split != 'test'")["index"]
    known = set(split.tolist())
    frames = [f for f in read(snakemake.input.reference, ":") if f.info.get("qm9") not in known]
    cheap = [frame.arrays["gfn2_forces"] for frame in frames]
    rows = force_errors("GFN2-xTB", frames, cheap)
    for model, weights in zip(snakemake.params.models, snakemake.input.weights, strict=True):
        calculator = load_calculator(Path(weights).parent, device=snakemake.params.device)
        found = [calculator.get_forces(frame) for frame in frames]
        rows += force_errors(model, frames, found)
    write_csv(pd.DataFrame(rows), snakemake.output.table)
