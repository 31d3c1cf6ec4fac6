"""The table of all neighbours within a cutoff radius, nearest first."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ..runtime.progress import progress_bar
from ..structures.neighbours import neighbours
from . import store
from .molecules import CHUNK_MOLECULES, Molecules


def write_neighbours(
    molecules: Molecules, cutoff: float, path: str | Path, provenance: dict[str, Any]
) -> int:
    """Write the neighbours within `cutoff` Å of every atom; return the number of pairs P.

    Atom n has the neighbours neighbour[first[n]:first[n+1]], nearest first: `first` (N+1,) int64,
    `neighbour` (P,) indices within the molecule, in the smallest unsigned type that holds them.
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
        progress_bar(total=len(molecules), unit="molecules") as bar,
    ):
        append(first=np.zeros(1, np.int64))
        for start in range(0, len(molecules), CHUNK_MOLECULES):
            ends = molecules.ptr[start : start + CHUNK_MOLECULES + 1]
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
