"""Distorted geometries of a molecule: displaced along normal modes, with turned and strained bonds.

Normal modes are the modes of a spring model (structures/bonds.py), so that no quantum chemistry is
needed. Temperatures are drawn uniformly in their logarithm.
"""

import logging

import numpy as np

from ..structures.bonds import (
    atoms_beyond_bond,
    bond_matrix,
    covalent_radius_sums,
    rotatable_bonds,
    small_ring_counts,
    spring_hessian,
    turn_bond,
)
from ..structures.vibrations import normal_modes
from ..units import BOLTZMANN, FREQUENCY
from .settings import Settings

log = logging.getLogger(__name__)
# lower frequencies are raised to this one: soft modes are mostly torsions, which are drawn as such
SOFTEST_DISPLACED_CM1 = 300.0
EXCITED_MODE_FRACTION = (0.2, 1.0)  # range of the fraction of modes with a displacement
TORSION_SIGMA_300K_DEG = 20.0  # standard deviation of every torsion, times (T / 300 K)^0.5
# how often a bond turns fully whose two atoms have further heavy neighbours, relative to others:
# the turns of a chain differ more than the turns of CH3, NH2 and OH
CHAIN_WEIGHT = 4.0
BOND_STRAIN_A = (-0.35, 0.5)  # range of the change of a bond length
EXTRA_STRETCH_PER_RING_A = 0.15  # added to its upper end for every small ring with that bond
# atoms clash if they are closer than this fraction of the sum of their covalent radii, and closer
# than at the minimum
CLASH_RATIO = 0.65


class DistortionSampler:
    """Sampler of distorted geometries of one molecule at its minimum: z (N,), pos (N, 3) Å."""

    def __init__(self, z: np.ndarray, pos: np.ndarray, settings: Settings) -> None:
        self.z, self.pos, self.settings = z, pos, settings
        self.bonded = bond_matrix(z, pos)
        self.hessian = spring_hessian(pos, self.bonded)
        frequencies, modes = normal_modes(z, pos, self.hessian)
        # Å per eV^0.5: displacement of a classical oscillator, per root of kT
        self.modes = modes * FREQUENCY / np.maximum(frequencies, SOFTEST_DISPLACED_CM1)
        self.bonds = np.argwhere(np.triu(self.bonded))
        # bonds in small rings break most easily: they are strained more often, and further
        self.ring_counts = small_ring_counts(self.bonded)[tuple(self.bonds.T)]
        self.max_ring_count = int(self.ring_counts.max(initial=0))
        weights = 4.0**self.ring_counts
        self.bond_weights = weights / weights.sum()
        fraction = settings.strain_fraction * (1 + self.max_ring_count**2)
        self.strain_fraction = min(fraction, 1 - settings.torsion_fraction)
        self.rotors = rotatable_bonds(z, pos, self.bonded)
        self.turn_weights = np.array(
            [rotor.is_single * CHAIN_WEIGHT**rotor.is_chain for rotor in self.rotors]
        )
        distance = np.linalg.norm(pos[:, None] - pos, axis=2)
        self.min_distances = np.minimum(CLASH_RATIO * covalent_radius_sums(z), distance)

    def draws(self, rng: np.random.Generator, number: int, name: str) -> list[np.ndarray]:
        """Return up to `number` geometries (N, 3) Å; log under `name` those whose atoms clash."""
        drawn = [pos for _ in range(number) if (pos := self.draw(rng)) is not None]
        for _ in range(number - len(drawn)):
            log.warning("%s: a geometry left out: atoms clash", name)
        return drawn

    def draw(self, rng: np.random.Generator, attempts: int = 20) -> np.ndarray | None:
        """Return a geometry (N, 3) Å, or None if atoms clash in each of the `attempts`."""
        for _ in range(attempts):
            pos = self._draw(rng)
            if (np.linalg.norm(pos[:, None] - pos, axis=2) >= self.min_distances).all():
                return pos
        return None

    def _draw(self, rng: np.random.Generator) -> np.ndarray:
        """Return a geometry (N, 3) Å that may have clashes."""
        cold, hot = np.log([self.settings.temperature_min_k, self.settings.temperature_max_k])
        temperature = np.exp(rng.uniform(cold, hot))
        # a part of the modes has the energy of all: forces along soft modes are then not always
        # hidden below the forces along stiff ones
        fraction = rng.uniform(*EXCITED_MODE_FRACTION)
        excited = rng.random(self.modes.shape[1]) < fraction
        amplitude = np.sqrt(BOLTZMANN * temperature / fraction) * excited
        shift = self.modes @ (amplitude * rng.normal(size=len(amplitude)))
        pos = self.pos + shift.reshape(-1, 3)
        kind = rng.random()  # of the geometry: one bond turned fully, one bond strained, or neither
        total, turned = self.turn_weights.sum(), None
        if total and kind < self.settings.torsion_fraction:
            turned = rng.choice(len(self.rotors), p=self.turn_weights / total)
        sigma = np.radians(TORSION_SIGMA_300K_DEG) * np.sqrt(temperature / 300)
        for number, rotor in enumerate(self.rotors):
            angle = rng.normal(scale=sigma)
            if number == turned:
                angle = rng.uniform(-np.pi, np.pi)
            pos = turn_bond(pos, rotor, angle)
        if len(self.bonds) and kind > 1 - self.strain_fraction:
            number = rng.choice(len(self.bonds), p=self.bond_weights)
            a, b = self.bonds[number]
            lowest, highest = BOND_STRAIN_A
            highest += EXTRA_STRETCH_PER_RING_A * self.ring_counts[number]
            pos += rng.uniform(lowest, highest) * self.bond_strain(a, b, pos)
        return pos

    def bond_strain(self, a: int, b: int, pos: np.ndarray) -> np.ndarray:
        """Return the displacements (N, 3), per Å of stretch, of a stretch of the bond a-b at `pos`.

        Atoms connected through b move with b. If the bond is in a ring, all atoms follow the spring
        model's response to a pull on the bond.
        """
        pull = np.zeros_like(pos)
        pull[b] = (pos[b] - pos[a]) / np.linalg.norm(pos[b] - pos[a])
        side = atoms_beyond_bond(self.bonded, a, b)
        if side is not None:
            return side[:, None] * pull[b]
        pull[a] = -pull[b]
        response = np.linalg.lstsq(self.hessian, pull.ravel(), rcond=1e-8)[0].reshape(-1, 3)
        return response / (response * pull).sum()
