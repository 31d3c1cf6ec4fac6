"""A model with its atomic references: energies, forces and stress for every model alike."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..graphs.batch import Batch
from ..graphs.dataset import Dataset
from .repulsion import Repulsion

MAX_Z = 118
SURFACE = "energy"  # the target that atoms move on
INTENSIVE = {"rotational_a", "rotational_b", "rotational_c", "mu", "homo", "lumo", "gap"}


class Potential(nn.Module):
    """Sum of atomic references plus `scale` times a model, in float64.

    `references` are {atomic number: value}, `scale` has their unit, `unit`. An intensive target is
    the mean over atoms instead of the sum. With `repulsion`, atoms that come too close repel each
    other (repulsion.py): what a potential energy surface needs, whatever the model has seen.
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
        table = torch.zeros(MAX_Z + 1, dtype=torch.float64)
        table[list(references)] = torch.tensor(list(references.values()), dtype=torch.float64)
        self.register_buffer("references", table)

    def forward(self, batch: Batch) -> Tensor:
        """(B,) predictions, float64."""
        reference = batch.sum_over_atoms(self.references[batch.z])
        total = reference + self.scale * self.scaled_model(batch)
        if self.intensive:
            total = total / batch.system_idx.bincount(minlength=batch.n_systems)
        return total

    def scaled_model(self, batch: Batch) -> Tensor:
        """(B,) what is learned: the model, and the repulsion in its unit."""
        energy = self.model(batch)
        return energy if self.repulsion is None else energy + self.repulsion(batch) / self.scale

    def normalised_target(self, data: Dataset) -> Tensor:
        """Return the labels (M,) of `scaled_model` for `data`: float32, on the CPU."""
        rest = data.target - self.reference_energy(data)
        return ((rest * data.sizes if self.intensive else rest) / self.scale).float()

    def reference_energy(self, data: Dataset) -> Tensor:
        """(M,) float64, on the CPU: what the references predict for the molecules of `data`."""
        molecule = torch.repeat_interleave(data.sizes)
        total = data.target.new_zeros(len(data))
        total.index_add_(0, molecule, self.references[data.atomic_numbers().long()].cpu())
        return total / data.sizes if self.intensive else total


def energy_forces(
    potential: Callable[[Batch], Tensor], batch: Batch, create_graph: bool = False
) -> tuple[Tensor, Tensor]:
    """Energies (B,) eV and forces (N, 3) eV/Å."""
    pos = batch.pos.detach().requires_grad_()
    energy = potential(batch.with_positions(pos))
    (gradient,) = torch.autograd.grad(energy.sum(), pos, create_graph=create_graph)
    return energy, -gradient


def energy_forces_virial(potential: nn.Module, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Energies (B,) eV, forces (N, 3) eV/Å and dE/dstrain (B, 3, 3) eV, volume times stress."""
    pos = batch.pos.detach().requires_grad_()
    strain = pos.new_zeros(batch.n_systems, 3, 3).requires_grad_()
    energy = potential(batch.with_positions(pos).with_strain(strain))
    gradient, virial = torch.autograd.grad(energy.sum(), (pos, strain))
    return energy, -gradient, virial
