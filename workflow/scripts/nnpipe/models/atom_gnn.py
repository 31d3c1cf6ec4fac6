"""AtomGNN: message passing on sparse neighbours, with the geometry computed once.

The geometry of the pairs, radial functions times spherical harmonics, is the same in all layers. A
layer

1. projects the scalar features of the atoms to a few channels,
2. sums them over neighbours, times the geometry, as one batched matrix product,
3. mixes radial functions and channels on each atom,
4. contracts the result to invariants of body order 2 to 4, as in the atomic cluster expansion
   (https://doi.org/10.1103/PhysRevB.99.014104), and updates the features with them.

Layers also send a few vectors to the next layer (equivariant messages,
https://arxiv.org/abs/2102.03150), which contain the orientation of the neighbours' environments.
The work per pair is small and memory is linear in atoms. Most work is done per atom, in large
matrix products.
"""

import math
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..graphs.batch import Batch
from ..graphs.gather import embed_elements
from ..graphs.matmul import cat_last, neighbour_matmul
from .radial import bessel, envelope

HARMONICS_PER_DEGREE = (1, 3, 5)  # l = 0, 1, 2
INVARIANTS_BY_BODIES = {2: 1, 3: 3, 4: 4}  # maximum body order: number of kinds of invariants


def spherical_harmonics(unit: Tensor) -> Tensor:
    """Return real spherical harmonics (N, 9, K), l <= 2, of unit vectors (N, K, 3).

    For each l, the sum of their squares is 1.
    """
    x, y, z = unit.unbind(-1)
    root = math.sqrt(3)
    return torch.stack(
        [
            torch.ones_like(x), x, y, z,
            root * x * y, root * y * z, (3 * z * z - 1) / 2, root * x * z,
            root / 2 * (x * x - y * y),
        ], 1,
    )  # fmt: skip


def invariants(scalar: Tensor, vector: Tensor, tensor: Tensor, kinds: int) -> Tensor:
    """Return the first `kinds` of the rotational invariants l=0, 1·1, 2·2, 1·2·1: (N, kinds * F).

    Takes the parts of degree 0 (N, F), 1 (N, 3, F) and 2 (N, 5, F).
    """
    x, y, z = vector.unbind(1)
    xy, yz, zz, xz, xxyy = tensor.unbind(1)
    root = math.sqrt(3)
    bent = (
        root * (xy * x * y + yz * y * z + xz * x * z)
        + zz * (2 * z * z - x * x - y * y) / 2
        + root / 2 * xxyy * (x * x - y * y)
    )
    found = [scalar, vector.square().sum(1), tensor.square().sum(1), bent]
    return torch.cat(found[:kinds], 1)


def coupled(sums: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the parts of degree 0, 1, 2, each (N, 2l+1, R, F), of a product with vectors.

    `sums` (N, 4, R, 3, F) are harmonics, l <= 1, times radial functions times vectors. The scalar
    is the dot product with l = 1, the vector the product with l = 0, the tensor the symmetric
    product with l = 1. The products that change sign under reflection are not used.
    """
    x, y, z = (axis.unbind(1) for axis in sums.unbind(3))
    trace, root = x[1] + y[2] + z[3], math.sqrt(3) / 2
    tensor = [
        root * (x[2] + y[1]), root * (y[3] + z[2]), 1.5 * z[3] - 0.5 * trace,
        root * (x[3] + z[1]), root * (x[1] - y[2]),
    ]  # fmt: skip
    return trace[:, None], torch.stack([x[0], y[0], z[0]], 1), torch.stack(tensor, 1)


class Layer(nn.Module):
    """One round of messages: see AtomGNN. It receives `taken` vectors and sends `given` vectors."""

    def __init__(
        self,
        features: int,
        channels: int,
        radial: int,
        mixed: int,
        kinds: int,
        taken: int,
        given: int,
    ) -> None:
        super().__init__()
        self.kinds = kinds
        self.project = nn.Linear(features, channels)
        inputs = radial * (channels + taken)
        self.mix = nn.ParameterList(
            [torch.randn(inputs, mixed) / math.sqrt(inputs) for _ in HARMONICS_PER_DEGREE]
        )
        self.update = nn.Sequential(
            nn.Linear(features + kinds * mixed, features), nn.SiLU(), nn.Linear(features, features)
        )
        self.vectors = nn.Linear(mixed, given, bias=False) if given else None
        self.gate = nn.Linear(features, given) if given else None

    def forward(
        self, h: Tensor, arrows: Tensor | None, geometry: Tensor, batch: Batch
    ) -> tuple[Tensor, Tensor | None]:
        """Return the features (N, F) and vectors (N, 3 * given) after the round.

        `arrows` (N, 3 * taken) are the vectors before it, `geometry` is (N, 9 * radial, K).
        """
        atoms = h.shape[0]
        around = batch.gather_neighbours(self.project(h))
        density = neighbour_matmul(geometry, around).view(atoms, 9, -1)  # (N, 9, radial * channels)
        parts = density.split(HARMONICS_PER_DEGREE, 1)
        if arrows is not None:
            radial = geometry.shape[1] // 9
            sums = neighbour_matmul(geometry[:, : 4 * radial], batch.gather_neighbours(arrows))
            more = coupled(sums.view(atoms, 4, radial, 3, -1))
            parts = [
                cat_last(part, other.flatten(2)) for part, other in zip(parts, more, strict=True)
            ]
        mixed = [
            (part.flatten(0, 1) @ weight).view(atoms, -1, weight.shape[1])
            for part, weight in zip(parts, self.mix, strict=True)
        ]  # as matrix products: compiled, a product with the atoms as a batch is far slower
        found = invariants(mixed[0].squeeze(1), mixed[1], mixed[2], self.kinds)
        h = h + self.update(torch.cat([h, found], 1))
        if self.vectors is None or self.gate is None:
            return h, None
        given = self.vectors(mixed[1].flatten(0, 1)).view(atoms, 3, -1)
        return h, (given * self.gate(h)[:, None]).flatten(1)


class AtomGNN(nn.Module):
    """Sum over atoms of a network on the features after `layers` rounds of messages.

    cutoff: Å; features: F, scalar features of an atom; channels: scalars sent to neighbours, half
    as many in the first round, whose features depend on the element only; vectors: vectors sent
    from one round to the next; radial: number of radial functions; mixed: features of each degree
    after mixing; bodies: maximum body order of the invariants of a round, 2, 3 or 4; layers: rounds
    of messages. Raises InputError for another body order.
    """

    unordered = True  # accepts neighbours in any order, and beyond the cutoff

    def __init__(
        self,
        cutoff: float = 5.0,
        features: int = 64,
        channels: int = 16,
        vectors: Annotated[int, "from 0"] = 8,
        radial: int = 8,
        mixed: int = 64,
        bodies: Literal[2, 3, 4] = 4,
        layers: int = 3,
    ) -> None:
        super().__init__()
        if bodies not in INVARIANTS_BY_BODIES:
            raise InputError(f"gnn: bodies: {bodies!r} is not one of 2, 3, 4")
        self.cutoff, self.radial = cutoff, radial
        self.element = nn.Embedding(100, features)
        scalars, kinds = [channels // 2, *[channels] * (layers - 1)], INVARIANTS_BY_BODIES[bodies]
        sent = [0, *[vectors] * (layers - 1), 0]
        self.layers = nn.ModuleList(
            [
                Layer(features, scalars[n], radial, mixed, kinds, *sent[n : n + 2])
                for n in range(layers)
            ]
        )
        self.out = nn.Sequential(nn.Linear(features, features), nn.SiLU(), nn.Linear(features, 1))

    def geometry(self, vectors: Tensor) -> Tensor:
        """Return harmonics times radial functions (N, 9 * radial, K) of vectors (N, K, 3) Å."""
        distance = vectors.norm(dim=-1)
        radial = bessel(distance, self.radial, self.cutoff, -2)
        radial = radial * envelope(distance / self.cutoff)[:, None]
        angular = spherical_harmonics(vectors / distance[..., None])
        return (angular[:, :, None] * radial[:, None]).flatten(1, 2)

    def forward(self, batch: Batch) -> Tensor:
        """Return energies (B,)."""
        geometry = self.geometry(batch.neighbour_vectors())
        h, arrows = embed_elements(self.element.weight, batch.z), None
        for layer in self.layers:
            h, arrows = layer(h, arrows, geometry, batch)
        return batch.sum_over_atoms(self.out(h)[:, 0])
