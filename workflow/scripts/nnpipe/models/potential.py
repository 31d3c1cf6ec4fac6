"""A model with atomic references and repulsion; energies, forces and stress of any model."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..graphs.batch import Batch
from ..graphs.dataset import Dataset
from .repulsion import Repulsion

if TYPE_CHECKING:
    from .uncertainty import Uncertainty

MAX_Z = 118
SURFACE = "energy"  # the target whose gradient gives forces
INTENSIVE = {"rotational_a", "rotational_b", "rotational_c", "mu", "homo", "lumo", "gap"}


class Potential(nn.Module):
    """The sum of atomic references plus `scale` times a model, in float64.

    `references` ({atomic number: value}) and `scale` have the unit `unit`. For an intensive target,
    the sum is divided by the number of atoms. With `repulsion`, the repulsion of close nuclei is
    added, so that the energy rises steeply when two atoms collide, whatever the training data are.
    """

    references: Tensor

    def __init__(
        self,
        model: nn.Module,
        references: dict[int, float],
        scale: float,
        unit: str = "eV",
        intensive: bool = False,
        repulsion: bool = False,
    ) -> None:
        super().__init__()
        self.model, self.scale, self.unit, self.intensive = model, scale, unit, intensive
        self.cutoff = float(model.cutoff)  # type: ignore[arg-type]
        self.repulsion = Repulsion() if repulsion else None
        self.uncertainty: Uncertainty | None = None  # once it has been fitted
        table = torch.zeros(MAX_Z + 1, dtype=torch.float64)
        table[list(references)] = torch.tensor(list(references.values()), dtype=torch.float64)
        self.register_buffer("references", table)

    def forward(self, batch: Batch) -> Tensor:
        """Return predictions (B,), float64, in the unit of the target."""
        reference = batch.sum_over_atoms(self.references[batch.z])
        total = reference + self.scale * self.scaled_model(batch)
        if self.intensive:
            total = total / batch.system_idx.bincount(minlength=batch.n_systems)
        return total

    def scaled_model(self, batch: Batch) -> Tensor:
        """Return model plus repulsion (B,) in units of `scale`: the part that is trained."""
        energy = self.model(batch)
        return energy if self.repulsion is None else energy + self.repulsion(batch) / self.scale

    def normalised_target(self, data: Dataset) -> Tensor:
        """Return the labels (M,) of `scaled_model` for `data`: float32, on the CPU."""
        rest = data.target - self.reference_energy(data)
        return ((rest * data.sizes if self.intensive else rest) / self.scale).float()

    def reference_energy(self, data: Dataset) -> Tensor:
        """Return the contribution of the references (M,), float64, on the CPU."""
        molecule = torch.repeat_interleave(data.sizes)
        total = data.target.new_zeros(len(data))
        total.index_add_(0, molecule, self.references[data.atomic_numbers().long()].cpu())
        return total / data.sizes if self.intensive else total


def energy_forces(
    potential: Callable[[Batch], Tensor], batch: Batch, create_graph: bool = False
) -> tuple[Tensor, Tensor]:
    """Return energies (B,) eV and forces (N, 3) eV/Å."""
    pos = batch.pos.detach().requires_grad_()
    energy = potential(batch.with_positions(pos))
    (gradient,) = torch.autograd.grad(energy.sum(), pos, create_graph=create_graph)
    return energy, -gradient


def energy_forces_virial(potential: nn.Module, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Return energies (B,) eV, forces (N, 3) eV/Å and dE/dstrain (B, 3, 3) eV.

    dE/dstrain is the volume times the stress.
    """
    pos = batch.pos.detach().requires_grad_()
    strain = pos.new_zeros(batch.n_systems, 3, 3).requires_grad_()
    energy = potential(batch.with_positions(pos).with_strain(strain))
    gradient, virial = torch.autograd.grad(energy.sum(), (pos, strain))
    return energy, -gradient, virial
