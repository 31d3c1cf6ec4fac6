"""Atomic reference energies: what a sum over elements explains of a target."""

import numpy as np


def atomic_references(z: np.ndarray, sizes: np.ndarray, target: np.ndarray) -> dict[int, float]:
    """Least-squares value per element, {atomic number: unit of target}, in float64.

    `z` (N,), numbers of atoms `sizes` (M,), `target` (M,). Where the molecules cannot tell elements
    apart (all of one formula, say), the solution of least norm is taken.
    """
    elements = np.unique(z)
    molecule = np.repeat(np.arange(len(target)), sizes)
    counts = np.stack(
        [np.bincount(molecule[z == element], minlength=len(target)) for element in elements], 1
    )
    values = np.linalg.lstsq(counts.astype(np.float64), target.astype(np.float64), rcond=None)[0]
    return dict(zip(elements.tolist(), values.tolist(), strict=True))
