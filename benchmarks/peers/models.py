"""The peers, each built by its package, behind one `forward(graph) -> energy`.

The package of a peer is imported when the peer is built, because each has its own environment. The
settings are the published ones for QM9, or the defaults of the package for MACE, NequIP and ViSNet
(the published ViSNet for QM9 has 512 features and 9 layers), and the same architecture reduced to
the number of parameters of AtomGNN.
"""

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

ELEMENTS = (1, 6, 7, 8, 9)


@dataclass(frozen=True)
class Graph:
    """B molecules with N atoms and all E ordered pairs within the cutoff."""

    z: Tensor  # (N,) int64, atomic numbers
    pos: Tensor  # (N, 3) float32, Å
    molecule: Tensor  # (N,) int64, from 0, ascending
    size: int  # B
    edges: Tensor  # (2, E) int64

    def types(self) -> Tensor:
        """Return (N,) indices into ELEMENTS."""
        return torch.searchsorted(torch.tensor(ELEMENTS), self.z)


class Wrapped(nn.Module):
    """A network of a package and the function that calls it."""

    def __init__(self, net: nn.Module, call: Callable[[nn.Module, Graph], Tensor]) -> None:
        super().__init__()
        self.net, self.call = net, call

    def forward(self, graph: Graph) -> Tensor:
        """Return energies (B,) in standard deviations of the label."""
        return self.call(self.net, graph)


def schnet(cutoff: float, **settings: Any) -> nn.Module:
    """SchNet of PyTorch Geometric (https://arxiv.org/abs/1706.08566)."""
    from torch_geometric.nn.models import SchNet

    def call(net: Any, graph: Graph) -> Tensor:
        j, i = graph.edges
        net.interaction_graph = lambda pos, molecule: (graph.edges, (pos[j] - pos[i]).norm(dim=-1))
        return net(graph.z, graph.pos, graph.molecule)[:, 0]

    return Wrapped(
        SchNet(cutoff=cutoff, interaction_graph=lambda pos, batch: None, **settings), call
    )


def dimenet(cutoff: float, **settings: Any) -> nn.Module:
    """DimeNet++ of PyTorch Geometric (https://arxiv.org/abs/2011.14115)."""
    from torch_geometric.nn.models import dimenet

    net = dimenet.DimeNetPlusPlus(out_channels=1, cutoff=cutoff, **settings)
    dimenet.triplets = triplets  # the package's own needs torch-sparse

    def call(net: Any, graph: Graph) -> Tensor:
        dimenet.radius_graph = lambda *_, **__: graph.edges
        return net(graph.z, graph.pos, graph.molecule)[:, 0]

    return Wrapped(net, call)


def triplets(edges: Tensor, num_nodes: int) -> tuple[Tensor, ...]:
    """Return the pairs of edges k->j->i with k != i that DimeNet++ needs."""
    j, i = edges
    order = i.argsort(stable=True)  # edges by the atom they end at
    counts = torch.bincount(i, minlength=num_nodes)
    first = counts.cumsum(0) - counts
    number = counts[j]  # of edges k->j for each edge j->i
    ji = torch.repeat_interleave(number)
    within = torch.arange(len(ji)) - (number.cumsum(0) - number)[ji]
    kj = order[first[j[ji]] + within]
    kept = j[kj] != i[ji]
    kj, ji = kj[kept], ji[kept]
    return i, j, i[ji], j[ji], j[kj], kj, ji


def visnet(cutoff: float, **settings: Any) -> nn.Module:
    """ViSNet of PyTorch Geometric (https://arxiv.org/abs/2210.16518)."""
    from torch_geometric.nn.models import ViSNet

    def call(net: Any, graph: Graph) -> Tensor:
        j, i = graph.edges
        loops = torch.arange(len(graph.z)).expand(2, -1)
        edges = torch.cat([graph.edges, loops], 1)

        def distance(pos: Tensor, molecule: Tensor) -> tuple[Tensor, ...]:
            lengths = (pos[j] - pos[i]).norm(dim=-1)
            lengths = torch.cat([lengths, lengths.new_zeros(len(pos))])
            return edges, lengths, pos[edges[0]] - pos[edges[1]]

        net.representation_model.distance = distance
        return net(graph.z, graph.pos, graph.molecule)[0][:, 0]

    net = ViSNet(cutoff=cutoff, **settings)
    del net.representation_model.distance
    return Wrapped(net, call)


def torchmdnet(model: str, cutoff: float, features: int, layers: int, **settings: Any) -> nn.Module:
    """TensorNet (https://arxiv.org/abs/2306.06482) or the equivariant transformer
    (https://arxiv.org/abs/2202.02541) of TorchMD-NET, which finds neighbours itself.
    """
    from torchmdnet.models.model import create_model

    common = {
        "model": model, "embedding_dimension": features, "num_layers": layers, "num_rbf": 64,
        "rbf_type": "expnorm", "trainable_rbf": False, "activation": "silu", "cutoff_lower": 0.0,
        "cutoff_upper": cutoff, "max_z": 128, "max_num_neighbors": 64, "precision": 32,
        "derivative": False, "atom_filter": -1, "prior_model": None, "output_model": "Scalar",
        "reduce_op": "add", "equivariance_invariance_group": "O(3)", "attn_activation": "silu",
        "num_heads": 8, "distance_influence": "both", "neighbor_embedding": True,
    }  # fmt: skip
    net = create_model(common | settings)
    return Wrapped(net, lambda net, g: net(g.z, g.pos, g.molecule, num_systems=g.size)[0][:, 0])


def mace(cutoff: float, irreps: str, neighbours: float = 12.0, **settings: Any) -> nn.Module:
    """MACE (https://arxiv.org/abs/2206.07697)."""
    os.environ.setdefault("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")  # e3nn loads its own tables
    import numpy as np
    from e3nn import o3
    from mace.modules import ScaleShiftMACE, interaction_classes

    block = interaction_classes["RealAgnosticResidualInteractionBlock"]
    net = ScaleShiftMACE(
        r_max=cutoff, num_bessel=8, num_polynomial_cutoff=5, max_ell=3, interaction_cls=block,
        interaction_cls_first=block, num_interactions=2, num_elements=len(ELEMENTS),
        hidden_irreps=o3.Irreps(irreps), MLP_irreps=o3.Irreps("16x0e"),
        atomic_energies=np.zeros(len(ELEMENTS)), avg_num_neighbors=neighbours,
        atomic_numbers=list(ELEMENTS), correlation=3, gate=torch.nn.functional.silu,
        atomic_inter_scale=1.0, atomic_inter_shift=0.0, **settings,
    )  # fmt: skip

    def call(net: nn.Module, graph: Graph) -> Tensor:
        sizes = torch.bincount(graph.molecule, minlength=graph.size)
        data = {
            "positions": graph.pos.clone(),  # the network sets requires_grad in place
            "node_attrs": nn.functional.one_hot(graph.types(), len(ELEMENTS)).float(),
            "edge_index": graph.edges,
            "shifts": graph.pos.new_zeros(graph.edges.shape[1], 3),
            "unit_shifts": graph.pos.new_zeros(graph.edges.shape[1], 3),
            "cell": graph.pos.new_zeros(3 * graph.size, 3),
            "batch": graph.molecule,
            "ptr": nn.functional.pad(sizes.cumsum(0), (1, 0)),
        }
        return net(data, compute_force=False)["energy"]

    return Wrapped(net.float(), call)


def nequip(cutoff: float, neighbours: float = 12.0, **settings: Any) -> nn.Module:
    """NequIP (https://doi.org/10.1038/s41467-022-29939-5)."""
    from nequip.model import NequIPGNNModel
    from nequip.utils.global_state import set_global_state

    set_global_state()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the labels are normalised already
        net = NequIPGNNModel(
            seed=0, model_dtype="float32", r_max=cutoff, type_names=["H", "C", "N", "O", "F"],
            avg_num_neighbors=neighbours, do_derivatives=False, **settings,
        )  # fmt: skip

    def call(net: nn.Module, graph: Graph) -> Tensor:
        data = {
            "pos": graph.pos,
            "edge_index": graph.edges,
            "atom_types": graph.types(),
            "batch": graph.molecule,
            "num_atoms": torch.bincount(graph.molecule, minlength=graph.size),
        }
        return net(data)["total_energy"][:, 0]

    return Wrapped(net, call)


def painn(cutoff: float, features: int, layers: int) -> nn.Module:
    """PaiNN (https://arxiv.org/abs/2102.03150) of SchNetPack."""
    from schnetpack.nn import BesselRBF, CosineCutoff
    from schnetpack.nn.blocks import build_mlp
    from schnetpack.representation import PaiNN

    net = nn.ModuleDict(
        {
            "body": PaiNN(features, layers, BesselRBF(20, cutoff), CosineCutoff(cutoff)),
            "head": build_mlp(features, 1, None, 2, activation=nn.functional.silu),
        }
    )

    def call(net: nn.Module, graph: Graph) -> Tensor:
        j, i = graph.edges
        inputs = {
            "_atomic_numbers": graph.z,
            "_Rij": graph.pos[j] - graph.pos[i],
            "_idx_i": i,
            "_idx_j": j,
            "_n_atoms": torch.bincount(graph.molecule),
        }
        atoms = net["head"](net["body"](inputs)["scalar_representation"])[:, 0]
        return atoms.new_zeros(graph.size).index_add(0, graph.molecule, atoms)

    return Wrapped(net, call)


@dataclass(frozen=True)
class Peer:
    """A published model, its environment and its published training settings."""

    environment: str | None  # envs/{environment}.txt; None: the environment of nnpipe
    make: Callable[..., nn.Module]
    cutoff: float  # Å
    learning_rate: float
    molecules: int  # per batch; published: 100 for PaiNN, 128 for the equivariant transformer
    published: dict[str, Any]
    equal: dict[str, Any]  # at AtomGNN's number of parameters


PEERS = {
    "schnet": Peer(
        None, schnet, 10.0, 5e-4, 32,
        {"hidden_channels": 128, "num_filters": 128, "num_interactions": 6},
        {"hidden_channels": 72, "num_filters": 72, "num_interactions": 4},
    ),
    "dimenet++": Peer(
        None, dimenet, 5.0, 1e-3, 32,
        {"hidden_channels": 128, "num_blocks": 4, "int_emb_size": 64, "basis_emb_size": 8,
         "out_emb_channels": 256, "num_spherical": 7, "num_radial": 6},
        {"hidden_channels": 48, "num_blocks": 2, "int_emb_size": 32, "basis_emb_size": 8,
         "out_emb_channels": 64, "num_spherical": 7, "num_radial": 6},
    ),
    "visnet": Peer(
        None, visnet, 5.0, 2e-4, 32,
        {"hidden_channels": 128, "num_layers": 6},
        {"hidden_channels": 40, "num_layers": 3},
    ),
    "tensornet": Peer(
        "torchmdnet", lambda **s: torchmdnet("tensornet", **s), 5.0, 1e-4, 16,
        {"features": 256, "layers": 3},
        {"features": 56, "layers": 1, "num_rbf": 32},
    ),
    "et": Peer(
        "torchmdnet", lambda **s: torchmdnet("equivariant-transformer", **s), 5.0, 4e-4, 32,
        {"features": 256, "layers": 8},
        {"features": 40, "layers": 3},
    ),
    "mace": Peer(
        "mace", mace, 5.0, 1e-2, 10,
        {"irreps": "128x0e+128x1o"},
        {"irreps": "36x0e+36x1o"},
    ),
    "nequip": Peer(
        "nequip", nequip, 5.0, 1e-2, 5,
        {"num_layers": 4, "l_max": 1, "num_features": 32, "parity": True},
        {"num_layers": 3, "l_max": 1, "num_features": 25, "parity": False},
    ),
    "painn": Peer(
        "schnetpack", painn, 5.0, 5e-4, 32,
        {"features": 128, "layers": 3},
        {"features": 56, "layers": 3},
    ),
}  # fmt: skip
LABELS = {
    "gnn": "gnn", "schnet": "SchNet", "painn": "PaiNN", "tensornet": "TensorNet",
    "et": "equivariant transformer", "nequip": "NequIP", "visnet": "ViSNet",
    "dimenet++": "DimeNet++", "mace": "MACE",
}  # fmt: skip
