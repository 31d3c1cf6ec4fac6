"""The repulsion of close nuclei, which is added to every model of the energy."""

import torch
from ase.data import covalent_radii
from torch import Tensor, nn

from ..graphs.batch import Batch
from ..units import BOHR, COULOMB
from .radial import envelope

CUTOFF_PER_RADII = 0.75  # cutoff / sum of covalent radii; bonds at a minimum are longer
# Ziegler, Biersack, Littmark, The Stopping and Range of Ions in Matter (1985)
ZBL_COEFFICIENTS = (0.18175, 0.50986, 0.28022, 0.02817)
ZBL_EXPONENTS = (3.19980, 0.94229, 0.40290, 0.20162)


class Repulsion(nn.Module):
    """ZBL repulsion of screened nuclei times an envelope, zero from the cutoff on.

    The cutoff of a pair of atoms is CUTOFF_PER_RADII times the sum of their covalent radii.
    """

    radii: Tensor

    def __init__(self) -> None:
        super().__init__()
        radii = torch.tensor(covalent_radii, dtype=torch.float64)
        self.register_buffer("radii", radii, persistent=False)

    def forward(self, batch: Batch) -> Tensor:
        """Return energies (B,) eV in the precision of the positions."""
        distance = batch.neighbour_vectors().norm(dim=-1)
        z, radii = batch.z.to(distance.dtype), self.radii[batch.z].to(distance.dtype)
        other = z[batch.neighbours]
        x = distance * (z[:, None] ** 0.23 + other**0.23) / (0.8854 * BOHR)
        terms = zip(ZBL_COEFFICIENTS, ZBL_EXPONENTS, strict=True)
        screened = sum(c * torch.exp(-e * x) for c, e in terms)
        fade = envelope(distance / (CUTOFF_PER_RADII * (radii[:, None] + radii[batch.neighbours])))
        energy = COULOMB * z[:, None] * other / distance * screened * fade
        return batch.sum_over_atoms(0.5 * energy.sum(1))
