"""Predictions, their errors, and published errors for comparison."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd

from ..data.splits import read_split
from ..data.store import read as read_store
from ..graphs.dataset import load_dataset
from ..models.checkpoint import ModelInfo, load_model
from ..models.predict import predict
from ..runtime.device import pick_device
from ..runtime.files import sha256, write_csv
from ..units import readable

log = logging.getLogger(__name__)
ACCURACY = [  # columns of the table
    "model", "split", "target", "unit", "n_train", "n_test", "mae", "rmse", "mse", "seed",
    "parameters", "train_seconds", "peak_memory_mb",
]  # fmt: skip


def write_predictions(
    folder: str | Path,
    molecules: str | Path,
    neighbours: str | Path,
    split: str | Path,
    path: str | Path,
    device: str = "auto",
) -> None:
    """Write one row per molecule of the split: index, split, number of atoms, and in the target's
    unit: target, reference (sum of the atomic references) and prediction.
    """
    potential, info = load_model(folder)
    if info.data.get("split") != sha256(split):
        log.warning("%s: trained on another split, which may contain these test molecules", folder)
    where = pick_device(device)
    potential.to(where)
    index = read_store(molecules, "molecules")[0]["index"]
    tables = []
    for part, rows in read_split(split, index).items():
        data = load_dataset(molecules, neighbours, rows, info.target, potential.cutoff)
        data = data.to(where)
        tables.append(
            pd.DataFrame(
                {
                    "index": index[rows],
                    "split": part,
                    "atoms": data.sizes,
                    "target": data.target,
                    "reference": potential.reference_energy(data),
                    "prediction": predict(potential, data),
                }
            )
        )
    write_csv(pd.concat(tables), path)


def accuracy(model: str, info: ModelInfo, predictions: pd.DataFrame) -> pd.DataFrame:
    """Return one row per split: errors of a model in the target's unit (mse in its square)."""
    rows = []
    for part, table in predictions.groupby("split", sort=False):
        error = (table["prediction"] - table["target"]).to_numpy()
        rows.append(
            [
                model, part, info.target, info.unit, info.n_train, len(table),
                np.abs(error).mean(), np.sqrt((error**2).mean()), (error**2).mean(),
                info.seed, info.parameters, info.train_seconds, info.peak_memory_mb,
            ]
        )  # fmt: skip
    return pd.DataFrame(rows, columns=ACCURACY)


def accuracy_markdown(table: pd.DataFrame, published: pd.DataFrame) -> str:
    """Return the test errors and published errors on QM9 as a Markdown table; eV become meV."""
    lines = [
        "Errors on test molecules.",
        "",
        "| model | target | training molecules | MAE | RMSE | MSE | source |",
        "| --- | --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for row in table[table["split"] == "test"].itertuples():
        factor, unit = readable(row.unit)
        source = f"this run, {row.n_test:,} molecules, seed {row.seed}"
        lines.append(
            f"| {row.model} | {row.target} | {row.n_train:,} | {row.mae * factor:.1f} {unit}"
            f" | {row.rmse * factor:.1f} {unit} | {row.mse:.2g} {row.unit}² | {source} |"
        )
    for row in published.itertuples():
        if row.target in set(table["target"]):
            figures = f"{row.n_train:,} | {row.mae_mev:g} meV | | "
            lines.append(f"| {row.model} | {row.target} | {figures} | {row.source} |")
    return "\n".join(lines) + "\n"
