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
from ..runtime.device import on_cores, send
from .distributed import ALONE, Team
from .settings import Settings

PART_ATOMS = 300  # that a thread takes at a time, at most, of a batch


def stepper(
    potential: Potential, settings: Settings, team: Team = ALONE
) -> tuple[Callable[[Iterable[tuple[Any, ...]]], Iterator[list[Tensor]]], Callable[..., Any]]:
    """A function of batches, each a data set, its labels (M,), rows of it (B,) and the weight of
    forces: their losses and gradients, those of the whole `team`. And the `map` that it works with.

    Compiled, on the CPU, each thread takes parts of a batch by itself, and makes those of the next
    one when there are no more: none waits for another in the middle, and what a part needs is more
    often in the cache of a core.
    """
    step = gradients(potential, settings)
    threads, each = 0, cast(Callable[..., Iterable[Any]], map)
    if settings.compiled:
        step = CompiledFunction(step)
        if potential.references.device.type == "cpu":
            threads = torch.get_num_threads()
            each = on_cores(threads)

    def cut_apart(batch: tuple[Dataset, Tensor, Tensor, float]) -> Iterable[Any]:
        data, labels, rows, force_weight = batch
        mine, number = team.share(rows), 1
        if threads:
            wanted = round_up(math.ceil(int(data.sizes[mine].sum()) / PART_ATOMS), threads)
            number = max(1, min(wanted, len(mine) // 2))  # of two molecules at least
        parts = reversed(mine.tensor_split(number))  # the most work first
        return each(lambda part: cut_for_step(data, labels, part, rows, force_weight), parts)

    def over(batches: Iterable[tuple[Dataset, Tensor, Tensor, float]]) -> Iterator[list[Tensor]]:
        made = map(cut_apart, batches)
        parts = next(made, None)
        while parts is not None:
            results = each(step, *zip(*parts, strict=True))
            parts = next(made, None)
            total, *others = map(list, results)
            for other in others:
                torch._foreach_add_(total, other)
            yield team.sum(total)

    return over, each


def gradients(potential: Potential, settings: Settings) -> Callable[..., tuple[Tensor, ...]]:
    """A function of a batch, labels (B,), their weights (B,) and, if there are any, forces (N, 3)
    in their unit per Å and weights (N,): the loss, and its gradients with respect to the model's
    parameters.

    The loss, without unit, is a weighted sum over molecules and atoms. Errors of forces count as
    squares up to `force_huber` and linearly beyond (pseudo-Huber of the error's length): a loss
    that is linear from the start takes the median of what it cannot tell apart, which is nearer to
    zero than the mean, and makes vibrations too soft.
    """
    network, parameters = potential.scaled_model, list(potential.model.parameters())
    knee = settings.force_huber / potential.scale

    def step(
        batch: Batch,
        label: Tensor,
        weight: Tensor,
        known: Tensor | None = None,
        force_weight: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        if known is None or force_weight is None:
            loss = weight @ smooth_l1_loss(
                network(batch), label, beta=settings.huber, reduction="none"
            )
        else:
            value, forces = energy_forces(network, batch, create_graph=True)
            deviation = forces - known / potential.scale
            off = smooth_l1_loss(value, label, beta=settings.huber, reduction="none")
            force_loss = force_weight @ ((deviation.square().sum(1) + knee**2).sqrt() - knee)
            loss = settings.energy_weight * (weight @ off) + force_loss
        return loss.detach(), *torch.autograd.grad(loss, parameters, materialize_grads=True)

    return step


def cut_for_step(
    data: Dataset, labels: Tensor, part: Tensor, rows: Tensor, force_weight: float = 1.0
) -> tuple[Any, ...]:
    """What `gradients` needs of a part, maybe none, of the molecules `rows`, on the device of
    `data`: its share of their mean over molecules plus `force_weight` times one over atoms.
    """
    device = data.pos.device
    batch, forces = data.collate(part if len(part) else rows[:1], padded=device.type == "cuda")
    each = torch.zeros(2, batch.n_systems)
    each[0, : len(part)], each[1, : len(part)] = labels[part], 1 / len(rows)
    label, weight = send(each, device)
    if forces is None:
        return batch, label, weight
    each = torch.zeros(len(forces))
    each[: data.sizes[part].sum()] = force_weight / data.sizes[rows].sum()
    return batch, label, weight, forces, send(each, device)
