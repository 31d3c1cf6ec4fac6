"""Harmonic vibrations: Hessian from forces, normal modes and frequencies from a Hessian."""

from collections.abc import Callable

import numpy as np
from ase.data import atomic_masses

from ..units import FREQUENCY

DISPLACEMENT_A = 0.005  # of each coordinate, in the finite differences of forces
# positions (N, 3) Å -> energy eV, forces (N, 3) eV/Å
ForceFunction = Callable[[np.ndarray], tuple[float, np.ndarray]]


def vibrational_space(masses: np.ndarray, pos: np.ndarray, periodic: bool = False) -> np.ndarray:
    """Return an orthonormal basis (3N, V) of the mass-weighted vibrational displacements.

    Translations and rotations are projected out: V is 3N - 6, 3N - 5 for a linear molecule. In a
    periodic system only translations are: V is 3N - 3. masses (N,) amu, pos (N, 3) Å.
    """
    root = np.sqrt(masses)[:, None]
    centred = pos - np.average(pos, axis=0, weights=root[:, 0] ** 2)
    axes = np.eye(3)
    rigid = [(root * axis).ravel() for axis in axes]
    rigid += [(root * np.cross(axis, centred)).ravel() for axis in axes if not periodic]
    basis, size, _ = np.linalg.svd(np.array(rigid).T)
    return basis[:, (size > 1e-4 * size[0]).sum() :]


def normal_modes(
    z: np.ndarray,
    pos: np.ndarray,
    hessian: np.ndarray,
    periodic: bool = False,
    masses: np.ndarray | None = None,
) -> tuple[np.ndarray, ...]:
    """Return the harmonic frequencies (V,) cm^-1 and the Cartesian displacements (3N, V) of modes.

    Frequencies ascend; imaginary ones are negative. Displacements are in Å for mass-weighted
    displacements of unit length, 1 Å amu^0.5. z (N,), pos (N, 3) Å, hessian (3N, 3N) eV/Å^2, masses
    (N,) amu, of the natural elements by default.
    """
    masses = atomic_masses[z] if masses is None else masses
    weight = np.repeat(1 / np.sqrt(masses), 3)
    space = vibrational_space(masses, pos, periodic)
    projected = space.T @ (hessian * np.outer(weight, weight)) @ space
    squared, vectors = np.linalg.eigh(projected)
    frequencies = np.sign(squared) * np.sqrt(np.abs(squared)) * FREQUENCY
    return frequencies, weight[:, None] * (space @ vectors)


def hessian(function: ForceFunction, pos: np.ndarray) -> np.ndarray:
    """Return the Hessian (3N, 3N) eV/Å^2 of `function` at `pos` (N, 3) Å."""
    return hessian_of_forces(
        lambda pairs: np.array([[function(one)[1] for one in pair] for pair in pairs]), pos
    )


def hessian_of_forces(forces_of: Callable[[np.ndarray], np.ndarray], pos: np.ndarray) -> np.ndarray:
    """Return the Hessian (3N, 3N) eV/Å^2 at `pos` (N, 3) Å, by central differences of forces.

    `forces_of` returns forces (3N, 2, N, 3) eV/Å for geometries (3N, 2, N, 3) Å, in which each
    coordinate is displaced backward and forward.
    """
    shift = DISPLACEMENT_A * np.eye(pos.size).reshape(pos.size, *pos.shape)
    forces = forces_of(np.stack([pos - shift, pos + shift], 1))
    matrix = (forces[:, 0] - forces[:, 1]).reshape(pos.size, pos.size) / (2 * DISPLACEMENT_A)
    return 0.5 * (matrix + matrix.T)
