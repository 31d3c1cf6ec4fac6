"""A cheap surface bent through what is known of an expensive one: slope and curvature at a minimum.

A cheap method has its own minimum and its own curvature. Terms in the distances of atom pairs are
added to it, so that the sum is stationary at the expensive method's minimum and, with a
`Correction`, has its harmonic frequencies. Being functions of distances, they keep the surface
invariant: molecules may turn, and parts of them.
"""

from dataclasses import dataclass

import numpy as np

from ..structures.vibrations import Surface

REACH = 0.5  # Å, change of a length beyond which the terms level off: far from the minimum nothing
# is known of their sum, and what is cheap is left as it is
MORSE = 2.0  # 1/Å, of the term in the curvature: bonds soften when they stretch
LOCALITY = 0.5  # Å: slopes are put on short pairs, long ones cost exp of their length over this
RIDGE = 1e-4  # of the least squares for the slopes


def pairs(pos: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """All pairs i < j: i (P,), j (P,), lengths (P,) Å and unit vectors from i to j (P, 3)."""
    i, j = np.triu_indices(len(pos), 1)
    vectors = pos[j] - pos[i]
    length = np.linalg.norm(vectors, axis=1)
    return i, j, length, vectors / length[:, None]


def spread(i: np.ndarray, j: np.ndarray, pull: np.ndarray, count: int) -> np.ndarray:
    """(N, 3) forces from the pull (P, 3) on the first atom of each pair, opposite on the second."""
    forces = np.zeros((count, 3))
    np.add.at(forces, i, pull)
    np.add.at(forces, j, -pull)
    return forces


@dataclass(frozen=True)
class Anchor:
    """The terms of one molecule; `rest` are its lengths at the minimum `origin` (N, 3) Å."""

    origin: np.ndarray
    rest: np.ndarray  # (P,) Å
    slope: np.ndarray  # (P,) eV/Å
    curvature: np.ndarray  # (P,) eV/Å^2
    remainder: np.ndarray  # (N, 3) eV/Å, what slopes leave of the force; small, and kept linear

    def __call__(self, pos: np.ndarray) -> tuple[float, np.ndarray]:
        """Energy (eV, 0 at the minimum) and forces (N, 3) eV/Å of the terms."""
        i, j, length, unit = pairs(pos)
        level = np.tanh((length - self.rest) / REACH)
        stretch = REACH * level
        decay = np.exp(-MORSE * stretch)
        energy = (self.slope * stretch + 0.5 * self.curvature * ((1 - decay) / MORSE) ** 2).sum()
        energy += (self.remainder * (pos - self.origin)).sum()
        gradient = self.slope + self.curvature * (1 - decay) * decay / MORSE
        pull = gradient * (1 - level**2)
        return energy, spread(i, j, pull[:, None] * unit, len(pos)) - self.remainder


def anchor(pos: np.ndarray, forces: np.ndarray, curvature: np.ndarray | float = 0.0) -> Anchor:
    """The terms that cancel `forces` (N, 3) eV/Å, a surface's own at the minimum `pos` (N, 3) Å.

    `curvature` (P,) eV/Å^2 is added to each pair's. Forces without net force and torque are a sum
    of forces along pairs; least squares choose small ones on short pairs.
    """
    i, j, length, unit = pairs(pos)
    jacobian = np.zeros((len(i), *pos.shape))
    jacobian[np.arange(len(i)), j] = unit
    jacobian[np.arange(len(i)), i] = -unit
    jacobian = jacobian.reshape(len(i), -1)
    weight = np.exp((1 - length) / LOCALITY)
    scaled = jacobian.T * weight
    normal = scaled @ scaled.T + RIDGE * np.eye(pos.size)
    slope = weight * (scaled.T @ np.linalg.solve(normal, forces.ravel()))
    remainder = forces - (slope @ jacobian).reshape(pos.shape)
    return Anchor(pos, length, slope, np.broadcast_to(curvature, length.shape), remainder)


def bent(surface: Surface, pos: np.ndarray, curvature: np.ndarray | float = 0.0) -> Surface:
    """The surface with the terms that make it stationary at `pos` (N, 3) Å; see `anchor`."""
    terms = anchor(pos, surface(pos)[1], curvature)

    def whole(moved: np.ndarray) -> tuple[float, np.ndarray]:
        (energy, forces), (more, pull) = surface(moved), terms(moved)
        return energy + more, forces + pull

    return whole
