"""Trained models as ASE calculators."""

import copy
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
from ase.outputs import Properties, all_outputs
from ase.stress import full_3x3_to_voigt_6_stress
from torch import Tensor

from ..data.sources import SOURCES
from ..errors import InputError
from ..graphs.batch import Batch
from ..graphs.compile import CompiledFunction
from ..models.checkpoint import FILES, load_model
from ..models.potential import Potential, energy_forces, energy_forces_virial
from ..models.uncertainty import with_uncertainty
from ..runtime.device import pick_device
from ..structures.checks import (
    CLOSED_SHELLS,
    check_charge,
    check_positions,
    check_supported_elements,
    unpaired_electrons,
)
from ..structures.vibrations import hessian_of_forces
from .integrator import make_step
from .neighbour_lists import NeighbourLists

log = logging.getLogger(__name__)
UNCERTAINTIES = ("energy_uncertainty", "forces_uncertainty")  # properties that ASE does not have
SYSTEM_IDX = "system"  # name of the array with the system of each atom
MIN_CELL_HEIGHT_A = 0.5  # in a thinner cell, an atom would be on top of its own image
DTYPES = {"float32": torch.float32, "float64": torch.float64}
SHIPPED_MODELS = Path(__file__).parents[4] / "resources/models"
# Compilation takes half a minute and more, an evaluation several milliseconds less afterwards.
EVALUATIONS_WORTH_COMPILING = 5000


class NeuralCalculator(Calculator):
    """Energy (eV), forces (eV/Å) and stress (eV/Å^3) of a potential, open or periodic.

    The energies of atoms (eV) are the terms of the potential's sum over atoms. The stress exists
    for a cell that is periodic in three directions. A potential with an uncertainty also gives
    energy_uncertainty (eV) and forces_uncertainty (N,) eV/Å, the expected absolute errors of the
    energy and of the force components of each atom; see models/uncertainty.py. A warning is logged
    for the first geometry of a system that is outside the training domain.

    Atoms with an array `system` (N,), from 0 and ascending, are that many systems without
    interaction, computed together; results["system_energies"] holds the energy (eV) of each.
    """

    closed_shells = True  # whether the training set has no unpaired electrons
    warned = False  # of unpaired electrons
    implemented_properties = ["energy", "energies", "free_energy", "forces", "stress"]  # noqa: RUF012

    def __init__(
        self,
        potential: Potential,
        elements: list[int],
        dtype: str = "float32",
        device: str = "auto",
        compiled: bool = False,
    ) -> None:
        super().__init__()
        self.device, self.dtype = pick_device(device), DTYPES[dtype]
        self.potential = copy.deepcopy(potential).to(self.device).requires_grad_(False)
        self.potential.model.to(self.dtype)  # references and sums stay in float64
        self.elements = elements
        if self.potential.uncertainty is not None:
            self.implemented_properties = [*self.implemented_properties, *UNCERTAINTIES]
        self.parameters.update(dtype=dtype, device=str(self.device), compiled=compiled)
        self.seen = Atoms()  # of the last calculation, and everything it depended on
        self.state: tuple[bytes, ...] = ()
        self._prepare()

    def _prepare(self) -> None:
        """Make what is not pickled: programs, not yet compiled, and neighbour lists."""
        energy_forces, step = self._energy_forces, make_step(self.potential)
        compiled = self.parameters["compiled"]
        self.energy_forces = CompiledFunction(energy_forces) if compiled else energy_forces
        self.step = CompiledFunction(step) if compiled else step
        skin = getattr(self.potential.model, "unordered", False)
        self.lists = NeighbourLists(self.potential.cutoff, self.device, self.dtype, skin)

    def __getstate__(self) -> dict[str, Any]:
        made = ("energy_forces", "step", "lists")
        return {name: value for name, value in vars(self).items() if name not in made}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.seen = self.seen.copy()  # changed in place
        self.atoms = None if self.atoms is None else self.seen
        self._prepare()

    def set(self, **parameters: Any) -> dict[str, Any]:
        """Raise InputError for any parameter, as only `load_calculator` sets them."""
        if parameters:
            raise InputError(
                f"{', '.join(parameters)}: a calculator keeps its parameters; load another one by"
                " load_calculator"
            )
        return {}

    def eager(self) -> Self:
        """Return this calculator without compilation, for work shorter than a compilation."""
        other = copy.copy(self)
        other.parameters = self.parameters | {"compiled": False}
        other._prepare()
        return other

    def check_state(self, atoms: Atoms, tol: float = 0.0) -> list[str]:
        """Return `all_changes` unless every bit is as in the last calculation. ASE's own
        comparison takes a fifth of the time of an MD step.
        """
        return [] if self.state == _state(atoms) else all_changes

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: list[str] = all_changes,
    ) -> None:
        """Fill `results` with energy and forces, and with energies and stress if they are asked
        for; see ase.calculators.calculator.Calculator.

        Raises InputError for an element that the model was not trained on, and for atoms or a cell
        that cannot be computed; PropertyNotImplementedError for the stress of a system that is not
        periodic in three directions.
        """
        system = self._atoms_or_last(atoms)
        if "stress" in properties and not system.pbc.all():
            raise PropertyNotImplementedError(
                "stress: not defined without periodicity in three directions; set atoms.cell and"
                " atoms.pbc"
            )
        state = _state(system)
        new = state[1:] != self.state[1:]
        if new:
            self.check(system)
            self.seen = system.copy()
            self.lists.clear()
        else:  # another copy would take a twentieth of the time of an MD step
            check_charge(system)
            check_positions(system)
            self.seen.positions = system.positions
        kept = self.results if state == self.state else {}
        self.atoms, self.state, self.results = self.seen, state, {}
        system_idx = _system_idx(system)
        energies, forces = np.zeros(system_idx[-1] + 1), np.zeros((len(system), 3))
        results: dict[str, Any] = {"forces": forces}
        if "energies" in properties:
            results["energies"] = np.zeros(len(system))
        virial, unsure = np.zeros((3, 3)), (np.zeros(len(energies)), np.zeros(len(system)))
        for systems, rows, batch in self.lists.update(system, system_idx):
            if "stress" in properties:
                found = with_uncertainty(energy_forces_virial, self.potential, batch)
                energy, force, virials, *both = (part.detach().double().cpu() for part in found)
                virial += virials.sum(0).numpy()
                energies[systems], forces[rows] = energy.numpy(), force.numpy()
                unsure[0][systems], unsure[1][rows] = (part.numpy() for part in both)
            else:
                energies[systems], forces[rows], *unsure_batch = self._evaluate(batch)
                unsure[0][systems], unsure[1][rows] = unsure_batch
            if "energies" in properties:
                results["energies"][rows] = self._energies_of_atoms(batch)
        if "stress" in properties:
            results["stress"] = full_3x3_to_voigt_6_stress(virial / system.get_volume())
        if SYSTEM_IDX in system.arrays:  # ASE refuses results that are not one of its properties
            results["system_energies"] = energies
        results["energy"] = results["free_energy"] = float(energies.sum())
        if not np.isfinite(results["energy"] + forces.sum()):
            raise InputError("energy or forces are not finite; two atoms may be at one position")
        if self.potential.uncertainty is not None:
            results["energy_uncertainty"] = float(np.linalg.norm(unsure[0]))
            results["forces_uncertainty"] = unsure[1]
            if new:
                self._warn_outside(system, system_idx, unsure[1])
        self.results = kept | results

    def _warn_outside(self, atoms: Atoms, system_idx: np.ndarray, unsure: np.ndarray) -> None:
        """Log a warning if a system is outside the training domain; `unsure` (N,) eV/Å."""
        uncertainty = self.potential.uncertainty
        assert uncertainty is not None
        for system in range(system_idx[-1] + 1):
            of_system = torch.from_numpy(unsure[system_idx == system])
            if uncertainty.outside(of_system):
                name = atoms[system_idx == system].get_chemical_formula()
                batches = [batch for _, _, batch in self.lists.groups]
                what = uncertainty.describe(of_system, batches)
                log.warning("%s: outside the training domain of the model: %s", name, what)
                return

    def export_properties(self) -> Properties:
        """Return the results that ASE has a name for."""
        return Properties({k: v for k, v in self.results.items() if k in all_outputs})

    def _atoms_or_last(self, atoms: Atoms | None) -> Atoms:
        """Return `atoms`, or the atoms of the last calculation. Raises InputError without both."""
        last = self.atoms if atoms is None else atoms
        if not isinstance(last, Atoms):
            raise InputError(f"atoms: {atoms!r} is not an Atoms object; give one to the calculator")
        return last

    def check(self, atoms: Atoms) -> None:
        """Raise InputError if the calculator cannot compute these atoms. Warn once of unpaired
        electrons, which fragments and stretched molecules may have.
        """
        check_supported_elements(atoms.numbers, self.elements)
        check_charge(atoms)
        check_positions(atoms)
        _check_cell(atoms)
        steps = np.diff(_system_idx(atoms), prepend=0)
        if not len(steps) or steps[0] or not ((steps == 0) | (steps == 1)).all():
            raise InputError(f"no atoms, or the array {SYSTEM_IDX!r} does not count up from 0")
        if not self.warned and (reason := unpaired_electrons(atoms, _system_idx(atoms))):
            self.warned = True
            log.warning("%s: this has no effect, as %s", reason, CLOSED_SHELLS)

    def _energy_forces(self, batch: Batch) -> tuple[Tensor]:
        """Return energies (B,) eV, forces (3N,) eV/Å and their uncertainties (B,) eV, (N,) eV/Å,
        one after the other, as one float64 tensor.
        """
        parts = with_uncertainty(energy_forces, self.potential, batch)
        return (torch.cat([part.detach().flatten().double() for part in parts]),)

    def _evaluate(self, batch: Batch) -> tuple[np.ndarray, ...]:
        """Return energies (B,) eV and forces (N, 3) eV/Å, then their uncertainties."""
        table = self.energy_forces(batch)[0].cpu().numpy()
        systems, atoms = batch.n_systems, len(batch.z)
        ends = np.cumsum([systems, 3 * atoms, systems])
        energy, forces, *both = np.split(table, ends)
        return energy, forces.reshape(-1, 3), *both

    def _energies_of_atoms(self, batch: Batch) -> np.ndarray:
        """Return energies (N,) eV: with one system per atom, the sum over atoms has one term."""
        atoms = torch.arange(len(batch.z), device=self.device)
        with torch.no_grad():
            energy = self.potential(replace(batch, system_idx=atoms, n_systems=len(atoms)))
        return energy.cpu().numpy()

    def get_hessian(self, atoms: Atoms | None = None) -> np.ndarray:
        """Return the Hessian (3N, 3N) eV/Å^2, by central differences of forces.

        Without `atoms`, of the atoms of the last calculation. The displaced geometries are computed
        together. Raises the same errors as `calculate`.
        """
        atoms = self._atoms_or_last(atoms)
        self.check(atoms)

        def forces_of(pairs: np.ndarray) -> np.ndarray:
            geometries = pairs[:, ::-1].swapaxes(0, 1)  # forward ones first
            z, pos = np.tile(atoms.numbers, 2 * len(pairs)), geometries.reshape(-1, 3)
            system_idx = np.repeat(np.arange(2 * len(pairs)), len(atoms))
            forces, box = np.zeros_like(pos), (atoms.cell.array, atoms.pbc)
            for _, rows, batch in self.lists.make_batches(z, pos, system_idx, *box):
                forces[rows] = self._evaluate(batch)[1]
            return forces.reshape(geometries.shape).swapaxes(0, 1)[:, ::-1]

        return hessian_of_forces(forces_of, atoms.positions)


def _state(atoms: Atoms) -> tuple[bytes, ...]:
    """Return everything that results depend on, positions first."""
    system_idx = atoms.arrays.get(SYSTEM_IDX, np.zeros(0))
    parts = atoms.positions, atoms.numbers, atoms.cell.array, atoms.pbc, system_idx
    return tuple(part.tobytes() for part in parts)


def _system_idx(atoms: Atoms) -> np.ndarray:
    """Return the system (N,) int of each atom. Raises InputError if the array is not integers."""
    given = atoms.arrays.get(SYSTEM_IDX, np.zeros(len(atoms), int))
    if given.dtype.kind not in "iuf" or given.ndim != 1 or (given % 1).any():
        raise InputError(f"array {SYSTEM_IDX!r}: give one integer per atom, its system from 0")
    return given.astype(int, copy=False)


def _check_cell(atoms: Atoms) -> None:
    """Raise InputError for a periodic direction without a lattice vector, and for a thin cell."""
    vectors = atoms.cell.array[atoms.pbc]
    if np.linalg.matrix_rank(vectors) < len(vectors):
        raise InputError(
            f"pbc is {atoms.pbc.tolist()}, but the cell has no independent vector in each of these"
            " directions; set atoms.cell, or atoms.pbc = False"
        )
    spacing = np.linalg.norm(np.linalg.pinv(vectors), axis=0).max(initial=0)  # 1/Å, of planes
    if spacing * MIN_CELL_HEIGHT_A > 1:
        raise InputError(
            f"cell: periodic images are {1 / spacing:.2g} Å apart; set atoms.cell, or atoms.pbc ="
            " False"
        )


def worth_compiling(evaluations: float) -> bool:
    """Return whether a calculator that is evaluated so many times should be compiled."""
    return evaluations > EVALUATIONS_WORTH_COMPILING


def load_calculator(
    path: str | Path, dtype: str = "float32", device: str = "auto", compiled: bool = False
) -> NeuralCalculator:
    """Return the calculator of the model in folder `path` (results/models/gnn, say), or of the
    shipped model of that name (gnn) in a checkout of the repository. The path of a file of the
    folder, model.safetensors or model.json, serves as well.

    dtype: float32, or float64 for tight relaxations and finite differences. compiled: evaluations
    are several times faster, after half a minute of compilation for one system and as much for
    several systems together. Raises InputError if there is no model, or if it predicts no energy.
    """
    if dtype not in DTYPES:
        raise InputError(f"dtype {dtype!r} is not one of {', '.join(DTYPES)}")
    folder = Path(path)
    if folder.name in FILES:
        folder = folder.parent
    if not folder.exists() and folder.name == str(path) and (SHIPPED_MODELS / path).is_dir():
        folder = SHIPPED_MODELS / path
    if not folder.exists():
        raise InputError(
            f"{path}: no such folder; give the folder of a trained model (results/models/gnn) or"
            " the name of a shipped one (gnn)"
        )
    potential, info = load_model(folder)
    if info.target != "energy":
        raise InputError(
            f"{folder}: predicts {info.target}, not an energy that atoms can move on;"
            " load a model with target energy"
        )
    calculator = NeuralCalculator(potential, info.elements, dtype, device, compiled)
    calculator.closed_shells = info.data.get("source", {}).get("source") in SOURCES
    calculator.parameters["model"] = str(folder)
    return calculator
