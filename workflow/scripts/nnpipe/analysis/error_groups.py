"""Errors of a model on groups of molecules: by number of atoms, and by element."""

import numpy as np
import pandas as pd
from ase.data import chemical_symbols

from ..data.molecules import Molecules

FEWEST_OF_SIZE = 10  # test molecules of a size that a figure shows


def errors_of_sizes(errors: pd.Series, atoms: pd.Series) -> pd.DataFrame:
    """Return mean and count of errors by number of atoms; both arguments have the same index."""
    return errors.groupby(atoms).agg(["mean", "count"])


def errors_of_elements(errors: pd.Series, molecules: Molecules) -> pd.DataFrame:
    """Return mean and count of errors, by the symbol of an element, on molecules that contain it.

    `errors` has the numbers of the molecules as its index. The mean of no molecule is NaN.
    """
    owner = np.repeat(molecules.index, np.diff(molecules.ptr))
    elements = np.unique(molecules.z)
    chosen = [errors[errors.index.isin(owner[molecules.z == element])] for element in elements]
    return pd.DataFrame(
        {"mean": [one.mean() for one in chosen], "count": [one.count() for one in chosen]},
        index=[chemical_symbols[element] for element in elements],
    )
