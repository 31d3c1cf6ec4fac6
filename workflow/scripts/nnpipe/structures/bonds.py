"""Bonds, small rings and rotatable bonds of a system; a Hessian of springs between its atoms."""

from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.geometry import find_mic
from ase.neighborlist import neighbor_list
from scipy.sparse.csgraph import connected_components, shortest_path
from scipy.spatial.transform import Rotation

# Å, by atomic number: two atoms are bonded if they are closer than the sum of their bond radii
BOND_RADII_A = 1.2 * covalent_radii
# bonds longer than this fraction of the sum of covalent radii count as single and can turn fully:
# in minima, C=C, C=N and N=N have up to 0.89, the C-N of amides has 0.905 and more
SINGLE_BOND_RATIO = 0.9
LINE_WIDTH_A = 0.3  # atoms that are closer to the axis of a bond lie in line with it
# eV/Å^2, force constants between atoms that are 0, 1, 2 and 3 bonds apart, and further apart
SPRING_CONSTANTS = np.array([0.0, 30.0, 3.0, 1.0])
FAR_SPRING_CONSTANT = 0.02


def bonded_pairs(atoms: Atoms) -> np.ndarray:
    """Return the bonds (P, 2) as pairs of atom indices i < j; the system may be periodic."""
    first, second = neighbor_list("ij", atoms, BOND_RADII_A[atoms.numbers])
    return np.stack([first, second], 1)[first < second]


def bond_lengths(atoms: Atoms, pairs: np.ndarray) -> np.ndarray:
    """Return the lengths (P,) Å of `pairs` (P, 2), by the minimum image in a periodic system."""
    vectors = atoms.positions[pairs[:, 1]] - atoms.positions[pairs[:, 0]]
    if len(pairs) and atoms.pbc.any():
        vectors, _ = find_mic(vectors, atoms.cell, atoms.pbc)
    return np.linalg.norm(vectors, axis=1)


def bond_matrix(z: np.ndarray, pos: np.ndarray) -> np.ndarray:
    """Return (N, N) bool, True for bonded atoms of a molecule: z (N,), pos (N, 3) Å."""
    distance = np.linalg.norm(pos[:, None] - pos, axis=2)
    bonded = distance < BOND_RADII_A[z][:, None] + BOND_RADII_A[z]
    np.fill_diagonal(bonded, False)
    return bonded


def covalent_radius_sums(z: np.ndarray) -> np.ndarray:
    """Return the sums of covalent radii (N, N) Å of all pairs of atoms z (N,)."""
    return covalent_radii[z][:, None] + covalent_radii[z]


def small_ring_counts(bonded: np.ndarray) -> np.ndarray:
    """Return (N, N) int: the number of rings of three and four atoms that contain each bond.

    Only the entries of bonds are meaningful.
    """
    walks = bonded.astype(int)
    two_steps, degree = walks @ walks, walks.sum(1)
    retraced = degree[:, None] + degree - 1  # walks of three steps that are not part of a ring
    return two_steps + two_steps @ walks - retraced


def spring_hessian(pos: np.ndarray, bonded: np.ndarray) -> np.ndarray:
    """Return the Hessian (3N, 3N) eV/Å^2 of springs at rest between all pairs of atoms.

    The force constant of a pair depends on the number of bonds between its atoms.
    """
    count = len(pos)
    separation = shortest_path(bonded, unweighted=True)
    near = separation < len(SPRING_CONSTANTS)
    springs = np.full((count, count), FAR_SPRING_CONSTANT)
    springs[near] = SPRING_CONSTANTS[separation[near].astype(int)]
    vectors = pos[:, None] - pos
    unit = vectors / (np.linalg.norm(vectors, axis=2) + np.eye(count))[..., None]
    blocks = -springs[..., None, None] * unit[..., :, None] * unit[..., None, :]
    blocks[np.arange(count), np.arange(count)] = -blocks.sum(1)
    return blocks.transpose(0, 2, 1, 3).reshape(3 * count, 3 * count)


def atoms_beyond_bond(bonded: np.ndarray, a: int, b: int) -> np.ndarray | None:
    """Return (N,) bool: the atoms still connected to `b` without the bond a-b; None in a ring."""
    cut = bonded.copy()
    cut[a, b] = cut[b, a] = False
    _, part = connected_components(cut)
    return part == part[b] if part[a] != part[b] else None


class Rotor(NamedTuple):
    """A rotatable bond between the atoms `a` and `b`."""

    a: int
    b: int
    side: np.ndarray  # (N,) bool, `b` and all atoms that turn with it
    is_single: bool  # whether the bond is long enough for a full turn
    is_chain: bool  # whether both atoms have further heavy neighbours


def rotatable_bonds(z: np.ndarray, pos: np.ndarray, bonded: np.ndarray) -> list[Rotor]:
    """Return the rotors of a molecule: bonds outside rings with atoms on both sides that are not in
    line with the bond.

    z (N,), pos (N, 3) Å, bonded (N, N) bool.
    """
    degree, heavy = bonded.sum(1), (bonded & (z > 1)).sum(1)
    longest_double = SINGLE_BOND_RATIO * covalent_radius_sums(z)
    rotors = []
    for a, b in np.argwhere(np.triu(bonded)):
        side = atoms_beyond_bond(bonded, a, b) if min(degree[a], degree[b]) > 1 else None
        if side is None:
            continue
        axis = pos[b] - pos[a]
        length = np.linalg.norm(axis)
        off_axis = np.linalg.norm(np.cross(pos - pos[b], axis / length), axis=1) > LINE_WIDTH_A
        if off_axis[side].any() and off_axis[~side].any():
            is_chain = bool(min(heavy[a], heavy[b]) > 1)
            rotors.append(Rotor(a, b, side, length > longest_double[a, b], is_chain))
    return rotors


def turn_bond(pos: np.ndarray, rotor: Rotor, angle: float) -> np.ndarray:
    """Return positions (N, 3) Å with one side of a rotatable bond turned by `angle` (radians)."""
    a, b, side, *_ = rotor
    axis = pos[b] - pos[a]
    turn = Rotation.from_rotvec(angle * axis / np.linalg.norm(axis))
    turned = pos.copy()
    turned[side] = turn.apply(pos[side] - pos[b]) + pos[b]
    return turned
