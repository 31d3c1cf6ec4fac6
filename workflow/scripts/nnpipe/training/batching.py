"""The order in which molecules are seen."""

import torch
from torch import Tensor

from ..graphs.dataset import Dataset, split_by_budget
from .settings import Settings

BUCKET = 64  # molecules that are sorted by their number of neighbours before they are cut


def shuffled_batches(data: Dataset, settings: Settings, seed: int) -> list[Tensor]:
    """The batches of a pass over the data, the same for the same seed.

    Some dozen molecules at a time are put in the order of their number of neighbours before they
    are cut, so that a batch is not padded to the width of its one crowded molecule.
    """
    generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + seed)
    order = torch.randperm(len(data), generator=generator)
    bucket = max(1, min(BUCKET, len(data) // BUCKET))  # too coarse an order would fix the batches
    order = torch.cat(
        [some[data.max_neighbours[some].argsort(stable=True)] for some in order.split(bucket)]
    )
    batches = split_by_budget(data, order, settings.batch_atoms, settings.batch_pairs)
    return [batches[n] for n in torch.randperm(len(batches), generator=generator)]


def mix_batches(
    data: Dataset, minima: Dataset | None, settings: Settings, epoch: int
) -> list[tuple[bool, Tensor]]:
    """The batches of an epoch, evenly mixed: (False, rows of `data`) and, `minima_passes` times in
    all, (True, rows of `minima`).
    """
    passes = settings.minima_passes if minima else 0
    kinds = [shuffled_batches(data, settings, epoch), []]
    for number in range(passes):
        assert minima
        kinds[1] += shuffled_batches(minima, settings, epoch * passes + number)
    placed = [
        ((place + 0.5) / len(batches), kind, rows)
        for kind, batches in enumerate(kinds)
        for place, rows in enumerate(batches)
    ]
    return [(bool(kind), rows) for _, kind, rows in sorted(placed, key=lambda one: one[:2])]
