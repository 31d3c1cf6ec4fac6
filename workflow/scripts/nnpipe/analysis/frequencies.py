"""Minima and harmonic frequencies of a calculator, compared with QM9."""

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

FMAX = 0.005  # eV/Å, largest force on an atom of a relaxed geometry
MAX_STEPS = 200  # of a relaxation
EVALUATIONS_PER_MOLECULE = 25  # about 20 steps of relaxation, and batches for the Hessian
SAME_MINIMUM_A = 0.3  # Å, RMSD of heavy atoms up to which two minima count as the same


def held_out(molecules: Molecules, split: str | Path, number: int) -> np.ndarray:
    """Return the rows of the first `number` test molecules of a split that are minima in QM9."""
    rows = read_split(split, molecules.index)["test"]
    return rows[~np.isin(molecules.index[rows], SADDLE_POINTS)][:number]


def rmsd(atoms: Atoms, other: Atoms) -> float:
    """Return the root mean square distance (Å) of the superposed heavy atoms, or of all atoms if
    there are no heavy ones.
    """
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
    """Return one row per mode: index, converged and rmsd_a of the molecule, frequency of QM9
    (reference_cm1) and frequency at the calculator's own minimum (frequency_cm1).

    `hessian` returns the Hessian (3N, 3N) eV/Å^2 of relaxed atoms. Modes are matched in ascending
    order.
    """
    tables = []
    for row in progress_bar(rows, unit="molecules"):
        index, z, pos = molecules.geometry(row)
        start, known = Atoms(z, pos), molecules.modes(row)
        relaxed, converged = relax(start, calculator, FMAX, MAX_STEPS)
        found, _ = normal_modes(relaxed.numbers, relaxed.positions, hessian(relaxed))
        modes = min(len(known), len(found))  # a linear molecule has one more mode than a bent one
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
    """Return the row of a model in the frequency table, from the modes of `at_minima`."""
    deviation = (table["frequency_cm1"] - table["reference_cm1"]).abs()
    molecules = table.groupby("index").first()
    return {
        "model": model,
        "n_molecules": len(molecules),
        "n_modes": len(table),
        "mae_cm1": deviation.mean(),
        "imaginary_fraction": (table["frequency_cm1"] < 0).mean(),
        "converged_fraction": molecules["converged"].mean(),
        "minima_within_03a_fraction": (molecules["rmsd_a"] < SAME_MINIMUM_A).mean(),
        "mean_rmsd_a": molecules["rmsd_a"].mean(),
    }
