"""Bonds, rings and rotors of a molecule, and springs between its atoms."""

from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.geometry import find_mic
from ase.neighborlist import natural_cutoffs, neighbor_list
from scipy.sparse.csgraph import connected_components, shortest_path


def bonded_pairs(atoms: Atoms) -> np.ndarray:
    """(P, 2) pairs of atoms within 1.2 times the sum of their covalent radii, each once."""
    first, second = neighbor_list("ij", atoms, natural_cutoffs(atoms, mult=1.2))
    return np.stack([first, second], 1)[first < second]


def bond_lengths(atoms: Atoms, pairs: np.ndarray) -> np.ndarray:
    """(P,) Å, by the minimum image where the system is periodic."""
    vectors = atoms.positions[pairs[:, 1]] - atoms.positions[pairs[:, 0]]
    if len(pairs) and atoms.pbc.any():
        vectors, _ = find_mic(vectors, atoms.cell, atoms.pbc)
    return np.linalg.norm(vectors, axis=1)


# force constants (eV/Å^2) of springs between atoms one, two and three bonds apart, and beyond
SPRING_CONSTANTS = np.array([0.0, 30.0, 3.0, 1.0])
FAR_SPRING_CONSTANT = 0.02
SINGLE_BOND_RATIO = (
    0.92  # of the sum of covalent radii: longer bonds count as single and may turn all the way
)


def bond_matrix(z: np.ndarray, pos: np.ndarray) -> np.ndarray:
    """(N, N) bool, True within 1.2 times the sum of covalent radii."""
    distance = np.linalg.norm(pos[:, None] - pos, axis=2)
    bonded = distance < 1.2 * covalent_radius_sums(z)
    np.fill_diagonal(bonded, False)
    return bonded


def covalent_radius_sums(z: np.ndarray) -> np.ndarray:
    """(N, N) Å, sums of covalent radii."""
    return covalent_radii[z][:, None] + covalent_radii[z]


def small_ring_counts(bonded: np.ndarray) -> np.ndarray:
    """(N, N) int, how many rings of three and four atoms a bond is in; elsewhere nothing."""
    steps = bonded.astype(int)
    two, degree = steps @ steps, steps.sum(1)
    there_and_back = degree[:, None] + degree - 1  # ways of three steps that are no ring
    return two + two @ steps - there_and_back


def spring_hessian(pos: np.ndarray, bonded: np.ndarray) -> np.ndarray:
    """(3N, 3N) eV/Å^2: springs between all pairs, by the number of bonds between them."""
    count = len(pos)
    steps = shortest_path(bonded, unweighted=True)
    known = steps < len(SPRING_CONSTANTS)
    springs = np.full((count, count), FAR_SPRING_CONSTANT)
    springs[known] = SPRING_CONSTANTS[steps[known].astype(int)]
    vectors = pos[:, None] - pos
    unit = vectors / (np.linalg.norm(vectors, axis=2) + np.eye(count))[..., None]
    blocks = -springs[..., None, None] * unit[..., :, None] * unit[..., None, :]
    blocks[np.arange(count), np.arange(count)] = -blocks.sum(1)
    return blocks.transpose(0, 2, 1, 3).reshape(3 * count, 3 * count)


def atoms_beyond_bond(bonded: np.ndarray, a: int, b: int) -> np.ndarray | None:
    """(N,) bool, the atoms that hang on `b` when the bond a-b is cut; None if it is in a ring."""
    cut = bonded.copy()
    cut[a, b] = cut[b, a] = False
    _, part = connected_components(cut)
    return part == part[b] if part[a] != part[b] else None


class Rotor(NamedTuple):
    """A rotatable bond: atoms `a` and `b`, and the side of the molecule that turns with `b`."""

    a: int
    b: int
    side: np.ndarray  # (N,) bool, True for b and every atom that is connected through b only
    is_single: bool  # whether the bond is long enough for a full turn


def rotatable_bonds(z: np.ndarray, pos: np.ndarray, bonded: np.ndarray) -> list[Rotor]:
    """Return the rotors: bonds outside rings whose two atoms both have further neighbours."""
    degree = bonded.sum(1)
    length = np.linalg.norm(pos[:, None] - pos, axis=2)
    return [
        Rotor(a, b, side, length[a, b] > SINGLE_BOND_RATIO * covalent_radius_sums(z)[a, b])
        for a, b in np.argwhere(np.triu(bonded))
        if degree[a] > 1 and degree[b] > 1 and (side := atoms_beyond_bond(bonded, a, b)) is not None
    ]
