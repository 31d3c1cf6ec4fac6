"""Which molecules make up the batches of an epoch, and in which order."""

import torch
from torch import Tensor

from ..graphs.dataset import Dataset, split_by_budget
from .settings import Settings

BUCKET = 64  # molecules that are sorted by number of neighbours before they are split into batches


def shuffled_batches(data: Dataset, settings: Settings, seed: int) -> list[Tensor]:
    """Return the rows of `data` in random batches, the same for the same `seed`.

    The shuffled rows are sorted by number of neighbours within buckets of several dozen, so that
    one crowded molecule does not widen a batch of sparse ones.
    """
    generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + seed)
    order = torch.randperm(len(data), generator=generator)
    size = max(1, min(BUCKET, len(data) // BUCKET))  # large buckets would fix the batches
    buckets = order.split(size)
    order = torch.cat([rows[data.max_neighbours[rows].argsort(stable=True)] for rows in buckets])
    batches = split_by_budget(data, order, settings.batch_atoms, settings.batch_pairs)
    return [batches[n] for n in torch.randperm(len(batches), generator=generator)]


def mix_batches(
    data: Dataset, minima: Dataset | None, settings: Settings, epoch: int
) -> list[tuple[bool, Tensor]]:
    """Return the batches of an epoch: (False, rows of `data`) once and, spread evenly among them,
    (True, rows of `minima`) `minima_passes` times.
    """
    kinds = [shuffled_batches(data, settings, epoch), []]
    for number in range(settings.minima_passes if minima else 0):
        assert minima
        seed = epoch * settings.minima_passes + number
        kinds[1] += shuffled_batches(minima, settings, seed)
    placed = [
        ((place + 0.5) / len(batches), kind, rows)
        for kind, batches in enumerate(kinds)
        for place, rows in enumerate(batches)
    ]
    return [(bool(kind), rows) for _, kind, rows in sorted(placed, key=lambda entry: entry[:2])]
