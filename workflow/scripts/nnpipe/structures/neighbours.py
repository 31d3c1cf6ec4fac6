"""Neighbours within a cutoff, nearest first, for open and periodic systems.

The vector of a pair points from the centre i to the neighbour j: pos[j] + shift @ cell - pos[i].
"""

from typing import Any

import numpy as np
from vesin import NeighborList

from ..errors import InputError

MAX_SEARCH_CELLS = 100_000  # as wide as the cutoff, that open space may be searched in


def neighbours(
    pos: np.ndarray, cutoff: float, cell: np.ndarray | None = None, pbc: Any = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts (N,), neighbour indices (P,) and lattice shifts (P, 3) of every atom's neighbours.

    `pos` (N, 3) Å, `cell` (3, 3) Å in rows. Pairs are grouped by centre and sorted by distance.
    Raises InputError where atoms lie so far apart that the search would end the process.
    """
    if not np.all(pbc) and not np.prod(np.ptp(pos, axis=0) / cutoff + 1) < MAX_SEARCH_CELLS:
        raise InputError(f"atoms are {np.ptp(pos, axis=0).max():g} Å apart, with nothing between")
    box = np.zeros((3, 3)) if cell is None else np.asarray(cell, float)
    search = NeighborList(cutoff=cutoff, full_list=True, n_threads=1)
    i, j, shift, distance = search.compute(pos, box, pbc, quantities="ijSd")
    order = np.lexsort((distance, i))
    return np.bincount(i, minlength=len(pos)), j[order], shift[order]
