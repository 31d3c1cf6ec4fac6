"""SchNet of PyTorch Geometric, as a baseline."""

import torch
from torch import Tensor, nn
from torch_geometric.nn.models import SchNet as PyGSchNet

from ..graphs.batch import Batch


class SchNet(nn.Module):
    """SchNet (https://arxiv.org/abs/1706.08566) of PyTorch Geometric on the neighbours of a batch.

    cutoff: Å; features: length of the atom features and filters; layers: number of interaction
    blocks; radial: number of Gaussians.
    """

    unordered = True  # accepts neighbours in any order, and beyond the cutoff

    def __init__(
        self, cutoff: float = 5.0, features: int = 128, layers: int = 6, radial: int = 50
    ) -> None:
        super().__init__()
        self.cutoff = cutoff
        self.net = PyGSchNet(features, features, layers, radial, cutoff, _no_edges)

    def forward(self, batch: Batch) -> Tensor:
        """Return energies (B,)."""
        distance = batch.neighbour_vectors().norm(dim=-1)
        centre, slot = (distance < self.cutoff).nonzero(as_tuple=True)
        edges = torch.stack([batch.neighbours[centre, slot], centre])
        distance = distance[centre, slot]
        self.net.interaction_graph = lambda pos, molecule: (edges, distance)
        energy = self.net(batch.z, batch.pos, batch.system_idx)[:, 0]
        self.net.interaction_graph = _no_edges  # a model is pickled between calls
        return energy


def _no_edges(pos: Tensor, molecule: Tensor) -> None:
    """Stand for the edges that each call sets."""
