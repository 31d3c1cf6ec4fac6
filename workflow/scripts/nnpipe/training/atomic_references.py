"""Atomic reference energies: the best fit of a target by a sum over elements."""

import numpy as np


def atomic_references(
    z: np.ndarray,
    sizes: np.ndarray,
    target: np.ndarray,
    isolated: dict[int, float] | None = None,
) -> dict[int, float]:
    """Return the least-squares value of each element, {atomic number: unit of target}, in float64.

    Shapes: atomic numbers `z` (N,), numbers of atoms `sizes` (M,), `target` (M,). If the molecules
    do not determine the values (all have one formula, for instance), their distance from the
    energies of `isolated` atoms, or from 0, is the least.
    """
    elements = np.unique(z)
    molecule = np.repeat(np.arange(len(target)), sizes)
    counts = np.stack(
        [np.bincount(molecule[z == element], minlength=len(target)) for element in elements], 1
    )
    atoms = np.array([(isolated or {}).get(int(element), 0.0) for element in elements])
    rest = target.astype(np.float64) - counts @ atoms
    values = atoms + np.linalg.lstsq(counts.astype(np.float64), rest, rcond=None)[0]
    return dict(zip(elements.tolist(), values.tolist(), strict=True))
