"""A potential as TorchScript: the energies of atoms, given the vectors to their neighbours."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import InputError
from ..graphs.batch import Batch, batch_from_pairs
from ..models.potential import Potential
from ..models.uncertainty import with_uncertainty
from ..structures.neighbours import neighbours

SPACING_A = 1.4  # of atoms in the structures that are traced and compared
MAX_PASSES = 12  # longest chain of neighbours that is looked for
TOLERANCE_EV = 1e-5


@dataclass(frozen=True)
class AtomBatch(Batch):
    """A batch with the vectors to the neighbours instead of positions, and atoms as its systems.

    Its operations are plain ones, whose gradients are PyTorch's own.
    """

    vectors: Tensor | None = None  # (N, K, 3) Å

    def neighbour_vectors(self) -> Tensor:
        """Return the vectors (N, K, 3) Å."""
        assert self.vectors is not None
        return self.vectors

    def gather_neighbours(self, values: Tensor) -> Tensor:
        """Return `values` (N, ...) of the neighbours: (N, K, ...), 0 in empty slots."""
        mask = self.neighbour_mask.view(*self.neighbours.shape, *(1 for _ in values.shape[1:]))
        return torch.where(mask, values[self.neighbours], 0)

    def sum_over_atoms(self, values: Tensor) -> Tensor:
        """Return the values (N,) themselves, as each atom is a system."""
        return values


class AtomEnergies(nn.Module):
    """The terms of a potential's sum over atoms, and their uncertainties."""

    def __init__(self, potential: Potential) -> None:
        super().__init__()
        self.potential = potential

    def forward(
        self, z: Tensor, vectors: Tensor, neighbours: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the energies (N,) eV and their uncertainties (N,) eV, float64.

        z (N,) int64; vectors (N, K, 3) Å to the neighbours (N, K), nearest first, in the precision
        of the network; `mask` is False in empty slots, whose vectors are at least as long as
        NO_NEIGHBOUR_DISTANCE.
        """
        atoms = torch.ones_like(z).cumsum(0) - 1  # without a constant device, unlike torch.arange
        pos, slots = vectors[:, 0], torch.zeros_like(neighbours).t()
        batch = AtomBatch(z, pos, atoms, z.shape[0], neighbours, mask, slots, None, vectors=vectors)

        def energies(potential: Potential, batch: Batch) -> tuple[Tensor]:
            return (potential(batch),)

        energy, energy_uncertainty, _ = with_uncertainty(energies, self.potential, batch)
        return energy, energy_uncertainty


def trace(potential: Potential) -> torch.jit.ScriptModule:
    """Return `AtomEnergies` of a potential as TorchScript, for any numbers of atoms and neighbours.

    It runs on the device to which it is moved. Raises InputError if the potential, for structures
    of several sizes, has other energies than the script.
    """
    network = AtomEnergies(potential).eval()
    elements = potential.references.nonzero()[:, 0].tolist()
    dtype = next(potential.model.parameters()).dtype
    with warnings.catch_warnings(), _plain_functions():
        warnings.simplefilter("ignore")  # that sizes become constants; the comparison finds them
        script: torch.jit.ScriptModule = torch.jit.trace(
            network, _inputs(potential.cutoff, elements, 7, dtype), check_trace=False
        )
    _follow_device(script)
    for atoms in (1, 2, 3, 30):
        inputs = _inputs(potential.cutoff, elements, atoms, dtype)
        for _ in range(3):  # the first calls collect shapes, by which the next are optimised
            found, expected = script(*inputs)[0], network(*inputs)[0]
            worst = (found - expected).abs().max().item()
            if not worst < TOLERANCE_EV:
                raise InputError(
                    f"{type(potential.model).__name__}: cannot be written as TorchScript; with"
                    f" {atoms} atoms, an energy differs by {worst:.2g} eV"
                )
    return script


def message_passes(potential: Potential) -> int:
    """Return how many neighbours away an atom can be on which the energy of an atom depends.

    The potential is differentiated for a chain of atoms, each within the cutoff of the next ones
    only. Raises InputError for more than MAX_PASSES.
    """
    element = int(potential.references.nonzero()[0])
    z = np.full(MAX_PASSES + 2, element)
    pos = np.zeros((len(z), 3))
    pos[:, 0] = 0.6 * potential.cutoff * np.arange(len(z))
    counts, index, shift = neighbours(pos, potential.cutoff)
    batch = batch_from_pairs(z, pos, counts, index, shift.astype(float), np.arange(len(z)))
    place = batch.pos.to(next(potential.model.parameters()).dtype).requires_grad_()
    energy = potential(replace(batch, shift_vectors=None).with_positions(place))
    (gradient,) = torch.autograd.grad(energy[0], place)
    passes = int(gradient.any(1).nonzero().max())
    if passes > MAX_PASSES:
        raise InputError(f"{type(potential.model).__name__}: an atom's energy depends on all atoms")
    return passes


def _inputs(
    cutoff: float, elements: list[int], atoms: int, dtype: torch.dtype
) -> tuple[Tensor, ...]:
    """Return the arguments of `AtomEnergies` for atoms on a distorted lattice."""
    rng = np.random.default_rng(atoms)
    side = int(np.ceil(atoms ** (1 / 3)))
    lattice = np.stack(np.unravel_index(np.arange(atoms), (side,) * 3), 1)
    pos = SPACING_A * (lattice + rng.uniform(-0.1, 0.1, lattice.shape))
    z = rng.choice(elements, atoms)
    counts, index, shift = neighbours(pos, cutoff)
    batch = batch_from_pairs(z, pos, counts, index, shift.astype(float))
    vectors = batch.neighbour_vectors().to(dtype)
    return batch.z, vectors, batch.neighbours, batch.neighbour_mask


@contextmanager
def _plain_functions() -> Iterator[None]:
    """Let autograd functions call their operations directly: TorchScript cannot hold them."""

    def apply(cls: Any, *args: Any) -> Any:
        return cls.forward(mock.MagicMock(), *args)

    with mock.patch.object(torch.autograd.Function, "apply", classmethod(apply)):
        yield


def _follow_device(script: torch.jit.ScriptModule) -> None:
    """Replace the constant devices in a trace by the device of its first tensor."""
    modules: Any = script.modules()
    graphs = [module.graph for module in modules if module._c._has_method("forward")]
    for graph in graphs:
        constants = [
            node
            for node in graph.findAllNodes("prim::Constant")
            if node.output().type().kind() == "DeviceObjType"
        ]
        if not constants:
            continue
        tensor = next(one for one in graph.inputs() if one.type().kind() == "TensorType")
        device = graph.create("prim::device", [tensor], 1)
        device.output().setType(torch._C.DeviceObjType.get())
        device.insertBefore(next(iter(graph.nodes())))
        for node in constants:
            node.output().replaceAllUsesWith(device.output())
