"""Predict the targets and the forces of a data set."""

import torch
from torch import Tensor, nn

from ..graphs.dataset import Dataset, split_by_budget
from .potential import energy_forces

EVALUATION_ATOMS, EVALUATION_PAIRS = 2_000, 60_000


def predict(potential: nn.Module, data: Dataset, atoms: int = EVALUATION_ATOMS) -> Tensor:
    """Return the predictions (M,) of the potential, float64, on the CPU."""
    order = data.sizes.argsort(stable=True)
    predictions = torch.empty(len(data), dtype=torch.float64)
    with torch.no_grad():
        for rows in split_by_budget(data, order, atoms, EVALUATION_PAIRS):
            predictions[rows] = potential(data.batch(rows)).cpu()
    return predictions


def force_errors(potential: nn.Module, data: Dataset, atoms: int = EVALUATION_ATOMS) -> Tensor:
    """Return the errors (N, 3) eV/Å of the forces on the atoms of `data`, which has force labels.

    The order of the atoms is not the order in `data`.
    """
    found = []
    for rows in split_by_budget(data, data.sizes.argsort(stable=True), atoms, EVALUATION_PAIRS):
        batch, labels = data.collate(rows)
        assert labels is not None
        found.append(energy_forces(potential, batch)[1] - labels)
    return torch.cat(found)
