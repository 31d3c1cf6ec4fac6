"""Systems that move step by step, with the forces of any calculator or of a compiled model."""

from collections.abc import Iterator, Sequence
from typing import Self

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.calculators.singlepoint import SinglePointCalculator
from ase.geometry import find_mic
from torch import Tensor

from ..data.molecules import row_ends
from ..errors import InputError
from ..structures.bonds import bonded_pairs
from ..structures.checks import fixed_atoms
from .calculator import SYSTEM_IDX, NeuralCalculator
from .integrator import langevin_step, step_constants
from .settings import Settings

# bonds (P, 2) of a system; lattice translation and length (P, 4) Å of each in the first geometry
BondReference = tuple[np.ndarray, np.ndarray]


def combine(systems: Sequence[Atoms]) -> Atoms:
    """Return all systems as one object in the cell of the first one; the array `system` says which
    system an atom belongs to.
    """
    whole = systems[0][:0]
    for system in systems:
        whole += system
    whole.set_constraint()
    whole.set_array(SYSTEM_IDX, np.repeat(np.arange(len(systems)), [len(s) for s in systems]))
    return whole


def _bond_reference(system: Atoms) -> BondReference:
    pairs = bonded_pairs(system)
    first, last = system.positions[pairs.T]
    vector, length = find_mic(last - first, system.cell, system.pbc)
    return pairs, np.column_stack([vector - (last - first), length])


class Propagator:
    """Systems that move together; with a calculator of ASE, a single one.

    `systems` are {number: atoms with velocities}; they stay unchanged.
    """

    def __init__(
        self,
        systems: dict[int, Atoms],
        calculator: Calculator,
        settings: Settings,
        generator: torch.Generator,
        references: dict[int, BondReference] | None = None,
    ) -> None:
        self.systems, self.calculator = systems, calculator
        self.references = references or {n: _bond_reference(s) for n, s in systems.items()}
        self.settings, self.generator = settings, generator
        self.system_ids = np.array(list(systems))
        self.atoms = combine(list(systems.values()))
        self.atoms.calc = calculator
        system_idx = self.atoms.arrays[SYSTEM_IDX]
        self.sizes = np.bincount(system_idx)
        self.ends = row_ends(self.sizes)
        self.noisy = settings.ensemble == "nvt"
        friction = settings.friction_per_ps if self.noisy else 0.0
        constants = step_constants(settings.timestep_fs, settings.temperature_k, friction)
        fixed = np.concatenate([fixed_atoms(system) for system in systems.values()])
        mass = self.atoms.get_masses()
        mass = np.stack([np.where(fixed, np.inf, mass), mass], 1)
        velocity = np.where(fixed[:, None], 0.0, self.atoms.get_velocities())
        state = np.stack([self.atoms.positions, velocity])
        self.mass, self.constants, self.bonds, self.lengths, self.system_idx, self.state = (
            torch.as_tensor(array, device=generator.device)
            for array in (mass, np.array(constants), *self._bonds(), system_idx, state)
        )
        self.has_previous_step, self.true = self.mass.new_zeros(1), self.mass.new_ones(1)
        self.seen, self.energies = self.state, np.zeros(len(systems))

    def _bonds(self) -> tuple[np.ndarray, np.ndarray]:
        """Return `bonds` and `lengths` for `langevin_step`, padded with bonds of an atom to
        itself.
        """
        references = [self.references[number] for number in self.systems]
        shape = len(references), max(1, *(len(pairs) for pairs, _ in references))
        bonds, lengths = np.zeros((*shape, 2), int), np.zeros((*shape, 4))
        for row, (pairs, reference) in enumerate(references):
            bonds[row, : len(pairs)] = pairs + self.ends[row]
            lengths[row, : len(pairs)] = reference
        return bonds, lengths

    def step(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Measure and take a step.

        Return potential and kinetic energy (B,) eV and largest bond deviation (B,) Å before it.
        """
        noise = self.state[1]  # without friction its factor is 0
        if self.noisy:
            noise = torch.empty_like(noise).normal_(generator=self.generator)
        table = self._step(
            self.state, noise, self.mass, self.constants, self.has_previous_step,
            self.bonds, self.lengths,
        )  # fmt: skip
        self.has_previous_step = self.true
        self.energies, kinetic, deviation = table.reshape(3, -1)
        return self.energies, kinetic, deviation

    def _step(self, *arguments: Tensor) -> np.ndarray:
        """Call `langevin_step` with `arguments` from `state` on; return its table, flat (3B,)."""
        self.state, self.seen, table = langevin_step(self._forces, self.system_idx, *arguments)
        return table.flatten().numpy()

    def _forces(self, pos: Tensor) -> tuple[Tensor, Tensor]:
        self.atoms.positions = pos.numpy()
        forces = np.array(self.atoms.get_forces(), float)
        energy = np.array([self.atoms.get_potential_energy()], float)
        return torch.from_numpy(energy), torch.from_numpy(forces)

    def frames(self, places: np.ndarray) -> Iterator[Atoms]:
        """Yield the systems at `places` of `system_ids` as measured last, with their forces.

        With a model that has an uncertainty, `info` holds energy_uncertainty (eV) and
        outside_training, and the array forces_uncertainty (N,) is in eV/Å.
        """
        seen = self.seen.cpu().numpy()
        for place in places:
            pos, velocity, forces = seen[:, self.ends[place] : self.ends[place + 1]].copy()
            frame = self.systems[int(self.system_ids[place])].copy()
            frame.positions, frame.info = pos, {}
            frame.set_velocities(velocity)
            frame.calc = SinglePointCalculator(
                frame, energy=float(self.energies[place]), forces=forces
            )
            self._add_uncertainty(frame, place)
            yield frame

    def _add_uncertainty(self, frame: Atoms, place: int) -> None:
        """Add what the calculator says about the errors of a frame."""

    def drop(self, ended: np.ndarray) -> Self:
        """Return a propagator of the remaining systems at their current state; ended (B,) bool."""
        kept = {n: self.systems[n] for n in self.system_ids[~ended].tolist()}
        rest = type(self)(kept, self.calculator, self.settings, self.generator, self.references)
        atoms = torch.from_numpy(np.repeat(~ended, self.sizes)).to(self.state.device)
        rest.state, rest.has_previous_step = self.state[:, atoms], self.has_previous_step
        return rest

    def tensors(self) -> dict[str, Tensor]:
        """Return what the next step depends on, besides the arguments of the constructor and the
        state of the random generator.
        """
        return {"state": self.state, "has_previous_step": self.has_previous_step}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Continue from what `tensors` returned."""
        device = self.state.device
        self.state = tensors["state"].to(device)
        self.has_previous_step = tensors["has_previous_step"].to(device)


class CompiledPropagator(Propagator):
    """Systems with a model. Integrator, forces and measurement are one program."""

    calculator: NeuralCalculator
    uncertainties: list[np.ndarray]  # of the energies (B,) eV and forces (N,) eV/Å
    moved = np.inf  # Å^2, largest squared displacement since neighbours were listed

    def _step(self, *arguments: Tensor) -> np.ndarray:
        if self._outdated():
            self._list_neighbours(self.state[0])
        state, self.seen, table = self.calculator.step(self.batch, self.origin, *arguments)
        self.state = state.clone()  # the program may overwrite its results in the next call
        systems = len(self.sizes)
        ends = np.cumsum([3 * systems, 1, systems])
        values, (self.moved,), *self.uncertainties = np.split(table.cpu().numpy(), ends)
        return values

    def _add_uncertainty(self, frame: Atoms, place: int) -> None:
        uncertainty = self.calculator.potential.uncertainty
        if uncertainty is not None:
            energies, forces = self.uncertainties
            forces = forces[self.ends[place] : self.ends[place + 1]]
            frame.set_array("forces_uncertainty", forces)
            frame.info["energy_uncertainty"] = energies[place]
            frame.info["outside_training"] = uncertainty.outside(torch.from_numpy(forces))

    def _outdated(self) -> bool:
        return not self.moved < (self.calculator.lists.skin / 2) ** 2

    def _list_neighbours(self, pos: Tensor) -> None:
        """List the neighbours at positions (N, 3) Å."""
        first_atoms = torch.from_numpy(self.ends[:-1]).to(pos.device)
        self.listed_at, self.origin = pos, pos[first_atoms[self.system_idx]]
        numbers, box = self.atoms.numbers, (self.atoms.cell.array, self.atoms.pbc)
        lists, local = self.calculator.lists, pos - self.origin
        self.batch = lists.make_batch(numbers, local, self.sizes, *box, lists.skin)

    def tensors(self) -> dict[str, Tensor]:
        """Return the same as Propagator, and the positions at which a list that is still complete
        was made: the order of neighbours decides the rounding of forces.
        """
        listed = {} if self._outdated() else {"listed_at": self.listed_at}
        return super().tensors() | listed

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Continue from what `tensors` returned."""
        super().load(tensors)
        self.moved = np.inf
        if "listed_at" in tensors:
            self._list_neighbours(tensors["listed_at"].to(self.state.device))
            self.moved = 0.0  # until the next step measures it


def make_propagators(
    systems: Sequence[Atoms], calculator: Calculator, settings: Settings
) -> list[Propagator]:
    """Return the propagators of all systems: with a model, one for each group of systems that are
    best computed together, else one for each system.

    Raises InputError if systems with a model have different cells, and the errors of its `check`.
    """
    if not isinstance(calculator, NeuralCalculator):
        generator = torch.Generator().manual_seed(settings.seed + 1)
        return [Propagator({n: s}, calculator, settings, generator) for n, s in enumerate(systems)]
    first = systems[0]
    for system in systems:
        if (system.cell != first.cell).any() or (system.pbc != first.pbc).any():
            raise InputError("systems that run together have different cells; run them one by one")
    calculator.check(combine(systems))
    generator = torch.Generator(calculator.device).manual_seed(settings.seed + 1)
    groups = calculator.lists.group_systems(np.array([len(system) for system in systems]))
    return [
        CompiledPropagator({n: systems[n] for n in group.tolist()}, calculator, settings, generator)
        for group in groups
    ]
