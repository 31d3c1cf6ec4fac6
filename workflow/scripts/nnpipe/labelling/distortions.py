"""Geometries off the minimum: what a molecule looks like when it is hot, turned or strained."""

import numpy as np
from scipy.spatial.transform import Rotation

from ..structures.bonds import (
    atoms_beyond_bond,
    bond_matrix,
    covalent_radius_sums,
    rotatable_bonds,
    small_ring_counts,
    spring_hessian,
)
from ..structures.vibrations import normal_modes
from ..units import BOLTZMANN, FREQUENCY
from .settings import Settings

# frequencies below this are raised to it: along soft modes atoms move on arcs, and torsions do that
SOFTEST_DISPLACED_CM1 = 300.0
EXCITED_MODE_FRACTION = (0.2, 1.0)  # range of the fraction of modes that are displaced
TORSION_SIGMA_300K_DEG = 20.0  # standard deviation of every torsion; grows with the root of T
BOND_STRAIN_A = (-0.35, 0.5)  # range of the change of the length of one bond
EXTRA_STRETCH_PER_RING_A = 0.15  # added to the upper end for every small ring with that bond
# atoms clash if they are closer than this fraction of the sum of their covalent radii (unless they
# are that close at the minimum)
CLASH_RATIO = 0.65


class DistortionSampler:
    """Draws distorted geometries of one molecule at its minimum: z (N,), pos (N, 3) Å."""

    def __init__(self, z: np.ndarray, pos: np.ndarray, settings: Settings) -> None:
        self.z, self.pos, self.settings = z, pos, settings
        self.bonded = bond_matrix(z, pos)
        self.hessian = spring_hessian(pos, self.bonded)
        frequencies, modes = normal_modes(z, pos, self.hessian)
        # Å per root of eV, of a classical oscillator
        self.modes = modes * FREQUENCY / np.maximum(frequencies, SOFTEST_DISPLACED_CM1)
        self.bonds = np.argwhere(np.triu(self.bonded))
        # what is in small rings opens most easily: it is strained more often, and further
        self.small = small_ring_counts(self.bonded)[tuple(self.bonds.T)]
        self.rings = int(self.small.max(initial=0))
        weights = 4.0**self.small
        self.weights = weights / weights.sum()
        fraction = settings.strain_fraction * (1 + self.rings**2)
        self.strained = min(fraction, 1 - settings.torsion_fraction)
        self.rotors = rotatable_bonds(z, pos, self.bonded)
        length = np.linalg.norm(pos[:, None] - pos, axis=2)
        self.closest = np.minimum(CLASH_RATIO * covalent_radius_sums(z), length)

    def draw(self, rng: np.random.Generator, attempts: int = 20) -> np.ndarray | None:
        """A geometry (N, 3) Å, or None if all attempts ended with atoms on top of each other."""
        for _ in range(attempts):
            pos = self._draw(rng)
            if (np.linalg.norm(pos[:, None] - pos, axis=2) >= self.closest).all():
                return pos
        return None

    def _draw(self, rng: np.random.Generator) -> np.ndarray:
        cold, hot = np.log([self.settings.temperature_min_k, self.settings.temperature_max_k])
        temperature = np.exp(rng.uniform(cold, hot))
        # some modes take the energy of all: soft ones are seen without the noise of stiff ones
        share = rng.uniform(*EXCITED_MODE_FRACTION)
        excited = rng.random(self.modes.shape[1]) < share
        amplitude = np.sqrt(BOLTZMANN * temperature / share) * excited
        shift = self.modes @ (amplitude * rng.normal(size=len(amplitude)))
        pos = self.pos + shift.reshape(-1, 3)
        kind = rng.random()
        free = [n for n, rotor in enumerate(self.rotors) if rotor.is_single]
        turned = rng.choice(free) if free and kind < self.settings.torsion_fraction else None
        for number, (a, b, side, _) in enumerate(self.rotors):
            angle = rng.normal(
                scale=np.radians(TORSION_SIGMA_300K_DEG) * np.sqrt(temperature / 300)
            )
            if number == turned:
                angle = rng.uniform(-np.pi, np.pi)
            axis = pos[b] - pos[a]
            turn = Rotation.from_rotvec(angle * axis / np.linalg.norm(axis))
            pos[side] = turn.apply(pos[side] - pos[b]) + pos[b]
        if len(self.bonds) and kind > 1 - self.strained:
            number = rng.choice(len(self.bonds), p=self.weights)
            a, b = self.bonds[number]
            shortest, longest = BOND_STRAIN_A
            length = rng.uniform(shortest, longest + EXTRA_STRETCH_PER_RING_A * self.small[number])
            pos += length * self.bond_strain(a, b, pos)
        return pos

    def bond_strain(self, a: int, b: int, pos: np.ndarray) -> np.ndarray:
        """(N, 3) Å per Å, how all atoms move when the bond a-b at `pos` is pulled apart: what hangs
        on b follows b; of a bond in a ring, all springs give way.
        """
        way = np.zeros_like(pos)
        way[b] = (pos[b] - pos[a]) / np.linalg.norm(pos[b] - pos[a])
        branch = atoms_beyond_bond(self.bonded, a, b)
        if branch is not None:
            return branch[:, None] * way[b]
        way[a] = -way[b]
        given = np.linalg.lstsq(self.hessian, way.ravel(), rcond=1e-8)[0].reshape(-1, 3)
        return given / (given * way).sum()
