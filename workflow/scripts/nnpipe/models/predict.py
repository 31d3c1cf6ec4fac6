"""Predict the targets of a data set."""

import torch
from torch import Tensor, nn

from ..graphs.dataset import Dataset, split_by_budget

EVALUATION_ATOMS, EVALUATION_PAIRS = 2_000, 60_000


def predict(potential: nn.Module, data: Dataset, atoms: int = EVALUATION_ATOMS) -> Tensor:
    """Return the predictions (M,) of the potential, float64, on the CPU."""
    order = data.sizes.argsort(stable=True)
    predictions = torch.empty(len(data), dtype=torch.float64)
    with torch.no_grad():
        for rows in split_by_budget(data, order, atoms, EVALUATION_PAIRS):
            predictions[rows] = potential(data.batch(rows)).cpu()
    return predictions
