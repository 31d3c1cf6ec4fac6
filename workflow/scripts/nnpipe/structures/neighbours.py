"""Neighbours within a cutoff radius, nearest first, in open and periodic systems.

The vector of a pair points from the centre i to the neighbour j: pos[j] + shift @ cell - pos[i].
"""

from typing import Any

import numpy as np
from vesin import NeighborList

from ..errors import InputError

# the search divides open space into cells as wide as the cutoff; more of them exhaust the memory
MAX_SEARCH_CELLS = 100_000


def neighbours(
    pos: np.ndarray, cutoff: float, cell: np.ndarray | None = None, pbc: Any = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the number of neighbours (N,) of each atom, their indices (P,), lattice shifts (P, 3).

    `pos` (N, 3) Å, `cell` (3, 3) Å in rows, `cutoff` Å. Pairs are grouped by centre and sorted by
    distance.

    Raises InputError if atoms of an open system are too far apart for the search.
    """
    if not np.all(pbc) and not np.prod(np.ptp(pos, axis=0) / cutoff + 1) < MAX_SEARCH_CELLS:
        raise InputError(
            f"positions: atoms are {np.ptp(pos, axis=0).max():g} Å apart; remove stray atoms"
        )
    box = np.zeros((3, 3)) if cell is None else np.asarray(cell, float)
    search = NeighborList(cutoff=cutoff, full_list=True, n_threads=1)
    i, j, shift, distance = search.compute(pos, box, pbc, quantities="ijSd")
    order = np.lexsort((distance, i))
    return np.bincount(i, minlength=len(pos)), j[order], shift[order]
