"""Tables of accuracy: predictions, errors, and published figures beside them."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read

from .batch import load_dataset
from .checkpoint import ModelInfo, load_model
from .device import pick_device
from .molecules import read_molecules
from .splits import read_split
from .store import read as read_store
from .store import sha256, write_csv
from .train import predict
from .units import readable

FORCES = ["model", "reference", "n_frames", "mae_mev_per_a", "rmse_mev_per_a", "cosine"]
TEST_FRAMES = 1000
log = logging.getLogger(__name__)
ACCURACY = [
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
    """Write a row for every molecule of the split: index, split, atoms and, in the target's unit,
    target, reference (what the atomic references alone predict) and prediction.
    """
    potential, info = load_model(folder)
    if info.data.get("split") != sha256(split):
        log.warning("%s: trained on another split, its test molecules may be no test here", folder)
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
                    "reference": potential.reference(data),
                    "prediction": predict(potential, data),
                }
            )
        )
    write_csv(pd.concat(tables), path)


def accuracy(model: str, info: ModelInfo, predictions: pd.DataFrame) -> pd.DataFrame:
    """One row a split: errors of a model in its target's unit (mse in its square)."""
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
    """The test rows beside published figures (of QM9), for reading; errors of eV in meV."""
    lines = [
        "Errors on molecules that no training saw.",
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


def reference_frames(path: str | Path, split: str | Path) -> list[Atoms]:
    """Frames of a reference in extended xyz, but for those of molecules that training has seen."""
    seen = set(pd.read_csv(split).query("split != 'test'")["index"])
    return [frame for frame in read(path, ":") if frame.info.get("qm9") not in seen]


def test_frames(molecules: str | Path, split: str | Path) -> list[Atoms]:
    """The first TEST_FRAMES test molecules of a data set with their forces; none if it has none."""
    table, _ = read_molecules(molecules)
    if table.forces is None:
        return []
    frames = []
    for row in read_split(split, table.index)["test"][:TEST_FRAMES]:
        atoms = Atoms(*table.geometry(row)[1:], info={"reference": "test"})
        forces = table.forces[table.ptr[row] : table.ptr[row + 1]]
        atoms.calc = SinglePointCalculator(atoms, forces=np.array(forces))
        frames.append(atoms)
    return frames


def force_errors(
    model: str, frames: Sequence[Atoms], predicted: Sequence[np.ndarray]
) -> list[dict[str, object]]:
    """A row for every set of reference frames (their `info` names it), of forces (N, 3) eV/Å that
    a model predicts against those that the frames hold; errors of components, cosine of atoms
    (those without any force left out).
    """
    rows = []
    for name in dict.fromkeys(frame.info["reference"] for frame in frames):
        mine = [n for n, frame in enumerate(frames) if frame.info["reference"] == name]
        known = np.concatenate([frames[n].get_forces() for n in mine])
        found = np.concatenate([predicted[n] for n in mine])
        error = 1000 * (found - known)
        lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(known, axis=1)
        rows.append(
            {
                "model": model,
                "reference": name,
                "n_frames": len(mine),
                "mae_mev_per_a": np.abs(error).mean(),
                "rmse_mev_per_a": np.sqrt((error**2).mean()),
                "cosine": ((found * known).sum(1)[lengths > 0] / lengths[lengths > 0]).mean(),
            }
        )
    return rows


def cost(benchmarks: Sequence[str | Path]) -> pd.DataFrame:
    """Seconds, memory and processor time of every job, from Snakemake's benchmark files."""
    rows = []
    for path in benchmarks:
        measured = pd.read_csv(path, sep="\t", na_values="-").iloc[-1]
        rows.append(
            {
                "rule": Path(path).parent.name,
                "job": Path(path).stem,
                "seconds": measured["s"],
                "cpu_seconds": measured["cpu_time"],
                "peak_memory_mb": measured["max_rss"],
                "read_mb": measured["io_in"],
                "written_mb": measured["io_out"],
            }
        )
    return pd.DataFrame(rows)
