"""Anchor: pair terms that move the minimum of a cheap method to the minimum of an expensive one.

Tight binding and B3LYP have different minima and different curvatures. The anchor of a molecule is
added to the energy of tight binding, so that the sum is stationary at the B3LYP minimum x0 and,
with a `Correction`, has the B3LYP harmonic frequencies there:

    E_anchor(x) = sum_p [ g_p s_p + k_p/2 ((1 - exp(-a s_p)) / a)^2 ] + F_res . (x - x0)
    s_p         = L tanh((r_p - r0_p) / L)

    r_p, r0_p  Å       distance of atom pair p, at x and at x0
    s_p        Å       change of the distance, which saturates at L
    g_p        eV/Å    slope: the g_p cancel the forces of the cheap method at x0
    k_p        eV/Å^2  force constant: from the correction (correction.py), or 0
    F_res      eV/Å    residual forces that no choice of slopes cancels; small
    L = 0.5 Å, a = 2 / Å

All terms but the small last one depend on distances only, so that the sum stays invariant under
rotation of the molecule, and rotatable groups can turn.
"""

from dataclasses import dataclass

import numpy as np

from ..structures.vibrations import ForceFunction

# far from the minimum the correct change of the energy is unknown, and E_anchor becomes constant
SATURATION_LENGTH_A = 0.5  # L
MORSE_EXPONENT_PER_A = 2.0  # a: bonds become softer when they stretch
PAIR_WEIGHT_DECAY_A = 0.5  # slopes go to short pairs: their weight decays exponentially with r0
SLOPE_RIDGE = 1e-4  # of the least squares for the slopes, dimensionless


def atom_pairs(pos: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return all atom pairs i < j: i (P,), j (P,), distances (P,) Å, unit vectors i to j (P, 3)."""
    i, j = np.triu_indices(len(pos), 1)
    vectors = pos[j] - pos[i]
    distance = np.linalg.norm(vectors, axis=1)
    return i, j, distance, vectors / distance[:, None]


def scatter_pair_forces(
    i: np.ndarray, j: np.ndarray, pair_forces: np.ndarray, n_atoms: int
) -> np.ndarray:
    """Return forces (N, 3): the sum of `pair_forces` (P, 3) on atoms i, and of their negative on j.

    The unit of the result is the unit of `pair_forces`.
    """
    forces = np.zeros((n_atoms, 3))
    np.add.at(forces, i, pair_forces)
    np.add.at(forces, j, -pair_forces)
    return forces


@dataclass(frozen=True)
class HarmonicAnchor:
    """E_anchor of one molecule (equation and symbols: docstring of the module)."""

    minimum: np.ndarray  # x0 (N, 3) Å
    rest_lengths: np.ndarray  # r0 (P,) Å
    slopes: np.ndarray  # g (P,) eV/Å
    force_constants: np.ndarray  # k (P,) eV/Å^2
    residual_forces: np.ndarray  # F_res (N, 3) eV/Å

    def __call__(self, pos: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the energy (eV, 0 at the minimum) and the forces (N, 3) eV/Å of the anchor."""
        i, j, distance, unit = atom_pairs(pos)
        saturation = np.tanh((distance - self.rest_lengths) / SATURATION_LENGTH_A)
        stretch = SATURATION_LENGTH_A * saturation
        decay = np.exp(-MORSE_EXPONENT_PER_A * stretch)
        morse = (1 - decay) / MORSE_EXPONENT_PER_A
        energy = (self.slopes * stretch + 0.5 * self.force_constants * morse**2).sum()
        energy += (self.residual_forces * (pos - self.minimum)).sum()
        gradient = self.slopes + self.force_constants * (1 - decay) * decay / MORSE_EXPONENT_PER_A
        pull = gradient * (1 - saturation**2)
        forces = scatter_pair_forces(i, j, pull[:, None] * unit, len(pos))
        return energy, forces - self.residual_forces


def fit_anchor(
    pos: np.ndarray, forces: np.ndarray, force_constants: np.ndarray | float = 0.0
) -> HarmonicAnchor:
    """Return the anchor that cancels `forces` (N, 3) eV/Å at the minimum `pos` (N, 3) Å.

    `force_constants` (P,) eV/Å^2 are the k_p of the pairs. Forces without net force and torque are
    a sum of pair forces; weighted least squares choose small slopes on short pairs.
    """
    i, j, distance, unit = atom_pairs(pos)
    jacobian = np.zeros((len(i), *pos.shape))
    jacobian[np.arange(len(i)), j] = unit
    jacobian[np.arange(len(i)), i] = -unit
    jacobian = jacobian.reshape(len(i), -1)
    weight = np.exp((1 - distance) / PAIR_WEIGHT_DECAY_A)
    scaled = jacobian.T * weight
    normal = scaled @ scaled.T + SLOPE_RIDGE * np.eye(pos.size)
    slopes = weight * (scaled.T @ np.linalg.solve(normal, forces.ravel()))
    residual = forces - (slopes @ jacobian).reshape(pos.shape)
    constants = np.broadcast_to(force_constants, distance.shape)
    return HarmonicAnchor(pos, distance, slopes, constants, residual)


def anchored(
    function: ForceFunction, pos: np.ndarray, force_constants: np.ndarray | float = 0.0
) -> ForceFunction:
    """Return `function` plus its anchor: the sum is stationary at `pos` (N, 3) Å.

    `force_constants`: see `fit_anchor`.
    """
    anchor = fit_anchor(pos, function(pos)[1], force_constants)

    def total(moved: np.ndarray) -> tuple[float, np.ndarray]:
        (energy, forces), (anchor_energy, anchor_forces) = function(moved), anchor(moved)
        return energy + anchor_energy, forces + anchor_forces

    return total
