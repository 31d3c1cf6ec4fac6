"""Neighbours within a cutoff, nearest first, for open and periodic systems.

The vector of a pair points from the centre i to the neighbour j: pos[j] + shift @ cell - pos[i].
"""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm
from vesin import NeighborList

from . import store
from .errors import InputError
from .molecules import CHUNK, Molecules

CELLS = 100_000  # as wide as the cutoff, that open space may be searched in


def neighbours(
    pos: np.ndarray, cutoff: float, cell: np.ndarray | None = None, pbc: Any = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts (N,), neighbour indices (P,) and lattice shifts (P, 3) of every atom's neighbours.

    `pos` (N, 3) Å, `cell` (3, 3) Å in rows. Pairs are grouped by centre and sorted by distance.
    Raises InputError where atoms lie so far apart that the search would end the process.
    """
    if not np.all(pbc) and not np.prod(np.ptp(pos, axis=0) / cutoff + 1) < CELLS:
        raise InputError(f"atoms are {np.ptp(pos, axis=0).max():g} Å apart, with nothing between")
    box = np.zeros((3, 3)) if cell is None else np.asarray(cell, float)
    search = NeighborList(cutoff=cutoff, full_list=True, n_threads=1)
    i, j, shift, distance = search.compute(pos, box, pbc, quantities="ijSd")
    order = np.lexsort((distance, i))
    return np.bincount(i, minlength=len(pos)), j[order], shift[order]


def write_neighbours(
    molecules: Molecules, cutoff: float, path: str | Path, provenance: dict[str, Any]
) -> int:
    """Write every atom's neighbours within `cutoff` Å and return the number of pairs.

    `first` (N+1,) int64 points into `neighbour` (P,), which holds positions inside the molecule in
    the smallest unsigned type that fits. Rows are sorted, so the 15 nearest are a row's first 15.
    """
    sizes = np.diff(molecules.ptr)
    smallest = np.min_scalar_type(int(sizes.max()) - 1)
    header = {
        "kind": "neighbours",
        "cutoff": cutoff,
        "units": {"cutoff": "Å"},
        "provenance": provenance,
    }
    total = 0
    with (
        store.writer(path, header) as append,
        tqdm(total=len(molecules), unit=" molecules", mininterval=1) as bar,
    ):
        append(first=np.zeros(1, np.int64))
        for start in range(0, len(molecules), CHUNK):
            ends = molecules.ptr[start : start + CHUNK + 1]
            counts, indices = [], []
            for a, b in pairwise(ends):
                count, index, _ = neighbours(molecules.pos[a:b], cutoff)
                counts.append(count)
                indices.append(index.astype(smallest))
            append(
                first=total + np.cumsum(np.concatenate(counts), dtype=np.int64),
                neighbour=np.concatenate(indices),
            )
            total += sum(map(len, indices))
            bar.update(len(counts))
    return total
