"""A step of Langevin dynamics, or of velocity Verlet, for many systems at once."""

import math
from collections.abc import Callable

import numpy as np
import torch
from ase import units
from torch import Tensor


def step(
    force: Callable[[Tensor], tuple[Tensor, Tensor]],
    molecule: Tensor,
    state: Tensor,
    noise: Tensor,
    weights: Tensor,
    has_previous_step: Tensor,
    bonds: Tensor,
    lengths: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Complete the pending half step, measure, and begin the next step.

    `force` gives energies (B,) eV and forces (N, 3) eV/Å of positions (N, 3) Å. state (3, N, 3):
    positions, velocities half a step behind, and the noise that these still lack. noise (2, N, 3)
    is normal, weights (7, N, 1) are `weights_of` the atoms, has_previous_step (1,) is 1, or 0 in
    the first step. bonds (B, L, 2) are atoms of each system; lengths (B, L, 4) the translation (Å)
    between them and how far apart they were (Å). molecule (N,) says which system an atom is of.

    Returns the next state; positions, velocities and forces (3, N, 3) as they are now; and of each
    system potential and kinetic energy (eV) and how far a bond is off at most (Å), (3, B).
    Eq. 23 of Vanden-Eijnden and Ciccotti, https://doi.org/10.1016/j.cplett.2006.07.086.
    """
    pos, velocity, late = state.unbind()
    timestep, kick, drag, one, other, shake, mass = weights.unbind()
    energy, forces = force(pos)
    energy = energy.index_add(0, molecule, 0 * forces.sum(1))  # no number where a force is none
    behind = kick * forces - drag * velocity + late
    velocity = torch.where(has_previous_step > 0, velocity + behind, velocity)
    kinetic = torch.zeros_like(energy)
    kinetic = kinetic.index_add(0, molecule, 0.5 * (mass * velocity.square()).sum(1))
    apart = pos[bonds[:, :, 1]] - pos[bonds[:, :, 0]] + lengths[:, :, :3]
    off = (apart.square().sum(2).sqrt() - lengths[:, :, 3]).abs().amax(1)
    late = one * noise[0] - other * noise[1]
    half = velocity + kick * forces - drag * velocity + late
    after = torch.stack([pos + timestep * half + shake * noise[1], half, late])
    return after, torch.stack([pos, velocity, forces]), torch.stack([energy, kinetic, off])


def weights_of(
    mass: np.ndarray, timestep_fs: float, temperature_k: float, friction_per_ps: float
) -> np.ndarray:
    """(7, N, 1) for `step`, in ASE's units, of atoms with `mass` (N,): without friction, no noise
    counts, and what is left is velocity Verlet.
    """
    dt, friction = timestep_fs * units.fs, friction_per_ps / (1000 * units.fs)
    sigma = np.sqrt(2 * units.kB * temperature_k * friction / mass)
    shake = dt**1.5 * sigma / (2 * math.sqrt(3))
    rows = (
        dt,
        (dt / 2 - dt**2 * friction / 8) / mass,
        dt * friction / 2 - dt**2 * friction**2 / 8,
        math.sqrt(dt) * sigma / 2 - dt**1.5 * friction * sigma / 8,
        friction / 2 * shake,
        shake,
        mass,
    )
    return np.stack(np.broadcast_arrays(*rows))[:, :, None]
