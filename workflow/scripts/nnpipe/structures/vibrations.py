"""Normal modes: from forces to a Hessian to harmonic frequencies."""

from collections.abc import Callable

import numpy as np
from ase.data import atomic_masses

from ..units import FREQUENCY

STEP = 0.005  # Å, of the differences of forces
Surface = Callable[[np.ndarray], tuple[float, np.ndarray]]  # pos (N, 3) -> eV, forces (N, 3) eV/Å


def vibrational_space(z: np.ndarray, pos: np.ndarray, periodic: bool = False) -> np.ndarray:
    """(3N, V) orthonormal basis of the mass-weighted displacements that neither translate nor
    rotate the molecule; V is 3N - 6, or 3N - 5 if it is linear, or 3N - 3 where it is periodic.
    """
    root = np.sqrt(atomic_masses[z])[:, None]
    centred = pos - np.average(pos, axis=0, weights=root[:, 0] ** 2)
    axes = np.eye(3)
    rigid = [(root * axis).ravel() for axis in axes]
    rigid += [(root * np.cross(axis, centred)).ravel() for axis in axes if not periodic]
    basis, size, _ = np.linalg.svd(np.array(rigid).T)
    return basis[:, (size > 1e-4 * size[0]).sum() :]


def normal_modes(
    z: np.ndarray, pos: np.ndarray, hessian: np.ndarray, periodic: bool = False
) -> tuple[np.ndarray, ...]:
    """Harmonic frequencies (V,) cm^-1, ascending, imaginary ones negative, and the Cartesian
    displacements (3N, V) Å of their modes, of unit length when weighted by the root of mass (amu).

    `hessian` (3N, 3N) eV/Å^2.
    """
    weight = np.repeat(1 / np.sqrt(atomic_masses[z]), 3)
    space = vibrational_space(z, pos, periodic)
    inside = space.T @ (hessian * np.outer(weight, weight)) @ space
    squared, vectors = np.linalg.eigh(inside)
    frequencies = np.sign(squared) * np.sqrt(np.abs(squared)) * FREQUENCY
    return frequencies, weight[:, None] * (space @ vectors)


def hessian(surface: Surface, pos: np.ndarray) -> np.ndarray:
    """(3N, 3N) eV/Å^2, by central differences of forces."""
    columns = []
    for place in range(pos.size):
        shift = np.zeros_like(pos)
        shift.flat[place] = STEP
        columns.append((surface(pos - shift)[1] - surface(pos + shift)[1]).ravel() / (2 * STEP))
    whole = np.array(columns)
    return 0.5 * (whole + whole.T)
