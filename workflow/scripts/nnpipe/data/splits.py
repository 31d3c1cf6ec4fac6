"""Training, validation and test molecules, as a CSV file of indices."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
from ase.data import chemical_symbols
from ase.io import read

from ..errors import InputError
from ..runtime.files import write_csv
from .molecules import PART_CODES, Molecules

log = logging.getLogger(__name__)
PARTS = ("train", "validation", "test")


def smallest_molecules(molecules: Molecules, number: int) -> np.ndarray:
    """Return the indices (number,) of the molecules with the fewest heavy atoms.

    Of molecules with as many heavy atoms, the first in the table come first. Molecules of a file
    for validation or test are left out.
    """
    heavy = np.add.reduceat(np.asarray(molecules.z) > 1, molecules.ptr[:-1], dtype=np.int64)
    index = molecules.index
    if molecules.part is not None:
        heavy, index = heavy[molecules.part == 0], index[molecules.part == 0]
    return index[np.argsort(heavy, kind="stable")[:number]]


def always_trained(
    molecules: Molecules, smallest: int, frames: str | Path | None = None
) -> np.ndarray:
    """Return the indices of the molecules that may only train, in order of precedence.

    They are the `smallest_molecules`, then the molecules of the extended xyz file `frames`, to
    which labels are fitted: their numbers in QM9 are the values `qm9` of its frames.
    """
    first = smallest_molecules(molecules, smallest)
    found = [atoms.info.get("qm9", -1) for atoms in read(frames, ":")] if frames else []
    more = molecules.index[np.isin(molecules.index, found)]
    return np.append(first, np.setdiff1d(more, first))


def write_split(
    index: np.ndarray,
    train: int,
    validation: int,
    test: int,
    seed: int,
    path: str | Path,
    always: np.ndarray | tuple[int, ...] = (),
    first: np.ndarray | tuple[int, ...] = (),
    part: np.ndarray | None = None,
) -> None:
    """Write the columns `index` and `split`, for a random choice of the indices `index` (M,).

    The indices in `always` belong to the training set; those that do not fit in are in no part. All
    others are shuffled; the first become test, then validation, then training molecules: with the
    same seed, a larger training set contains the smaller one, and the test molecules stay the same.
    Of the molecules that are left for training, the ones in `first` come first.

    `part` (M,), codes of PART_CODES, marks molecules of files of their own for validation or test.
    Such a file is all of its part. If both exist, all others train.

    Raises InputError if there are too few molecules.
    """
    own = {}
    if part is not None:
        own = {name: index[part == code] for name, code in PART_CODES.items() if code in part}
        index = own.pop("")
    validation, test = 0 if "validation" in own else validation, 0 if "test" in own else test
    train = len(index) if len(own) == 2 else train
    order = np.random.default_rng(seed).permutation(index)
    others, always = order[~np.isin(order, always)], np.asarray(always, order.dtype)[:train]
    if train + validation + test > (number := len(always) + len(others)):
        raise InputError(
            f"config.yaml: split: {train} + {validation} + {test} molecules are more than the"
            f" {number} of the data set; lower train, validation or test"
        )
    held_out, rest = np.split(others, [test + validation])
    rest = rest[np.argsort(~np.isin(rest, first), kind="stable")]
    order = np.concatenate([held_out, rest[: train - len(always)], always, *own.values()])
    names = ["test", "validation", "train", *own]
    parts = np.repeat(names, [test, validation, train, *map(len, own.values())])
    write_csv(pd.DataFrame({"index": order, "split": parts}), path)


def read_split(path: str | Path, index: np.ndarray) -> dict[str, np.ndarray]:
    """Return the rows in the table of molecules of each part: train, validation and test.

    `index` (M,) are the ascending indices of the table.

    Raises InputError if the file is damaged, a part is unknown or has no molecule, or an index is
    unknown or occurs twice.
    """
    remedy = "correct it, or delete it and run again"
    try:
        table = pd.read_csv(path, usecols=["index", "split"], dtype={"index": "int64"})
    except ValueError as error:  # of pandas, too
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not a table of index and split ({reason}); {remedy}") from None
    if len(others := np.flatnonzero(~table["split"].isin(PARTS))):
        raise InputError(
            f"{path}: line {others[0] + 2}: {str(table['split'][others[0]])!r} is not one of"
            f" {', '.join(PARTS)}; {remedy}"
        )
    if empty := set(PARTS) - set(table["split"]):
        raise InputError(f"{path}: no molecule in {' and '.join(sorted(empty))}; {remedy}")
    if table["index"].duplicated().any():
        twice = table["index"][table["index"].duplicated()].iloc[0]
        raise InputError(f"{path}: molecule {twice} occurs twice; keep one of its lines")
    rows = np.searchsorted(index, table["index"]).clip(max=len(index) - 1)
    if (index[rows] != table["index"]).any():
        unknown = table["index"][index[rows] != table["index"]].iloc[0]
        raise InputError(f"{path}: molecule {unknown} is not in the data set; remove it")
    return {part: rows[table["split"] == part] for part in PARTS}


def evenly(rows: np.ndarray, number: int) -> np.ndarray:
    """Return `number` of the `rows` (R,), evenly spread; all of them if there are fewer."""
    return rows[np.linspace(0, len(rows) - 1, min(number, len(rows))).astype(int)]


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


def warn_of_duplicates(path: str | Path, molecules: Molecules) -> None:
    """Warn if molecules of the validation or test set are also in the training set.

    Geometries are the same if they agree to 1e-3 Å after a translation, atom by atom.
    """
    seen: dict[bytes, int] = {}
    parts = read_split(path, molecules.index)
    for part in PARTS:
        twice = []
        for row in parts[part].tolist():
            index, z, pos = molecules.geometry(row)
            key = z.tobytes() + np.round((pos - pos[0]) * 1e3).astype(np.int32).tobytes()
            if part == "train":
                seen[key] = index
            elif key in seen:
                twice.append((index, seen[key]))
        if twice:
            log.warning(
                "%s: %d of %d %s molecules are training molecules, too, for instance %d, which is"
                " %d; errors look smaller than they are",
                path, len(twice), len(parts[part]), part, *twice[0],
            )  # fmt: skip
