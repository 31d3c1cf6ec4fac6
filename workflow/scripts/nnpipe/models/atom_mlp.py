"""AtomMLP: a network on each atom's element and the distances and elements around it."""

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from ..graphs.batch import FAR, Batch
from ..graphs.gather import of_element
from .radial import bessel, envelope

NEAREST = 15


class AtomMLP(nn.Module):
    """Sum over atoms of a network on the element and its 15 nearest neighbours within the cutoff.

    The sorted list of (distance, element) enters as sum over the 15 of radial functions times a
    learned vector of the element: no jump where two neighbours change places in the list, as a
    plain concatenation has. A neighbour's weight goes to zero at the cutoff and, over `fade` Å,
    at the distance of the 16th, so that none leaves the list with a jump either.

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
        """(B,) energies."""
        distance = pad(batch.vectors().norm(dim=-1), (0, NEAREST + 1), value=FAR)
        limit = distance[:, NEAREST : NEAREST + 1].clamp(max=self.cutoff)  # where the 16th is
        distance = distance[:, :NEAREST]
        weight = envelope(distance / self.cutoff) * (1 - envelope((limit - distance) / self.fade))
        waves = bessel(distance, self.radial, self.cutoff) * weight[..., None]
        elements = batch.around(of_element(self.neighbour.weight, batch.z))
        elements = pad(elements, (0, 0, 0, NEAREST))[:, :NEAREST]
        around = torch.bmm(waves.transpose(1, 2), elements).flatten(1)  # (N, radial * channels)
        h = self.activation(self.embed(around) + of_element(self.element.weight, batch.z))
        for layer in self.hidden:
            h = h + self.activation(layer(h))
        return batch.sum_over_atoms(self.out(h)[:, 0])
