"""Labels put on the surface of QM9.

It is bent so that it is stationary at QM9's minimum (anchor.py) and has QM9's frequencies
(correction.py), with QM9's energy there.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ..data import store
from ..data.molecules import Molecules
from ..runtime.progress import progress_bar
from ..structures.neighbours import neighbours
from .anchor import fit_anchor
from .correction import Correction


def write_labels(
    chunks: Sequence[str | Path],
    molecules: Molecules,
    correction: Correction | None,
    cutoff: float,
    path: str | Path,
    provenance: dict[str, Any],
) -> int:
    """Write the labels of all chunks on QM9's surface, with their neighbours within `cutoff` Å.

    Without a correction the forces are taken as they are, as those of QM9's own method. Returns the
    number of geometries.
    """
    header = {
        "kind": "labels",
        "cutoff": cutoff,
        "units": {"energy": "eV", "forces": "eV/Å"},
        "provenance": provenance,
    }
    smallest = np.min_scalar_type(int(np.diff(molecules.ptr).max()) - 1)
    total, slots, count = 0, 0, 0
    with store.writer(path, header) as append:
        append(ptr=np.zeros(1, np.int64), first=np.zeros(1, np.int64))
        for chunk in progress_bar(chunks, unit="chunks"):
            data, _ = store.read(chunk, "chunk")
            z, energies, forces = _anchored_chunk(data, molecules, correction)
            found = [neighbours(data["pos"][a:b], cutoff)[:2] for a, b in pairwise(data["ptr"])]
            counts, near = map(np.concatenate, zip(*found, strict=True))
            append(
                index=data["index"], ptr=total + data["ptr"][1:], z=z, pos=data["pos"],
                energy=energies, forces=forces.astype(np.float32),
                first=slots + np.cumsum(counts), neighbour=near.astype(smallest),
            )  # fmt: skip
            total, slots, count = total + len(z), slots + len(near), count + len(energies)
    return count


def _anchored_chunk(
    data: dict[str, np.ndarray], molecules: Molecules, correction: Correction | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Atomic numbers, energies (eV) and forces (eV/Å) of a chunk's geometries; see write_labels."""
    numbers, energies, forces = [], data["energy"].copy(), data["forces"].copy()
    last, z, level, anchor = -1, np.zeros(0, int), 0.0, None
    for number, index in enumerate(data["index"].tolist()):
        atoms = slice(data["ptr"][number], data["ptr"][number + 1])
        pos = data["pos"][atoms]
        if index != last:  # the minimum comes first
            row = int(np.searchsorted(molecules.index, index))
            _, z, _ = molecules.geometry(row)
            level, last = molecules.targets["energy"][row], index
            anchor = fit_anchor(pos, forces[atoms], correction(z, pos)) if correction else None
        numbers.append(z)
        energies[number] += level
        if anchor:
            anchor_energy, anchor_forces = anchor(pos)
            energies[number] += anchor_energy
            forces[atoms] += anchor_forces
    return np.concatenate(numbers).astype(np.uint8), energies, forces
