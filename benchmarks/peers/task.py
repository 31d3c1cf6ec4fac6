"""Tasks of the comparison, and what all models share in them; needs no nnpipe."""

import time
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

TEST_MOLECULES = 2000
FORCES_FIRST = "forces-first"  # setting of gnn: forces first, then U0, as gnn_u0 in the workflow


class Contender(Protocol):
    """The tasks that every model can run."""

    parameters: int

    def run(self, forces: bool, seconds: float) -> float:
        """Return molecules/s of training steps for `seconds`, with almost constant weights."""

    def train(self, forces: bool, seconds: float) -> list[dict[str, float]]:
        """Train for `seconds` and return the errors (eV, eV/Å) and time of each evaluation."""

    def dynamics(self, atoms: int, seconds: float) -> float:
        """Return the time (ms) per MD step in ASE of an alkane of about `atoms` atoms."""

    def big(self, atoms: int, train: bool) -> None:
        """Run a training step, or an evaluation with forces, on an alkane of `atoms` atoms."""


def chain(atoms: int) -> tuple[Tensor, Tensor]:
    """Return atomic numbers and positions (Å) of a stretched alkane of about `atoms` atoms."""
    carbons = max(2, round((atoms - 2) / 3))
    number = torch.arange(-1, carbons + 1)  # the outer two are hydrogens
    side = number % 2 * 2 - 1
    line = torch.stack([1.27 * number, 0.42 * side, torch.zeros(carbons + 2)], 1)
    c, ends = line[1:-1], line[[1, -2]] + 0.72 * (line[[0, -1]] - line[[1, -2]])
    up = side[1:-1, None] * torch.tensor([0.0, 0.65, 0.0])
    out = torch.tensor([0.0, 0.0, 0.88])
    z = torch.cat([torch.full((carbons,), 6), torch.ones(2 * carbons + 2, dtype=torch.long)])
    return z, torch.cat([c, c + up + out, c + up - out, ends]).float()


def milliseconds(calculator: Any, atoms: int, seconds: float, timestep_fs: float = 1e-7) -> float:
    """Return the time per step (ms) of velocity Verlet in ASE, from 300 K.

    The default timestep is so short that an untrained model cannot move the atoms far. Raises
    ArithmeticError if a position is not finite.
    """
    from ase import Atoms, units
    from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
    from ase.md.verlet import VelocityVerlet

    z, pos = (tensor.numpy() for tensor in chain(atoms))
    system = Atoms(z, pos, calculator=calculator)
    system.rattle(0.02, seed=0)  # gradients of an angle of 180 degrees may be NaN
    generator = np.random.default_rng(0)
    MaxwellBoltzmannDistribution(system, temperature_K=300, rng=generator)  # every atom moves
    run = VelocityVerlet(system, timestep_fs * units.fs)
    run.run(5)  # compiles, if the calculator does
    started, steps = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        run.run(10)
        steps += 10
    if not np.isfinite(system.positions).all():
        raise ArithmeticError("positions are not finite")
    return 1000 * (time.perf_counter() - started) / steps
