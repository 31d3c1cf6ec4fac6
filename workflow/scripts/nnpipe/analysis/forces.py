"""Errors of forces on reference frames."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read

from ..data.molecules import read_molecules
from ..data.splits import read_split

# columns of the table
FORCES = ["model", "reference", "n_frames", "mae_mev_per_a", "rmse_mev_per_a", "cosine"]
TEST_FRAMES = 1000


def reference_frames(path: str | Path, split: str | Path) -> list[Atoms]:
    """Return the frames of an extended xyz file, without molecules that training has used."""
    seen = set(pd.read_csv(split).query("split != 'test'")["index"])
    return [frame for frame in read(path, ":") if frame.info.get("qm9") not in seen]


def test_frames(molecules: str | Path, split: str | Path) -> list[Atoms]:
    """Return the first TEST_FRAMES test molecules of a data set with forces, else no frames."""
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
    """Return one row per reference (named in `info` of the frames): errors of the force components
    and mean cosine between predicted and reference force of an atom.

    `predicted` are forces (N, 3) eV/Å for each frame; the frames contain the reference forces.
    Atoms without a force have no direction and do not enter the cosine.
    """
    rows = []
    for name in dict.fromkeys(frame.info["reference"] for frame in frames):
        places = [n for n, frame in enumerate(frames) if frame.info["reference"] == name]
        known = np.concatenate([frames[n].get_forces() for n in places])
        found = np.concatenate([predicted[n] for n in places])
        error = 1000 * (found - known)
        lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(known, axis=1)
        rows.append(
            {
                "model": model,
                "reference": name,
                "n_frames": len(places),
                "mae_mev_per_a": np.abs(error).mean(),
                "rmse_mev_per_a": np.sqrt((error**2).mean()),
                "cosine": ((found * known).sum(1)[lengths > 0] / lengths[lengths > 0]).mean(),
            }
        )
    return rows
