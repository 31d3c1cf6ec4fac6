"""Predict the targets and the forces of a data set."""

import math

import torch
from torch import Tensor, nn

from ..graphs.dataset import Dataset, split_by_budget
from .potential import energy_forces

EVALUATION_ATOMS, EVALUATION_PAIRS = 2_000, 60_000


def batches_by_size(
    data: Dataset, atoms: int = EVALUATION_ATOMS, number: int | None = None
) -> list[Tensor]:
    """Return the rows of batches of similar sizes; of at most `number` rows, evenly chosen."""
    rows = torch.arange(len(data))[:: math.ceil(len(data) / number) if number else 1]
    order = rows[data.sizes[rows].argsort(stable=True)]
    return split_by_budget(data, order, atoms, EVALUATION_PAIRS)


def predict(potential: nn.Module, data: Dataset, atoms: int = EVALUATION_ATOMS) -> Tensor:
    """Return the predictions (M,) of the potential, float64, on the CPU."""
    predictions = torch.empty(len(data), dtype=torch.float64)
    with torch.no_grad():
        for rows in batches_by_size(data, atoms):
            predictions[rows] = potential(data.batch(rows)).cpu()
    return predictions


def force_errors(potential: nn.Module, data: Dataset, atoms: int = EVALUATION_ATOMS) -> Tensor:
    """Return the errors (N, 3) eV/Å of the forces on the atoms of `data`, which has force labels.

    The order of the atoms is not the order in `data`.
    """
    found = []
    for rows in batches_by_size(data, atoms):
        batch, labels = data.collate(rows)
        assert labels is not None
        found.append(energy_forces(potential, batch)[1] - labels)
    return torch.cat(found)
