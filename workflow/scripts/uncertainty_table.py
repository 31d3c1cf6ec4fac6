"""Write the table of expected against observed errors on held-out molecules, and plot it."""

from pathlib import Path

import pandas as pd

from nnpipe.analysis import plots
from nnpipe.analysis.reliability import UNCERTAINTY, reliability
from nnpipe.analysis.style import save
from nnpipe.models.checkpoint import load_model
from nnpipe.models.uncertainty import held_out_geometries
from nnpipe.runtime.files import write_csv
from nnpipe.runtime.job import job

with job(snakemake.log[0], snakemake.threads):
    rows = []
    for model, weights in zip(snakemake.params.models, snakemake.input.weights, strict=True):
        potential, _ = load_model(Path(weights).parent)
        if potential.uncertainty is not None:
            data = held_out_geometries(
                1,
                potential.cutoff,
                snakemake.input.molecules,
                snakemake.input.neighbours,
                snakemake.input.split,
                snakemake.input.labels or None,
            )
            rows += reliability(model, potential, data)
    table = pd.DataFrame(rows, columns=UNCERTAINTY)
    write_csv(table, snakemake.output.table)
    save(plots.reliability(table), snakemake.output.figure)
