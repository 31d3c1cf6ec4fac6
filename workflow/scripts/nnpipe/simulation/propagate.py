"""Systems on their way, with the forces of any calculator, or with a model in one program."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Self

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
from .calculator import SYSTEM_IDX, NeuralCalculator
from .integrator import langevin_step, step_constants

if TYPE_CHECKING:
    from .settings import Settings

Links = tuple[np.ndarray, np.ndarray]


def combine(systems: Sequence[Atoms]) -> Atoms:
    """All systems in one object, told apart by the array `system`; they share one cell."""
    whole = systems[0][:0]
    for system in systems:
        whole += system
    whole.set_array(SYSTEM_IDX, np.repeat(np.arange(len(systems)), [len(s) for s in systems]))
    return whole


def _links(system: Atoms) -> Links:
    """Bonds (P, 2), and of each the translation and the length (P, 4) Å."""
    pairs = bonded_pairs(system)
    first, last = system.positions[pairs.T]
    apart, length = find_mic(last - first, system.cell, system.pbc)
    return pairs, np.column_stack([apart - (last - first), length])


class Propagator:
    """Systems, by their numbers, that move together; here one, as any calculator of ASE has it.

    They start as they are, with their velocities, and are themselves not changed.
    """

    def __init__(
        self,
        systems: dict[int, Atoms],
        calculator: Calculator,
        settings: "Settings",
        generator: torch.Generator,
        links: dict[int, Links] | None = None,
    ) -> None:
        self.systems, self.calculator = systems, calculator
        self.links = links or {number: _links(system) for number, system in systems.items()}
        self.settings, self.generator = settings, generator
        self.system_ids = np.array(list(systems))
        self.atoms = combine(list(systems.values()))
        self.atoms.calc = calculator
        owner = self.atoms.arrays[SYSTEM_IDX]
        self.sizes = np.bincount(owner)
        self.ends = row_ends(self.sizes)
        self.noisy = settings.ensemble == "nvt"
        friction = settings.friction_per_ps if self.noisy else 0.0
        constants = step_constants(settings.timestep_fs, settings.temperature_k, friction)
        mass = self.atoms.get_masses()[:, None]
        state = np.stack([self.atoms.positions, self.atoms.get_velocities()])
        self.mass, self.constants, self.bonds, self.lengths, self.system_idx, self.state = (
            torch.as_tensor(array, device=generator.device)
            for array in (mass, np.array(constants), *self._bonds(), owner, state)
        )
        self.has_previous_step, self.true = self.mass.new_zeros(1), self.mass.new_ones(1)
        self.seen, self.energies = self.state, np.zeros(len(systems))

    def _bonds(self) -> tuple[np.ndarray, np.ndarray]:
        """`bonds` and `lengths` for `langevin_step`; rows end with bonds of an atom to itself."""
        found = [self.links[number] for number in self.systems]
        shape = len(found), max(1, *(len(some) for some, _ in found))
        pairs, lengths = np.zeros((*shape, 2), int), np.zeros((*shape, 4))
        for row, (some, apart) in enumerate(found):
            pairs[row, : len(some)] = some + self.ends[row]
            lengths[row, : len(some)] = apart
        return pairs, lengths

    def step(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Look at what is there, and go on: potential and kinetic energies (B,) eV, and how far a
        bond is off at most (B,) Å.
        """
        noise = self.state[1]  # without friction its factor is 0
        if self.noisy:
            noise = torch.empty_like(noise).normal_(generator=self.generator)
        table = self._step(
            self.state, noise, self.mass, self.constants, self.has_previous_step,
            self.bonds, self.lengths,
        )  # fmt: skip
        self.has_previous_step = self.true
        self.energies, kinetic, off = table.reshape(3, -1)
        return self.energies, kinetic, off

    def _step(self, *given: Tensor) -> np.ndarray:
        """Take the step, from `state` to `lengths`: (3B,) what `step` returns."""
        self.state, self.seen, table = langevin_step(self._force, self.system_idx, *given)
        return table.flatten().numpy()

    def _force(self, pos: Tensor) -> tuple[Tensor, Tensor]:
        self.atoms.positions = pos.numpy()
        forces = np.array(self.atoms.get_forces(), float)
        energy = np.array([self.atoms.get_potential_energy()], float)
        return torch.from_numpy(energy), torch.from_numpy(forces)

    def frames(self, places: np.ndarray) -> Iterator[Atoms]:
        """Those of the systems, as last looked at, with energy and forces."""
        seen = self.seen.cpu().numpy()
        for place in places:
            pos, velocity, forces = seen[:, self.ends[place] : self.ends[place + 1]].copy()
            frame = self.systems[int(self.system_ids[place])].copy()
            frame.positions = pos
            frame.set_velocities(velocity)
            frame.calc = SinglePointCalculator(
                frame, energy=float(self.energies[place]), forces=forces
            )
            yield frame

    def drop(self, gone: np.ndarray) -> Self:
        """The rest of the systems, where they are; gone (B,) bool."""
        kept = {n: self.systems[n] for n in self.system_ids[~gone].tolist()}
        rest = type(self)(kept, self.calculator, self.settings, self.generator, self.links)
        atoms = torch.from_numpy(np.repeat(~gone, self.sizes)).to(self.state.device)
        rest.state, rest.has_previous_step = self.state[:, atoms], self.has_previous_step
        return rest


class CompiledPropagator(Propagator):
    """Systems with a model: integrator, forces and what is looked at are one program."""

    calculator: NeuralCalculator
    moved = np.inf  # Å^2, of the atom that moved most since neighbours were listed

    def _step(self, *given: Tensor) -> np.ndarray:
        if not self.moved < (self.calculator.lists.skin / 2) ** 2:
            pos = self.state[0]
            ends = torch.from_numpy(self.ends[:-1]).to(pos.device)
            self.origin = pos[ends[self.system_idx]]
            self.batch = self.calculator.lists.make_batch(
                self.atoms.numbers, pos - self.origin, self.sizes, self.atoms.cell.array,
                self.atoms.pbc, self.calculator.lists.skin,
            )  # fmt: skip
        state, self.seen, table = self.calculator.step(self.batch, self.origin, *given)
        self.state = state.clone()  # as the program's next results may take the place of these
        both = table.cpu().numpy()
        self.moved = both[-1]
        return both[:-1]


def make_propagators(
    systems: Sequence[Atoms], calculator: Calculator, settings: "Settings"
) -> list[Propagator]:
    """All systems on their way, with a model in groups that are best computed together.

    Raises InputError for systems in different cells with a model, and what its `check` does.
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
    return [
        CompiledPropagator(
            {n: systems[n] for n in numbers.tolist()}, calculator, settings, generator
        )
        for numbers in calculator.lists.group_systems(np.array([len(system) for system in systems]))
    ]
