"""Reliability of uncertainties: expected against observed errors on held-out molecules."""

import numpy as np

from ..graphs.dataset import Dataset
from ..models.potential import Potential
from ..models.uncertainty import measure_errors

# columns of the table
UNCERTAINTY = ["model", "quantity", "unit", "decile", "n", "expected", "observed"]
DECILES = 10


def reliability(model: str, potential: Potential, data: Dataset) -> list[dict[str, object]]:
    """Return one row for each tenth of the energies (meV) and forces (meV/Å) of a data set, in the
    order of their uncertainties: mean uncertainty and mean absolute error.
    """
    found, rows = measure_errors(potential, data), []
    for quantity, unit, expected, observed in (
        ("energy", "meV", found.energy_uncertainty, found.energy),
        ("forces", "meV/Å", found.forces_uncertainty, found.forces),
    ):
        order = np.argsort(expected.numpy(), kind="stable")
        for decile, chosen in enumerate(np.array_split(order, DECILES), 1):
            means = (1000 * values.numpy()[chosen].mean() for values in (expected, observed))
            values = model, quantity, unit, decile, len(chosen), *means
            rows.append(dict(zip(UNCERTAINTY, values, strict=True)))
    return rows
