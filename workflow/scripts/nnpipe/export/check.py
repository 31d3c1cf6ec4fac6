"""Comparison of an engine with the calculator of ASE, on one molecule and one periodic box."""

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.build import molecule

from ..simulation.calculator import NeuralCalculator
from ..structures.smiles import from_smiles

ENERGY_TOLERANCE, FORCES_TOLERANCE = 1e-5, 1e-4  # eV, eV/Å
STRESS_TOLERANCE = 1e-6  # eV/Å^3
DISPLACEMENT = 0.05  # Å, standard deviation from the minimum
WATER_SPACING = 3.1  # Å, of liquid water


@dataclass(frozen=True)
class Differences:
    """The largest differences of one system from the calculator of ASE."""

    energy: float  # eV
    forces: float  # eV/Å
    stress: float | None = None  # eV/Å^3; None if the engine has none

    def within_tolerances(self) -> bool:
        """Return whether the engine computes the same potential."""
        return bool(
            self.energy < ENERGY_TOLERANCE
            and self.forces < FORCES_TOLERANCE
            and (self.stress or 0.0) < STRESS_TOLERANCE
        )


def systems() -> dict[str, Atoms]:
    """Return displaced aspirin, and a box of 27 displaced water molecules, periodic in 9.3 Å."""
    aspirin = from_smiles("CC(=O)Oc1ccccc1C(=O)O")
    aspirin.rattle(DISPLACEMENT, seed=0)
    return {"molecule": aspirin, "box": water_box(3)}


def water_box(along: int) -> Atoms:
    """Return a periodic box of `along`^3 water molecules, displaced and turned at random."""
    random = np.random.default_rng(0)
    box = Atoms(cell=[along * WATER_SPACING] * 3, pbc=True)
    for place in np.ndindex(along, along, along):
        water = molecule("H2O")
        water.euler_rotate(*random.uniform(0, 360, 3), center="COM")
        water.translate(WATER_SPACING * (np.array(place) + 0.5))
        box += water
    box.rattle(DISPLACEMENT, seed=0)
    return box


def compare(
    atoms: Atoms,
    calculator: NeuralCalculator,
    energy: float,
    forces: np.ndarray,
    stress: np.ndarray | None = None,
) -> Differences:
    """Return how far an engine's energy (eV), forces (N, 3) eV/Å and stress (3, 3) eV/Å^3 are from
    the calculator's.
    """
    properties = ["energy", "forces"] if stress is None else ["energy", "forces", "stress"]
    own = atoms.copy()
    own.calc = calculator
    calculator.calculate(own, properties)
    expected = own.get_stress(voigt=False) if stress is not None else None
    return Differences(
        energy=abs(energy - own.get_potential_energy()),
        forces=float(np.abs(forces - own.get_forces()).max()),
        stress=None if expected is None else float(np.abs(stress - expected).max()),
    )
