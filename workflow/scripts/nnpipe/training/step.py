"""Losses and gradients of batches, in parts that threads and processes share."""

import math
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple, cast

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


class BatchSpec(NamedTuple):
    """Which molecules a batch holds, and how much their errors count."""

    data: Dataset
    labels: Tensor  # (M,) float32, normalised targets of all molecules of `data`
    rows: Tensor  # (B,)
    force_weight: float = 1.0
    energy_factor: float = 1.0  # of the energy_weight that the step was made with; data with forces


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
            self.step = CompiledFunction(self.step, reproducible=True)
            if potential.references.device.type == "cpu":
                self.threads = torch.get_num_threads()
                self.parallel_map = thread_pool_map(self.threads)

    def compile(self, example: BatchSpec) -> None:
        """Compile the step for batches like `example`.

        Only its first part is computed: the sizes that a program is compiled for must not depend on
        which thread comes first.
        """
        part = next(iter(self._collate(example)))
        list(self.parallel_map(lambda arguments: self.step(*arguments), [part]))

    def __call__(self, batches: Iterable[BatchSpec]) -> Iterator[list[Tensor]]:
        """Yield the loss and the gradients of each batch, summed over the group's processes."""
        collated = map(self._collate, batches)
        parts = next(collated, None)
        while parts is not None:
            results = self.parallel_map(self.step, *zip(*parts, strict=True))
            parts = next(collated, None)
            total, *others = map(list, results)
            for other in others:
                torch._foreach_add_(total, other)
            yield self.group.sum(total)

    def _collate(self, batch: BatchSpec) -> Iterable[tuple[Any, ...]]:
        """Return the arguments of `step` for each part of this process's shard of a batch."""
        rows, n_parts = self.group.shard(batch.rows), 1
        if self.threads:
            n_parts = math.ceil(int(batch.data.sizes[rows].sum()) / PART_ATOMS)
            n_parts = max(1, min(round_up(n_parts, self.threads), len(rows) // 2))
        parts = reversed(rows.tensor_split(n_parts))  # the most work first
        return self.parallel_map(partial(collate_part, batch), parts)


def make_loss_and_gradients(
    potential: Potential, settings: Settings
) -> Callable[..., tuple[Tensor, ...]]:
    """Return a function that computes the loss and its gradients by the model's parameters.

    Its arguments are a batch, normalised labels (B,), their weights (B,) and, for data with forces,
    forces (N, 3) in the target's unit per Å and their weights (N,).

    The loss is a weighted sum over molecules and atoms, without unit. The loss of a force is a
    pseudo-Huber function of the length of its error, quadratic below `force_huber_delta` and linear
    above: a loss that is linear everywhere is minimised by the median of indistinguishable forces,
    which is nearer to zero than their mean and makes vibrations too soft.
    """
    model, parameters = potential.scaled_model, list(potential.model.parameters())
    delta = settings.force_huber_delta / potential.scale
    energy_weight = settings.energy_weight or 1.0  # a stage may replace 0: see BatchSpec

    def step(
        batch: Batch,
        label: Tensor,
        weight: Tensor,
        force_label: Tensor | None = None,
        force_weight: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        if force_label is None or force_weight is None:
            energy_losses = smooth_l1_loss(
                model(batch), label, beta=settings.energy_huber_delta, reduction="none"
            )
            loss = weight @ energy_losses
        else:
            energy, forces = energy_forces(model, batch, create_graph=True)
            deviation = forces - force_label / potential.scale
            energy_losses = smooth_l1_loss(
                energy, label, beta=settings.energy_huber_delta, reduction="none"
            )
            force_losses = (deviation.square().sum(1) + delta**2).sqrt() - delta
            force_loss = force_weight @ force_losses
            loss = energy_weight * (weight @ energy_losses) + force_loss
        return loss.detach(), *torch.autograd.grad(loss, parameters, materialize_grads=True)

    return step


def collate_part(batch: BatchSpec, part: Tensor) -> tuple[Any, ...]:
    """Return the arguments of the step for molecules `part`, maybe none, of a batch.

    The losses of all parts add up to the mean energy loss over the molecules of the batch plus
    `force_weight` times the mean force loss over its atoms. All tensors lie on the data's device.
    """
    data, rows, device = batch.data, batch.rows, batch.data.pos.device
    graph, forces = data.collate(part if len(part) else rows[:1], padded=device.type == "cuda")
    by_molecule = torch.zeros(2, graph.n_systems)
    by_molecule[0, : len(part)] = batch.labels[part]
    factor = 1.0 if forces is None else batch.energy_factor
    by_molecule[1, : len(part)] = factor / len(rows)
    label, weight = to_device(by_molecule, device)
    if forces is None:
        return graph, label, weight
    force_weight = torch.zeros(len(forces))
    force_weight[: data.sizes[part].sum()] = batch.force_weight / data.sizes[rows].sum()
    return graph, label, weight, forces, to_device(force_weight, device)
