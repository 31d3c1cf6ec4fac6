"""Trained models as ASE calculators."""

import copy
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Self

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress
from torch import Tensor

from ..data.molecules import ragged_indices, row_ends
from ..errors import InputError
from ..graphs.batch import Batch, batch_from_pairs, batch_from_positions
from ..graphs.compile import CompiledFunction
from ..models.checkpoint import load_model
from ..models.potential import Potential, energy_forces, energy_forces_virial
from ..runtime.device import pick_device, to_device
from ..structures.load import check_supported_elements
from ..structures.neighbours import neighbours
from .integrator import langevin_step

SYSTEM_IDX = "system"  # name of the array that says which system an atom is of
FARTHEST = 1e6  # Å from the origin that an atom may lie
ATOMS_PER_GROUP_CPU = 500  # atoms computed at once: more would leave a processor's cache
ATOMS_PER_GROUP_GPU = 50_000  # the same on a GPU, which small groups leave idle
SKIN = 0.3  # Å beyond the cutoff that neighbours are listed: a list then serves some steps
SKIN_ON_GPU = 1.0  # the same on a GPU, which longer lists cost next to nothing
ALL_PAIRS_MAX_ATOMS = 200  # atoms of a system in which all pairs are looked at,
MAX_PAIRS = 20_000_000  # so many at once
DTYPES = {"float32": torch.float32, "float64": torch.float64}
Group = tuple[np.ndarray, np.ndarray, Batch]  # systems, their atoms (N,), and those as a batch
# positions (N, 3) Å at the listing, their _origins, and groups
NeighbourList = tuple[np.ndarray, np.ndarray, list[Group]]
EMPTY_LIST: NeighbourList = (np.zeros((0, 3)), np.zeros((0, 3)), [])


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
        self.energy_forces = (
            CompiledFunction(self._energy_forces) if compiled else self._energy_forces
        )
        self.step = CompiledFunction(self._step) if compiled else self._step
        skin = SKIN if self.device.type == "cpu" else SKIN_ON_GPU
        self.skin = skin if getattr(potential.model, "unordered", False) else 0.0
        self.seen = Atoms()  # of the last calculation, their state, and their neighbours
        self.state: tuple[bytes, ...] = ()
        self.listed = EMPTY_LIST

    def eager(self) -> Self:
        """The same, not compiled: for what is over before a compilation would be."""
        other = copy.copy(self)
        other.energy_forces, other.step = self._energy_forces, self._step
        other.reset()
        other.seen, other.state, other.listed = Atoms(), (), EMPTY_LIST
        return other

    def check_state(self, atoms: Atoms, tol: float = 0.0) -> list[str]:
        """What has changed since the last calculation: all or nothing, bit by bit, as ASE's own
        comparison costs a fifth of a step of dynamics.
        """
        return [] if self.state == _state(atoms) else all_changes

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] = implemented_properties,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Fill `results`; see ase.calculators.calculator.Calculator.

        Raises InputError for an element that the model was not trained on, and for no atoms.
        """
        system = self.atoms if atoms is None else atoms
        assert isinstance(system, Atoms)
        state = _state(system)
        if state[1:] != self.state[1:]:
            self.check(system)
            self.seen, self.listed = system.copy(), EMPTY_LIST
        else:  # another copy would cost a twentieth of a step of dynamics
            self._check_positions(system)
            self.seen.positions = system.positions
        self.atoms, self.state, self.results = self.seen, state, {}
        owner = system.arrays.get(SYSTEM_IDX, np.zeros(len(system), int))
        energies, forces = np.zeros(owner[-1] + 1), np.zeros((len(system), 3))
        virial = np.zeros((3, 3))
        for numbers, atoms_of, batch in self._groups_with_neighbours(system, owner):
            if "stress" in properties:
                energy, force, each = energy_forces_virial(self.potential, batch)
                virial += each.sum(0).double().cpu().numpy()
                energies[numbers] = energy.detach().cpu().numpy()
                forces[atoms_of] = force.double().cpu().numpy()
            else:
                energies[numbers], forces[atoms_of] = self._evaluate(batch)
        if "stress" in properties:
            self.results["stress"] = full_3x3_to_voigt_6_stress(virial / system.get_volume())
        self.results["system_energies"] = energies
        self.results["energy"] = self.results["free_energy"] = float(energies.sum())
        self.results["forces"] = forces

    def check(self, atoms: Atoms) -> None:
        """Raise InputError if these atoms cannot be computed."""
        check_supported_elements(atoms.numbers, self.elements)
        self._check_positions(atoms)
        steps = np.diff(atoms.arrays.get(SYSTEM_IDX, np.zeros(len(atoms), int)), prepend=0)
        if not len(steps) or steps[0] or not ((steps == 0) | (steps == 1)).all():
            raise InputError(f"no atoms, or the array {SYSTEM_IDX!r} does not count up from 0")

    def _check_positions(self, atoms: Atoms) -> None:
        if not np.isfinite(atoms.cell.array).all() or not (abs(atoms.positions) < FARTHEST).all():
            raise InputError(f"a position or the cell is not finite, or beyond {FARTHEST:g} Å")

    def _energy_forces(self, batch: Batch) -> tuple[Tensor]:
        """Energies (B,) eV, and after them forces (3N,) eV/Å, as one tensor in double precision."""
        energy, forces = energy_forces(self.potential, batch)
        return (torch.cat([energy.detach(), forces.flatten().double()]),)

    def _step(self, batch: Batch, origin: Tensor, *given: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`langevin_step` from `state` to `lengths`, where the systems of `batch` have their zero
        at `origin` (N, 3) Å: its results, the last one flat, with the square (Å^2) of how far an
        atom is from where it was in `batch` at most.
        """

        def force(pos: Tensor) -> tuple[Tensor, Tensor]:
            local = batch.with_positions((pos - origin).to(batch.pos.dtype))
            energy, forces = energy_forces(self.potential, local)
            return energy.detach(), forces.double()

        state, seen, table = langevin_step(force, batch.system_idx, *given)
        moved = (state[0] - origin - batch.pos).square().sum(1).amax()
        return state, seen, torch.cat([table.flatten(), moved[None]])

    def _evaluate(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        """Energies (B,) eV and forces (N, 3) eV/Å."""
        both = self.energy_forces(batch)[0].cpu().numpy()
        return both[: batch.n_systems], both[batch.n_systems :].reshape(-1, 3)

    def _groups_with_neighbours(self, atoms: Atoms, owner: np.ndarray) -> Iterator[Group]:
        """Yield groups like `make_batches`. List neighbours with a skin, again whenever an
        atom has moved by half of the skin.
        """
        pos = atoms.positions
        before, origin, groups = self.listed
        if not groups or ((pos - before) ** 2).sum(1).max() >= (self.skin / 2) ** 2:
            cell, pbc = atoms.cell.array, atoms.pbc
            origin = _origins(pos, owner)
            groups = list(self.make_batches(atoms.numbers, pos, owner, cell, pbc, self.skin))
            self.listed = pos.copy(), origin, groups
        for numbers, atoms_of, batch in groups:
            local = torch.from_numpy(pos[atoms_of] - origin[atoms_of]).to(self.dtype)
            yield numbers, atoms_of, batch.with_positions(to_device(local, self.device))

    def group_systems(self, sizes: np.ndarray) -> list[np.ndarray]:
        """Numbers of the systems, with `sizes` (B,) atoms, that are best computed together."""
        together = ATOMS_PER_GROUP_CPU if self.device.type == "cpu" else ATOMS_PER_GROUP_GPU
        pairs = len(sizes) * sizes.max() ** 2
        # at least two in a group: one by itself would need a compiled program of its own
        parts = max(1, min(max(sizes.sum() // together, pairs // MAX_PAIRS), len(sizes) // 2))
        return np.array_split(np.argsort(sizes, kind="stable"), parts)

    def make_batches(
        self,
        z: np.ndarray,
        pos: np.ndarray,
        owner: np.ndarray,
        cell: np.ndarray,
        pbc: np.ndarray,
        skin: float = 0.0,
    ) -> Iterator[Group]:
        """The systems `owner` (N,) says, each with its own neighbours within the cutoff and `skin`
        Å more, in one cell: some at a time, their numbers, their atoms and their batch.
        """
        local = torch.from_numpy(pos - _origins(pos, owner))
        sizes = np.bincount(owner)
        for numbers in self.group_systems(sizes):
            atoms, _ = ragged_indices(row_ends(sizes), numbers)
            there = to_device(local[torch.from_numpy(atoms)], self.device)
            yield numbers, atoms, self.make_batch(z[atoms], there, sizes[numbers], cell, pbc, skin)

    def make_batch(
        self,
        z: np.ndarray,
        pos: Tensor,
        sizes: np.ndarray,
        cell: np.ndarray,
        pbc: np.ndarray,
        skin: float,
    ) -> Batch:
        """Systems with `sizes` (B,) atoms, one after the other, as one batch; z (N,), pos (N, 3) Å
        in double precision on the device, near zero.
        """
        far = self.potential.cutoff + skin
        if not pbc.any() and sizes.max() <= ALL_PAIRS_MAX_ATOMS:
            known = torch.from_numpy(z), torch.from_numpy(sizes)
            numbers, counts = (to_device(part, self.device) for part in known)
            return batch_from_positions(numbers, pos, counts, far).to(self.device, self.dtype)
        place, ends = pos.cpu().numpy(), row_ends(sizes)
        found = [neighbours(place[a:b], far, cell, pbc) for a, b in pairwise(ends)]
        counts, index, shift = zip(*found, strict=True)
        near = np.concatenate([i + start for i, start in zip(index, ends, strict=False)])
        pairs = (np.concatenate(counts), near, np.concatenate(shift) @ cell)
        inside = np.repeat(np.arange(len(sizes)), sizes)
        return batch_from_pairs(z, place, *pairs, inside).to(self.device, self.dtype)

    def get_hessian(self, atoms: Atoms, step: float = 0.005) -> np.ndarray:
        """(3N, 3N) eV/Å^2, by central differences of forces with `step` Å, symmetric.

        The displaced geometries are computed together, some hundred atoms at a time. Raises what
        `calculate` does.
        """
        self.check(atoms)
        size = 3 * len(atoms)
        shifts = np.concatenate([np.eye(size), -np.eye(size)]).reshape(2 * size, len(atoms), 3)
        pos = (atoms.positions + step * shifts).reshape(-1, 3)
        owner = np.repeat(np.arange(len(shifts)), len(atoms))
        z = np.tile(atoms.numbers, len(shifts))
        forces = np.zeros_like(pos)
        for _, where, batch in self.make_batches(z, pos, owner, atoms.cell.array, atoms.pbc):
            forces[where] = self._evaluate(batch)[1]
        forward, backward = np.split(forces.reshape(len(shifts), size), 2)
        hessian = (backward - forward) / (2 * step)
        return 0.5 * (hessian + hessian.T)


def _origins(pos: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """(N, 3) where each atom's system has its first one: single precision is best near zero."""
    return pos[np.searchsorted(owner, owner)]


def _state(atoms: Atoms) -> tuple[bytes, ...]:
    """All that results depend on."""
    owner = atoms.arrays.get(SYSTEM_IDX, np.zeros(0))
    parts = atoms.positions, atoms.numbers, atoms.cell.array, atoms.pbc, owner
    return tuple(part.tobytes() for part in parts)


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
