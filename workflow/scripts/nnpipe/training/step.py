"""Losses and gradients of batches, in parts that threads and processes share."""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.functional import smooth_l1_loss

from ..graphs.batch import Batch, round_up
from ..graphs.compile import CompiledFunction
from ..graphs.dataset import Dataset
from ..models.potential import Potential, energy_forces
from ..runtime.device import thread_pool_map, to_device
from .distributed import SINGLE, ProcessGroup
from .settings import Settings

PART_ATOMS = 300  # target size of a part of a batch


class BatchStepper:
    """Compute losses and gradients of batches on the threads of this process.

    Compiled on the CPU, each thread takes one part of a batch at a time, and collates parts of the
    next batch when none is left: no thread waits for another within a batch, and the arrays of a
    part are more often in the cache of a core. `parallel_map` is `map` on these threads.
    """

    def __init__(
        self, potential: Potential, settings: Settings, group: ProcessGroup = SINGLE
    ) -> None:
        self.step = make_loss_and_gradients(potential, settings)
        self.group, self.threads = group, 0
        self.parallel_map = cast(Callable[..., Iterable[Any]], map)
        if settings.compiled:
            self.step = CompiledFunction(self.step)
            if potential.references.device.type == "cpu":
                self.threads = torch.get_num_threads()
                self.parallel_map = thread_pool_map(self.threads)

    def __call__(
        self, batches: Iterable[tuple[Dataset, Tensor, Tensor, float]]
    ) -> Iterator[list[Tensor]]:
        """Yield loss and gradients, summed over all processes of the group, of each batch.

        A batch is a data set, its labels (M,), rows of it (B,) and the weight of forces.
        """
        collated = map(self._collate, batches)
        parts = next(collated, None)
        while parts is not None:
            results = self.parallel_map(self.step, *zip(*parts, strict=True))
            parts = next(collated, None)
            total, *others = map(list, results)
            for other in others:
                torch._foreach_add_(total, other)
            yield self.group.sum(total)

    def _collate(self, batch: tuple[Dataset, Tensor, Tensor, float]) -> Iterable[Any]:
        """Arguments of `step` for each part of this process's share of a batch."""
        data, labels, rows, force_weight = batch
        own_rows, n_parts = self.group.shard(rows), 1
        if self.threads:
            n_parts = math.ceil(int(data.sizes[own_rows].sum()) / PART_ATOMS)
            n_parts = min(round_up(n_parts, self.threads), len(own_rows) // 2)
        parts = reversed(own_rows.tensor_split(max(1, n_parts)))  # the most work first
        return self.parallel_map(
            lambda part: collate_part(data, labels, part, rows, force_weight), parts
        )


def make_loss_and_gradients(
    potential: Potential, settings: Settings
) -> Callable[..., tuple[Tensor, ...]]:
    """A function of a batch, labels (B,), their weights (B,) and, if there are any, forces (N, 3)
    in their unit per Å and weights (N,): the loss, and its gradients with respect to the model's
    parameters.

    The loss, without unit, is a weighted sum over molecules and atoms. Errors of forces count as
    squares up to `force_huber_delta` and linearly beyond (pseudo-Huber of the error's length): a
    loss that is linear from the start takes the median of what it cannot tell apart, which is
    nearer to zero than the mean, and makes vibrations too soft.
    """
    network, parameters = potential.scaled_model, list(potential.model.parameters())
    knee = settings.force_huber_delta / potential.scale

    def step(
        batch: Batch,
        label: Tensor,
        weight: Tensor,
        known: Tensor | None = None,
        force_weight: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        if known is None or force_weight is None:
            loss = weight @ smooth_l1_loss(
                network(batch), label, beta=settings.energy_huber_delta, reduction="none"
            )
        else:
            value, forces = energy_forces(network, batch, create_graph=True)
            deviation = forces - known / potential.scale
            off = smooth_l1_loss(value, label, beta=settings.energy_huber_delta, reduction="none")
            force_loss = force_weight @ ((deviation.square().sum(1) + knee**2).sqrt() - knee)
            loss = settings.energy_weight * (weight @ off) + force_loss
        return loss.detach(), *torch.autograd.grad(loss, parameters, materialize_grads=True)

    return step


def collate_part(
    data: Dataset, labels: Tensor, part: Tensor, rows: Tensor, force_weight: float = 1.0
) -> tuple[Any, ...]:
    """What `gradients` needs of a part, maybe none, of the molecules `rows`, on the device of
    `data`: its share of their mean over molecules plus `force_weight` times one over atoms.
    """
    device = data.pos.device
    batch, forces = data.collate(part if len(part) else rows[:1], padded=device.type == "cuda")
    each = torch.zeros(2, batch.n_systems)
    each[0, : len(part)], each[1, : len(part)] = labels[part], 1 / len(rows)
    label, weight = to_device(each, device)
    if forces is None:
        return batch, label, weight
    each = torch.zeros(len(forces))
    each[: data.sizes[part].sum()] = force_weight / data.sizes[rows].sum()
    return batch, label, weight, forces, to_device(each, device)
