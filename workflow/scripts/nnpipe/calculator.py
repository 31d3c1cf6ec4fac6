"""Trained models as ASE calculators."""

import copy
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress
from torch import Tensor

from .batch import Batch, assemble
from .checkpoint import load_model
from .device import pick_device
from .errors import InputError
from .fused import Fused
from .geometry import check_elements
from .molecules import pointers
from .neighbours import neighbours
from .potential import Potential, energy_forces, energy_forces_virial

SYSTEM = "system"  # name of the array that says which system an atom is of
FARTHEST = 1e6  # Å from the origin, where the neighbour search still works
HESSIAN_ATOMS = 500  # atoms in a batch of displaced geometries
DTYPES = {"float32": torch.float32, "float64": torch.float64}


class NeuralCalculator(Calculator):
    """Energy (eV), forces (eV/Å) and stress (eV/Å^3) of a potential, open and periodic alike.

    Atoms with an array `system` (N,), from 0 and ascending, are that many systems that do not see
    each other, computed together; results["system_energies"] has the energy (eV) of each.
    """

    implemented_properties = ["energy", "free_energy", "forces", "stress"]  # noqa: RUF012

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
        self.energy_forces = Fused(self._energy_forces) if compiled else self._energy_forces

    def check_state(self, atoms: Atoms, tol: float = 0.0) -> list[str]:
        """What has changed since the last calculation: all or nothing, bit by bit, as ASE's own
        comparison costs a fifth of a step of dynamics.
        """
        last = self.atoms
        same = last is not None and all(map(np.array_equal, _state(last), _state(atoms)))
        return [] if same else all_changes

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] = implemented_properties,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Fill `results`; see ase.calculators.calculator.Calculator.

        Raises InputError for an element that the model was not trained on.
        """
        super().calculate(atoms, properties, system_changes)
        system = self.atoms
        assert isinstance(system, Atoms)
        check_elements(system.numbers, self.elements)
        if not np.isfinite(system.cell.array).all() or not (abs(system.positions) < FARTHEST).all():
            raise InputError(f"a position or the cell is not finite, or beyond {FARTHEST:g} Å")
        owner = system.arrays.get(SYSTEM, np.zeros(len(system), int))
        batch = self.batch(system.numbers, system.positions, owner, system.cell.array, system.pbc)
        if "stress" in properties:
            energy, forces, virial = energy_forces_virial(self.potential, batch)
            stress = virial.sum(0).double().cpu().numpy() / system.get_volume()
            self.results["stress"] = full_3x3_to_voigt_6_stress(stress)
        else:
            energy, forces = self.energy_forces(batch)
        self.results["system_energies"] = energy.detach().cpu().numpy()
        self.results["energy"] = self.results["free_energy"] = energy.sum().item()
        self.results["forces"] = forces.double().cpu().numpy()

    def _energy_forces(self, batch: Batch) -> tuple[Tensor, ...]:
        """Energies (B,) eV and forces (N, 3) eV/Å."""
        energy, forces = energy_forces(self.potential, batch)
        return energy.detach(), forces

    def batch(
        self, z: np.ndarray, pos: np.ndarray, owner: np.ndarray, cell: np.ndarray, pbc: np.ndarray
    ) -> Batch:
        """The systems `owner` (N,) says, each with its own neighbours, in one cell."""
        ends = pointers(np.bincount(owner))
        counts, index, shift = zip(
            *(neighbours(pos[a:b], self.potential.cutoff, cell, pbc) for a, b in pairwise(ends)),
            strict=True,
        )
        index = [near + start for near, start in zip(index, ends, strict=False)]
        offset = np.concatenate(shift) @ cell
        pairs = (np.concatenate(counts), np.concatenate(index), offset)
        return assemble(z, pos, *pairs, owner).to(self.device, self.dtype)

    def get_hessian(self, atoms: Atoms, step: float = 0.005) -> np.ndarray:
        """(3N, 3N) eV/Å^2, by central differences of forces with `step` Å, symmetric.

        The displaced geometries are computed together, some thousand atoms at a time.
        """
        size = 3 * len(atoms)
        shifts = np.concatenate([np.eye(size), -np.eye(size)]).reshape(2 * size, len(atoms), 3)
        parts = []
        for some in np.array_split(shifts, -(-shifts.size // (3 * HESSIAN_ATOMS))):
            pos = (atoms.positions + step * some).reshape(-1, 3)
            owner = np.repeat(np.arange(len(some)), len(atoms))
            z = np.tile(atoms.numbers, len(some))
            batch = self.batch(z, pos, owner, atoms.cell.array, atoms.pbc)
            forces = self.energy_forces(batch)[1]
            parts.append(forces.double().cpu().numpy().reshape(len(some), size))
        forward, backward = np.split(np.concatenate(parts), 2)
        hessian = (backward - forward) / (2 * step)
        return 0.5 * (hessian + hessian.T)


def _state(atoms: Atoms) -> tuple[np.ndarray, ...]:
    """All that results depend on."""
    owner = atoms.arrays.get(SYSTEM, np.zeros(0))
    return atoms.positions, atoms.numbers, atoms.cell.array, atoms.pbc, owner


def load_calculator(
    path: str | Path, dtype: str = "float32", device: str = "auto", compiled: bool = False
) -> NeuralCalculator:
    """The calculator of the model in folder `path` (results/models/gnn, say).

    dtype: float32, or float64 for tight relaxations and finite differences. compiled: several times
    faster, after half a minute of compilation for one system and as much for several at once.
    Raises InputError if there is no model, or if it predicts no energy.
    """
    if dtype not in DTYPES:
        raise InputError(f"dtype {dtype!r} is none of {', '.join(DTYPES)}")
    potential, info = load_model(path)
    if info.target != "energy":
        raise InputError(
            f"{path}: predicts {info.target}, which atoms do not move on; take a model of energy"
        )
    return NeuralCalculator(potential, info.elements, dtype, device, compiled)
