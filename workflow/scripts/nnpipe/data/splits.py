"""Training, validation and test molecules, as a CSV file of indices."""

from pathlib import Path

import numpy as np
import pandas as pd
from ase.data import chemical_symbols

from ..errors import InputError
from ..runtime.files import write_csv
from .molecules import Molecules

PARTS = ("train", "validation", "test")


def smallest_molecules(molecules: Molecules, number: int) -> np.ndarray:
    """Return the indices (number,) of the molecules with the fewest heavy atoms.

    Of molecules with as many heavy atoms, the first in the table come first.
    """
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
    """Write the columns `index` and `split`, for a random choice of the indices `index` (M,).

    The indices in `always` belong to the training set. All others are shuffled; the first become
    test, then validation, then training molecules: with the same seed, a larger training set
    contains the smaller one, and the test molecules stay the same.

    Raises InputError if there are too few molecules, or more in `always` than in the training set.
    """
    if train + validation + test > len(index):
        raise InputError(
            f"config.yaml: split: {train} + {validation} + {test} molecules are more than the"
            f" {len(index)} of the data set; lower train, validation or test"
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
    write_csv(pd.DataFrame({"index": order, "split": parts}), path)


def read_split(path: str | Path, index: np.ndarray) -> dict[str, np.ndarray]:
    """Return the rows in the table of molecules of each part: train, validation and test.

    `index` (M,) are the ascending indices of the table.

    Raises InputError if an index is unknown or occurs twice.
    """
    table = pd.read_csv(path)
    if table["index"].duplicated().any():
        twice = table["index"][table["index"].duplicated()].iloc[0]
        raise InputError(f"{path}: molecule {twice} occurs twice; keep one of its lines")
    rows = np.searchsorted(index, table["index"]).clip(max=len(index) - 1)
    if (index[rows] != table["index"]).any():
        unknown = table["index"][index[rows] != table["index"]].iloc[0]
        raise InputError(f"{path}: molecule {unknown} is not in the data set; remove it")
    return {part: rows[table["split"] == part] for part in PARTS}


def check_training_elements(path: str | Path, molecules: Molecules) -> None:
    """Raise InputError if an element of the split `path` has no training molecule."""
    owner = np.repeat(np.arange(len(molecules)), np.diff(molecules.ptr))
    z = np.asarray(molecules.z)
    held = {
        part: set(z[np.isin(owner, rows)].tolist())
        for part, rows in read_split(path, molecules.index).items()
    }
    if missing := (held["validation"] | held["test"]) - held["train"]:
        raise InputError(
            f"config.yaml: split: element {chemical_symbols[min(missing)]} is in validation or"
            " test molecules only; raise train or set another seed"
        )
