"""Figures of all models: learning curves, error by size, error by element."""

from pathlib import Path

import pandas as pd
from nnpipe import plots
from nnpipe.checkpoint import read_info
from nnpipe.logs import logged
from nnpipe.molecules import read_molecules

with logged(snakemake.log[0]):
    models = snakemake.params.models
    infos = dict(zip(models, (read_info(Path(p).parent) for p in snakemake.input.infos)))
    targets = {model: (info.target, info.unit) for model, info in infos.items()}
    tables = dict(zip(models, map(pd.read_csv, snakemake.input.predictions)))
    histories = dict(
        zip(models, (pd.read_json(p, lines=True) for p in snakemake.input.metrics))
    )
    molecules, _ = read_molecules(snakemake.input.molecules)
    plots.save(plots.learning_curves(histories, targets), snakemake.output.curves)
    plots.save(plots.error_by_size(tables, targets), snakemake.output.size)
    figure = plots.error_by_element(tables, targets, molecules)
    plots.save(figure, snakemake.output.element)
