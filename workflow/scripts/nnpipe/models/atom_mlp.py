"""AtomMLP: one network per atom, on the distances and elements of its nearest neighbours."""

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from ..graphs.batch import NO_NEIGHBOUR_DISTANCE, Batch
from ..graphs.gather import embed_elements
from .radial import bessel, envelope

N_NEAREST = 15  # neighbours that enter the network


class AtomMLP(nn.Module):
    """Sum over atoms of a network on the element and the 15 nearest neighbours within the cutoff.

    The input is a sum over these neighbours of radial functions times a learned vector of the
    neighbour's element. Unlike a concatenation of the sorted neighbours, the sum is smooth where
    two neighbours change places. The weight of a neighbour goes to zero at the cutoff and, within
    the last `fade` Å, at the distance of the 16th neighbour, so that the energy is smooth where a
    neighbour enters or leaves.

    cutoff: Å; radial: number of radial functions; channels: length of the element vector;
    features, layers: width and depth of the network; fade: Å.
    """

    def __init__(
        self,
        cutoff: float = 5.0,
        radial: int = 16,
        channels: int = 8,
        features: int = 128,
        layers: int = 3,
        fade: float = 0.5,
    ) -> None:
        super().__init__()
        self.cutoff, self.radial, self.fade = cutoff, radial, fade
        self.element = nn.Embedding(100, features)
        self.neighbour = nn.Embedding(100, channels)
        self.embed = nn.Linear(radial * channels, features)
        self.hidden = nn.ModuleList([nn.Linear(features, features) for _ in range(layers - 1)])
        self.out = nn.Linear(features, 1)
        self.activation = nn.SiLU()

    def forward(self, batch: Batch) -> Tensor:
        """Return energies (B,)."""
        distance = batch.neighbour_vectors().norm(dim=-1)
        distance = pad(distance, (0, N_NEAREST + 1), value=NO_NEIGHBOUR_DISTANCE)
        limit = distance[:, N_NEAREST : N_NEAREST + 1].clamp(max=self.cutoff)  # 16th
        distance = distance[:, :N_NEAREST]
        weight = envelope(distance / self.cutoff) * (1 - envelope((limit - distance) / self.fade))
        waves = bessel(distance, self.radial, self.cutoff) * weight[..., None]
        elements = batch.gather_neighbours(embed_elements(self.neighbour.weight, batch.z))
        elements = pad(elements, (0, 0, 0, N_NEAREST))[:, :N_NEAREST]
        around = torch.bmm(waves.transpose(1, 2), elements).flatten(1)  # (N, radial * channels)
        h = self.activation(self.embed(around) + embed_elements(self.element.weight, batch.z))
        for layer in self.hidden:
            h = h + self.activation(layer(h))
        return batch.sum_over_atoms(self.out(h)[:, 0])
