"""A step of Langevin dynamics (BAOAB), or of velocity Verlet, for many systems at once."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..graphs.batch import Batch
from ..models.potential import Potential, energy_forces
from ..models.uncertainty import with_uncertainty
from ..units import ASE_BOLTZMANN, ASE_FS


def langevin_step(
    forces_of: Callable[[Tensor], tuple[Tensor, Tensor]],
    system_idx: Tensor,
    state: Tensor,
    noise: Tensor,
    mass: Tensor,
    constants: Tensor,
    has_previous_step: Tensor,
    bonds: Tensor,
    lengths: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Complete the pending half kick, measure, and advance to the next force evaluation.

    `forces_of` returns energies (B,) eV and forces (N, 3) eV/Å for positions (N, 3) Å. state
    (2, N, 3) holds positions and the velocities before the pending half kick, in ASE's units;
    noise (N, 3) is standard normal. mass (N, 2) in amu holds the inertia of each atom, infinite
    for a fixed one, and its mass. constants (3,) come from `step_constants`. has_previous_step (1,)
    is 1, or 0 in the first step, where no half kick is pending. bonds (B, L, 2) are atoms of each
    system; lengths (B, L, 4) their lattice translation (Å) and reference length (Å). system_idx
    (N,) is the system of each atom.

    Returns the next state; positions, velocities and forces (3, N, 3) at the full step; and for
    each system potential energy (eV), kinetic energy (eV) and largest bond deviation (Å), (3, B).

    The scheme is BAOAB of Leimkuhler and Matthews, https://doi.org/10.1093/amrx/abs010: half kick
    B, half drift A, Ornstein-Uhlenbeck O, half drift A, half kick B. Without friction, O changes
    nothing and BAOAB is velocity Verlet. A harmonic oscillator has exact positions on average at
    any stable timestep, and 1 - (timestep * frequency)^2 / 4 of its kinetic energy.
    """
    pos, velocity = state.unbind()
    timestep, decay, heat = constants.unbind()
    inertia, mass = mass[:, :1], mass[:, 1:]
    energy, forces = forces_of(pos)
    energy = energy.index_add(0, system_idx, 0 * forces.sum(1))  # nan where a force is not finite
    kick = timestep / 2 / inertia * forces
    velocity = torch.where(has_previous_step > 0, velocity + kick, velocity)  # B
    kinetic = torch.zeros_like(energy)
    kinetic = kinetic.index_add(0, system_idx, 0.5 * (mass * velocity.square()).sum(1))
    apart = pos[bonds[:, :, 1]] - pos[bonds[:, :, 0]] + lengths[:, :, :3]
    deviation = (apart.square().sum(2).sqrt() - lengths[:, :, 3]).abs().amax(1)
    before = velocity + kick  # B
    after = decay * before + (heat / inertia).sqrt() * noise  # O
    drifted = pos + timestep / 2 * (before + after)  # A before O, A after O
    return (
        torch.stack([drifted, after]),
        torch.stack([pos, velocity, forces]),
        torch.stack([energy, kinetic, deviation]),
    )


def step_constants(
    timestep_fs: float, temperature_k: float, friction_per_ps: float
) -> tuple[float, float, float]:
    """Return the `constants` of `langevin_step`: the timestep in ASE's units, the factor by which
    friction reduces velocities in a step, and the thermal energy (eV) that noise returns.
    """
    decay = math.exp(-friction_per_ps * timestep_fs / 1000)
    return timestep_fs * ASE_FS, decay, (1 - decay**2) * ASE_BOLTZMANN * temperature_k


def make_step(potential: Potential) -> Callable[..., tuple[Tensor, Tensor, Tensor]]:
    """Return `langevin_step` with the forces of a potential, as a function that can be compiled.

    It takes a batch, the origin (N, 3) Å of each atom's system in the batch, and the arguments of
    `langevin_step` from `state` on. It returns the same, the last tensor flat and followed by the
    largest squared displacement (Å^2) of an atom from its position in the batch and by the
    uncertainties of the energies (B,) eV and forces (N,) eV/Å.
    """

    def step(batch: Batch, origin: Tensor, *arguments: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        uncertainties: list[Tensor] = []

        def forces_of(pos: Tensor) -> tuple[Tensor, Tensor]:
            local = batch.with_positions((pos - origin).to(batch.pos.dtype))
            energy, forces, *both = with_uncertainty(energy_forces, potential, local)
            uncertainties.extend(both)
            return energy.detach(), forces.double()

        state, seen, table = langevin_step(forces_of, batch.system_idx, *arguments)
        moved = (state[0] - origin - batch.pos).square().sum(1).amax()
        return state, seen, torch.cat([table.flatten(), moved[None], *uncertainties])

    return step
