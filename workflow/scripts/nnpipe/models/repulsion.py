"""The floor under every model: atoms repel each other when they come too close."""

import torch
from ase.data import covalent_radii
from torch import Tensor, nn

from ..graphs.batch import Batch
from ..units import BOHR, COULOMB
from .radial import envelope

REACH = 0.75  # of the sum of covalent radii; no bond of a molecule at rest is that short
# Ziegler, Biersack, Littmark, The Stopping and Range of Ions in Matter (1985)
WEIGHTS = (0.18175, 0.50986, 0.28022, 0.02817)
DECAYS = (3.19980, 0.94229, 0.40290, 0.20162)


class Repulsion(nn.Module):
    """Screened repulsion of the nuclei, smoothly gone beyond REACH times the covalent radii."""

    radii: Tensor

    def __init__(self) -> None:
        super().__init__()
        radii = torch.tensor(covalent_radii, dtype=torch.float64)
        self.register_buffer("radii", radii, persistent=False)

    def forward(self, batch: Batch) -> Tensor:
        """(B,) eV, in the precision of the positions."""
        distance = batch.vectors().norm(dim=-1)
        z, radii = batch.z.to(distance.dtype), self.radii[batch.z].to(distance.dtype)
        other = z[batch.neighbours]
        x = distance * (z[:, None] ** 0.23 + other**0.23) / (0.8854 * BOHR)
        screened = sum(w * torch.exp(-d * x) for w, d in zip(WEIGHTS, DECAYS, strict=True))
        fade = envelope(distance / (REACH * (radii[:, None] + radii[batch.neighbours])))
        energy = COULOMB * z[:, None] * other / distance * screened * fade
        return batch.sum_over_atoms(0.5 * energy.sum(1))
