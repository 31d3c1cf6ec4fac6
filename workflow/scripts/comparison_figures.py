"""Plot all models together: learning curves, error by molecule size, error by element."""

from pathlib import Path

import pandas as pd

from nnpipe.analysis import plots
from nnpipe.analysis.style import save
from nnpipe.data.molecules import read_molecules
from nnpipe.models.checkpoint import read_info
from nnpipe.runtime.job import job

with job(snakemake.log[0], snakemake.threads):
    models = snakemake.params.models
    infos = {
        m: read_info(Path(p).parent) for m, p in zip(models, snakemake.input.infos, strict=True)
    }
    targets = {model: (info.target, info.unit) for model, info in infos.items()}
    tables = dict(zip(models, map(pd.read_csv, snakemake.input.predictions), strict=True))
    metrics = (pd.read_json(path, lines=True) for path in snakemake.input.metrics)
    histories = dict(zip(models, metrics, strict=True))
    molecules, _ = read_molecules(snakemake.input.molecules)
    save(plots.learning_curves(histories, targets), snakemake.output.curves)
    save(plots.error_by_size(tables, targets), snakemake.output.size)
    figure = plots.error_by_element(tables, targets, molecules)
    save(figure, snakemake.output.element)
