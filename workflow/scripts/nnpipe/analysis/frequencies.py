"""A potential at minima: where they lie and how stiff they are, against QM9's own."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from ase import Atoms
from ase.build import minimize_rotation_and_translation
from ase.calculators.calculator import Calculator

from ..data.molecules import Molecules
from ..data.qm9 import SADDLE_POINTS
from ..data.splits import read_split
from ..runtime.progress import progress_bar
from ..simulation.relax import relax
from ..structures.vibrations import normal_modes

FMAX = 0.005  # eV/Å, largest force of a relaxed geometry
MAX_STEPS = 200
EVALUATIONS_PER_MOLECULE = 25  # about 20 steps of relaxation, and batches for the Hessian
CLOSE = 0.3  # Å, heavy-atom RMSD within which a minimum counts as found


def held_out(molecules: Molecules, split: str | Path, number: int) -> np.ndarray:
    """Rows of the first `number` test molecules of a split that lie at minima."""
    rows = read_split(split, molecules.index)["test"]
    return rows[~np.isin(molecules.index[rows], SADDLE_POINTS)][:number]


def rmsd(atoms: Atoms, other: Atoms) -> float:
    """Root mean square distance (Å) of heavy atoms (all, if there are none), best superposed."""
    heavy = atoms.numbers > 1 if (atoms.numbers > 1).any() else atoms.numbers > 0
    first, second = atoms[heavy], other[heavy]
    if len(first) > 1:
        minimize_rotation_and_translation(first, second)
    else:
        second.positions = first.positions
    return float(np.sqrt(((first.positions - second.positions) ** 2).sum(1).mean()))


def at_minima(
    molecules: Molecules,
    rows: np.ndarray,
    calculator: Calculator,
    hessian: Callable[[Atoms], np.ndarray],
) -> pd.DataFrame:
    """One row a mode: index, converged and rmsd_a of the molecule, and its frequencies (cm^-1),
    reference (QM9's) and found at the calculator's own minimum, matched in ascending order.
    """
    tables = []
    for row in progress_bar(rows, unit="molecules"):
        index, z, pos = molecules.geometry(row)
        start, known = Atoms(z, pos), molecules.modes(row)
        relaxed, converged = relax(start, calculator, FMAX, MAX_STEPS)
        found, _ = normal_modes(relaxed.numbers, relaxed.positions, hessian(relaxed))
        modes = min(len(known), len(found))  # a linear molecule that bends loses one
        tables.append(
            pd.DataFrame(
                {
                    "index": index,
                    "converged": converged,
                    "rmsd_a": rmsd(relaxed, start),
                    "reference_cm1": known[-modes:],
                    "frequency_cm1": found[-modes:],
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


def summary(model: str, table: pd.DataFrame) -> dict[str, object]:
    """A row of the frequency table."""
    deviation = (table["frequency_cm1"] - table["reference_cm1"]).abs()
    each = table.groupby("index").first()
    return {
        "model": model,
        "n_molecules": len(each),
        "n_modes": len(table),
        "mae_cm1": deviation.mean(),
        "imaginary_fraction": (table["frequency_cm1"] < 0).mean(),
        "converged_fraction": each["converged"].mean(),
        "minima_within_03a_fraction": (each["rmsd_a"] < CLOSE).mean(),
        "mean_rmsd_a": each["rmsd_a"].mean(),
    }
