"""The table of labels: energies and forces of all chunks on the potential energy surface of QM9.

With the anchor (anchor.py) and the correction (correction.py) added, the minimum of every molecule,
its energy and its harmonic frequencies there are the ones of QM9.
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
    """Write the labels of all chunks and the neighbours within `cutoff` Å; return their number.

    The energy of a geometry (eV) is U0 - ZPVE of its molecule in QM9 plus its energy above the
    minimum; forces are in eV/Å. Without a correction no anchor is added either: the labels then
    come from the method of QM9.
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
    """Return the atomic numbers, energies (eV) and forces (eV/Å) of a chunk for `write_labels`."""
    numbers, energies, forces = [], data["energy"].copy(), data["forces"].copy()
    last, z, minimum_energy, anchor = -1, np.zeros(0, int), 0.0, None
    for number, index in enumerate(data["index"].tolist()):
        atoms = slice(data["ptr"][number], data["ptr"][number + 1])
        pos = data["pos"][atoms]
        if index != last:  # the first geometry of a molecule is its minimum
            row = int(np.searchsorted(molecules.index, index))
            _, z, _ = molecules.geometry(row)
            minimum_energy, last = molecules.targets["energy"][row], index
            anchor = fit_anchor(pos, forces[atoms], correction(z, pos)) if correction else None
        numbers.append(z)
        energies[number] += minimum_energy
        if anchor:
            anchor_energy, anchor_forces = anchor(pos)
            energies[number] += anchor_energy
            forces[atoms] += anchor_forces
    return np.concatenate(numbers).astype(np.uint8), energies, forces
