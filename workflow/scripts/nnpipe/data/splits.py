"""Training, validation and test molecules, as a file of indices."""

from pathlib import Path

import numpy as np
import pandas as pd
from ase.data import chemical_symbols

from ..errors import InputError
from ..runtime.files import atomic
from .molecules import Molecules

PARTS = ("train", "validation", "test")


def smallest_molecules(molecules: Molecules, number: int) -> np.ndarray:
    """Indices (number,) of the molecules of fewest heavy atoms, those listed earlier first."""
    heavy = np.add.reduceat(np.asarray(molecules.z) > 1, molecules.ptr[:-1], dtype=np.int64)
    return molecules.index[np.argsort(heavy, kind="stable")[:number]]


def write_split(
    index: np.ndarray,
    train: int,
    validation: int,
    test: int,
    seed: int,
    path: str | Path,
    always: np.ndarray | tuple[int, ...] = (),
) -> None:
    """Write `index,split` rows drawn without replacement from `index` (M,).

    Test comes first in the shuffled order, then validation, then training, with those of `always`:
    a larger training set of the same seed contains the smaller and leaves the test molecules as
    they are.
    """
    if train + validation + test > len(index):
        raise InputError(
            f"config.yaml: split: {train} + {validation} + {test} molecules are asked for,"
            f" the data set has {len(index)}; lower train, validation or test"
        )
    if len(always) > train:
        raise InputError(
            f"config.yaml: split.always_train_smallest: {len(always)} is above train, {train};"
            " lower it"
        )
    order = np.random.default_rng(seed).permutation(index)
    drawn = order[~np.isin(order, always)][: test + validation + train - len(always)]
    order = np.concatenate([drawn, np.asarray(always, order.dtype)])
    parts = np.repeat(["test", "validation", "train"], [test, validation, train])
    table = pd.DataFrame({"index": order, "split": parts})
    with atomic(path) as temporary:
        table.to_csv(temporary, index=False)


def read_split(path: str | Path, index: np.ndarray) -> dict[str, np.ndarray]:
    """Rows of the molecules table in each part, {"train": (n,), "validation": ..., "test": ...}.

    Raises InputError if a molecule is unknown or named twice.
    """
    table = pd.read_csv(path)
    if table["index"].duplicated().any():
        twice = table["index"][table["index"].duplicated()].iloc[0]
        raise InputError(f"{path}: molecule {twice} is named twice; a molecule has one split")
    rows = np.searchsorted(index, table["index"]).clip(max=len(index) - 1)
    if (index[rows] != table["index"]).any():
        unknown = table["index"][index[rows] != table["index"]].iloc[0]
        raise InputError(f"{path}: molecule {unknown} is not in the data set")
    return {part: rows[table["split"] == part] for part in PARTS}


def check_training_elements(path: str | Path, molecules: Molecules) -> None:
    """Raise InputError if a part holds an element that no training molecule has: nothing could be
    known of it.
    """
    owner = np.repeat(np.arange(len(molecules)), np.diff(molecules.ptr))
    z = np.asarray(molecules.z)
    held = {
        part: set(z[np.isin(owner, rows)].tolist())
        for part, rows in read_split(path, molecules.index).items()
    }
    if missing := (held["validation"] | held["test"]) - held["train"]:
        raise InputError(
            f"config.yaml: split: element {chemical_symbols[min(missing)]} is in none of the"
            " training molecules, but in others; raise train or take another seed"
        )
