"""Fine-tuning of a trained model on own frames in one call."""

import inspect
import tempfile
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import pandas as pd
from ase import Atoms

from ..data.frames import write_tables
from ..data.molecules import read_molecules
from ..data.splits import read_split, write_split
from ..errors import InputError
from ..graphs.dataset import Dataset, load_dataset
from ..models.checkpoint import load_model
from ..models.potential import SURFACE, Potential
from ..models.predict import force_errors, predict
from ..schema_errors import did_you_mean
from ..simulation.calculator import NeuralCalculator, load_calculator
from ..training.run import shift_references, train_from_files
from ..training.settings import Settings, Stage
from .threads import torch_threads

MIN_FRAMES = 10
FEW_FRAMES: dict[str, Any] = {  # few frames give few steps; see docs/how-to/fine-tune.md
    "batch_atoms": 100, "learning_rate": 1e-3, "warmup_steps": 20, "compiled": False,
}  # fmt: skip


def fine_tune(
    frames: Sequence[Atoms],
    folder: str | Path,
    start: str | Path = "gnn",
    *,
    epochs: int = 100,
    seed: int = 0,
    threads: int = 1,
    **changes: Any,
) -> tuple[NeuralCalculator, pd.DataFrame]:
    """Train a model further on frames of another level of theory; write it to `folder`.

    Return its calculator and a table of mean absolute errors on a fifth of the frames, drawn with
    `seed`, that nothing else uses: a row for the start, whose atomic references are shifted to the
    new level, and one for the tuned model. Another fifth selects the best epoch.

    frames: with energies (eV) and forces (eV/Å) of a calculator, not periodic.
    start: the name of a shipped model or the folder of a trained one.
    threads: threads of PyTorch.
    changes: settings of nnpipe.training.settings.Settings, such as learning_rate.

    Raises InputError for a setting or frame that is not valid; see data/extxyz.py.
    """
    settings = _settings(epochs, seed, changes)
    if len(frames) < MIN_FRAMES:
        raise InputError(f"frames: {len(frames)}; give at least {MIN_FRAMES}")
    begun = load_calculator(start, device="cpu")
    origin = begun.parameters["model"]
    potential, about = load_model(origin)
    with tempfile.TemporaryDirectory() as made, torch_threads(threads):
        molecules, neighbours, split = _tables(frames, Path(made), potential.cutoff, seed)
        train_from_files(
            folder, about.architecture, about.hyperparameters, SURFACE, settings, molecules,
            neighbours, split, Path(made) / "checkpoint", start=origin,
        )  # fmt: skip
        parts = read_split(split, read_molecules(molecules)[0].index)
        train, test = (
            load_dataset(molecules, neighbours, parts[name], SURFACE, potential.cutoff)
            for name in ("train", "test")
        )
        models = {"start": shift_references(potential, train), "tuned": load_model(folder)[0]}
        errors = pd.DataFrame({name: _errors(model, test) for name, model in models.items()}).T
    return load_calculator(folder), errors


def _settings(epochs: int, seed: int, changes: dict[str, Any]) -> Settings:
    known = {field.name for field in fields(Settings)} | set(
        inspect.signature(fine_tune).parameters
    )
    for name in changes:
        if name not in known:
            raise InputError(f"{name}: not a setting of fine_tune; {did_you_mean(name, known)}")
    values: dict[str, Any] = {"stages": (Stage(epochs),), "seed": seed}
    return Settings(**values | FEW_FRAMES | changes)


def _tables(
    frames: Sequence[Atoms], folder: Path, cutoff: float, seed: int
) -> tuple[Path, Path, Path]:
    """Return the paths of the tables of molecules and neighbours and of the split."""
    for number, frame in enumerate(frames):
        if frame.calc is None or not {"energy", "forces"} <= set(frame.calc.results):
            raise InputError(f"frames: frame {number} has no energy and forces; compute them first")
    molecules, neighbours = write_tables(frames, cutoff, folder)
    table, _ = read_molecules(molecules)
    split = folder / "split.csv"
    fifth, count = len(table) // 5, len(table)
    write_split(table.index, count - 2 * fifth, fifth, fifth, seed, split)
    return molecules, neighbours, split


def _errors(potential: Potential, data: Dataset) -> dict[str, float]:
    """Return the mean absolute errors of a model on frames with energies and forces."""
    energy = (predict(potential, data) - data.target).abs().mean().item()
    force = force_errors(potential, data).abs().mean().item()
    return {"energy, MAE (meV)": 1000 * energy, "forces, MAE (meV/Å)": 1000 * force}
