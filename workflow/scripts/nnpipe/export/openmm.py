"""A potential as a force of OpenMM, by a function that OpenMM calls in each step.

OpenMM computes in nm, ps and kJ/mol. The function is a PythonForce of OpenMM 8.5 or later:
http://docs.openmm.org/latest/api-python/generated/openmm.openmm.PythonForce.html
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openmm
from ase import Atoms
from ase.units import kJ, mol, nm
from openmm import app

from ..errors import InputError
from ..simulation.calculator import NeuralCalculator, load_calculator
from ..structures.smiles import from_smiles
from .folder import copy_model_files, copy_template

KJ_PER_MOL = kJ / mol  # eV; nm is in Å
MOLECULE = "CCO"  # of the example


def export(model: str | Path, folder: Path) -> list[Path]:
    """Write run.py, structure.xyz and the folder model; return the paths.

    Raises InputError if the model is missing or damaged.
    """
    calculator = load_calculator(model, device="cpu")
    from_smiles(MOLECULE).write(folder / "structure.xyz")
    written = [copy_template("openmm_run.py", folder / "run.py"), folder / "structure.xyz"]
    return [*written, *copy_model_files(calculator, folder / "model")]


class PotentialFunction:
    """What OpenMM calls: a state goes in, energy (kJ/mol) and forces (kJ/mol/nm) come out.

    An object and not a closure, as OpenMM pickles it to write a system as XML.
    """

    def __init__(
        self, calculator: NeuralCalculator, numbers: Sequence[int], periodic: bool
    ) -> None:
        self.calculator = calculator
        self.atoms = Atoms(numbers, pbc=periodic)

    def __call__(self, state: Any) -> tuple[float, np.ndarray]:
        """Return energy and forces (N, 3) at the positions and in the box of a state."""
        self.atoms.positions = state.getPositions(asNumpy=True)._value * nm
        if self.atoms.pbc.any():
            self.atoms.cell[:] = state.getPeriodicBoxVectors(asNumpy=True)._value * nm
        self.calculator.calculate(self.atoms, ["energy", "forces"])
        results = self.calculator.results
        return results["energy"] / KJ_PER_MOL, results["forces"] * (nm / KJ_PER_MOL)


def make_force(
    model: str | Path | NeuralCalculator, numbers: Sequence[int], periodic: bool = False
) -> openmm.PythonForce:
    """Return the force of a model on particles with atomic `numbers` (N,).

    For a part of the particles of a system, call setParticles of the force with their N indices.

    Raises InputError if the model is missing, and for elements that it was not trained on.
    """
    calculator = model if isinstance(model, NeuralCalculator) else load_calculator(model)
    unknown = sorted(set(numbers) - set(calculator.elements))
    if unknown:
        raise InputError(f"numbers: the model was not trained on element {unknown[0]}")
    force = openmm.PythonForce(PotentialFunction(calculator, numbers, periodic))
    force.setUsesPeriodicBoundaryConditions(periodic)
    return force


def make_system(
    atoms: Atoms, model: str | Path | NeuralCalculator
) -> tuple[app.Topology, openmm.System]:
    """Return topology, without bonds, and system of all atoms of a molecule or a periodic box.

    OpenMM accepts a cell with its lattice vectors in the order and in the directions that its
    manual demands (reduced form).

    Raises InputError for a cell that is periodic in one or two directions, and as `make_force`.
    """
    periodic = bool(atoms.pbc.any())
    if periodic and not atoms.pbc.all():
        raise InputError(f"pbc is {atoms.pbc.tolist()}; OpenMM needs all or none periodic")
    topology, system = app.Topology(), openmm.System()
    residue = topology.addResidue("MOL", topology.addChain())
    for symbol, number, mass in zip(atoms.symbols, atoms.numbers, atoms.get_masses(), strict=True):
        topology.addAtom(symbol, app.Element.getByAtomicNumber(int(number)), residue)
        system.addParticle(mass)
    if periodic:
        box = [openmm.Vec3(*vector) for vector in atoms.cell.array / nm]
        topology.setPeriodicBoxVectors(box * openmm.unit.nanometer)
        system.setDefaultPeriodicBoxVectors(*box)
    system.addForce(make_force(model, atoms.numbers.tolist(), periodic))
    return topology, system
