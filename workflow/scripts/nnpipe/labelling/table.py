"""The table of labels: energies and forces of all chunks on the potential energy surface of QM9.

With the anchor (anchor.py) and the correction (correction.py) added, the minimum of every molecule,
its energy and its harmonic frequencies there are the ones of QM9.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.io import read

from ..data import store
from ..data.molecules import Molecules, ragged_indices
from ..models.potential import Potential
from ..runtime.progress import progress_bar
from ..structures.neighbours import neighbours
from .anchor import anchored, fit_anchor
from .correction import Correction
from .delta import delta_forces, load_delta
from .scf import Method

# passes over a geometry in an epoch of training: tiny molecules have few geometries and no minimum
# of QM9 that teaches their energies; frames have the forces of DFT itself; fragments resemble drugs
TINY_PASSES, FRAME_PASSES, FRAGMENT_PASSES = 10, 5, 2
# the numbers of molecules that QM9 lacks are negative; tiny ones come before, fragments after
FIRST_OTHER = 1000


def write_labels(
    chunks: Sequence[str | Path],
    molecules: Molecules,
    correction: Correction | None,
    cutoff: float,
    path: str | Path,
    provenance: dict[str, Any],
    tiny: str | Path | None = None,
    frames: str | Path | None = None,
    delta: str | Path | None = None,
    fragments: str | Path | None = None,
) -> int:
    """Write the labels of all chunks and the neighbours within `cutoff` Å; return their number.

    The energy of a geometry (eV) is U0 - ZPVE of its molecule in QM9 plus its energy above the
    minimum; forces are in eV/Å. The network in the file `delta` adds its part to the chunks.
    Without a correction no anchor is added: the labels then come from the method of QM9. Labels of
    molecules that QM9 lacks follow, without anchor, see `read_tiny_molecules`, `read_frames` and
    `read_fragments`; a training passes over them several times in an epoch.
    """
    header = {
        "kind": "labels",
        "cutoff": cutoff,
        "units": {"energy": "eV", "forces": "eV/Å"},
        "provenance": provenance,
    }
    network = load_delta(delta, torch.float32) if delta else None
    smallest = np.min_scalar_type(int(np.diff(molecules.ptr).max()) - 1)
    total, slots, count = 0, 0, 0
    with store.writer(path, header) as append:
        append(ptr=np.zeros(1, np.int64), first=np.zeros(1, np.int64))
        parts = _labels(chunks, molecules, correction, tiny, frames, network, fragments)
        for passes, data in parts:
            found = [neighbours(data["pos"][a:b], cutoff)[:2] for a, b in pairwise(data["ptr"])]
            counts, near = map(np.concatenate, zip(*found, strict=True))
            append(
                index=data["index"], ptr=total + data["ptr"][1:], z=data["z"], pos=data["pos"],
                energy=data["energy"], forces=data["forces"].astype(np.float32),
                first=slots + np.cumsum(counts), neighbour=near.astype(smallest),
                passes=np.full(len(data["index"]), passes, np.uint8),
            )  # fmt: skip
            total, slots = total + len(data["z"]), slots + len(near)
            count += len(data["index"])
    return count


def _labels(
    chunks: Sequence[str | Path],
    molecules: Molecules,
    correction: Correction | None,
    tiny: str | Path | None,
    frames: str | Path | None,
    delta: Potential | None,
    fragments: str | Path | None,
) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """Yield the passes and labels of each chunk, then of the other files."""
    elements: set[int] = set()
    for chunk in progress_bar(chunks, unit="chunks"):
        data = _anchored_chunk(store.read(chunk, "chunk")[0], molecules, correction, delta)
        elements.update(data["z"].tolist())
        yield 1, data
    if tiny:
        yield TINY_PASSES, read_tiny_molecules(tiny, elements)
    if frames:
        yield FRAME_PASSES, read_frames(frames, elements)
    if fragments:
        data = read_fragments(fragments, elements, delta)
        if len(data["index"]):
            yield FRAGMENT_PASSES, data


def label_forces(
    frames: Sequence[Atoms], molecules: Molecules, method: Method, correction: Correction | None
) -> list[np.ndarray]:
    """Return the forces (N, 3) eV/Å that frames would have as labels, see `write_labels`.

    A frame has no anchor if `molecules` lack `qm9` in its `info`, the index of its molecule in QM9.
    """
    found, rows = [], {index: row for row, index in enumerate(molecules.index.tolist())}
    for frame in frames:
        z, function = frame.numbers, method(frame.numbers)
        if correction and (row := rows.get(frame.info.get("qm9"))) is not None:
            _, z, minimum = molecules.geometry(row)
            function = anchored(function, minimum, correction(z, minimum))
        found.append(function(frame.positions)[1])
    return found


def read_tiny_molecules(path: str | Path, elements: set[int]) -> dict[str, np.ndarray]:
    """Return labels like a chunk, with atomic numbers and with energies (eV) on QM9's scale.

    `path` is extended xyz with energies (eV), forces (eV/Å) and a SMILES per frame. The number of a
    molecule is negative, as QM9 lacks it. Molecules with atoms beside `elements` are left out: the
    training set has no reference energy for them.
    """
    frames = [atoms for atoms in read(path, ":") if elements.issuperset(atoms.numbers.tolist())]
    numbers = _numbered(frames, 1)
    return _like_a_chunk(frames, [numbers[_smiles(atoms)] for atoms in frames])


def read_frames(path: str | Path, elements: set[int]) -> dict[str, np.ndarray]:
    """Return labels like `read_tiny_molecules`, of larger molecules.

    `qm9` in the info of a frame is the number of its molecule. QM9 lacks the others; the ones with
    another of the `elements` are left out.
    """
    frames = [
        atoms
        for atoms in read(path, ":")
        if "qm9" in atoms.info or elements.issuperset(atoms.numbers.tolist())
    ]
    others = _numbered([atoms for atoms in frames if "qm9" not in atoms.info], FIRST_OTHER)
    numbers = [atoms.info.get("qm9") or others[_smiles(atoms)] for atoms in frames]
    return _like_a_chunk(frames, numbers)


def read_fragments(
    path: str | Path, elements: set[int], delta: Potential | None
) -> dict[str, np.ndarray]:
    """Return labels like `read_tiny_molecules`, of molecules that the teacher labels.

    `path` is a file of `fragments.write_fragments`, to which the network `delta` adds its part.
    """
    data = store.read(path, "fragments")[0]
    ends = enumerate(pairwise(data["ptr"]))
    rows = np.array([n for n, (a, b) in ends if elements.issuperset(data["z"][a:b].tolist())], int)
    atoms, ptr = ragged_indices(data["ptr"], rows)
    found = {name: data[name][rows] for name in ("index", "energy")} | {"ptr": ptr}
    found |= {name: data[name][atoms] for name in ("z", "pos", "forces")}
    if delta and len(rows):
        energies, forces = delta_forces(delta, found["z"], found["pos"], np.diff(ptr))
        found["energy"], found["forces"] = found["energy"] + energies, found["forces"] + forces
    return found


def _like_a_chunk(frames: Sequence[Atoms], numbers: Sequence[int]) -> dict[str, np.ndarray]:
    return {
        "index": np.array(numbers, np.int32),
        "ptr": np.cumsum([0, *map(len, frames)]),
        "z": np.concatenate([atoms.numbers for atoms in frames]).astype(np.uint8),
        "pos": np.concatenate([atoms.positions for atoms in frames]),
        "energy": np.array([atoms.get_potential_energy() for atoms in frames]),
        "forces": np.concatenate([atoms.get_forces() for atoms in frames]),
    }


def _numbered(frames: Sequence[Atoms], first: int) -> dict[str, int]:
    """Return a negative number for each SMILES of frames that QM9 lacks, from -`first` down."""
    return {smiles: -n for n, smiles in enumerate(dict.fromkeys(map(_smiles, frames)), first)}


def _smiles(atoms: Atoms) -> str:
    return str(atoms.info["smiles"])


def _anchored_chunk(
    data: dict[str, np.ndarray],
    molecules: Molecules,
    correction: Correction | None,
    delta: Potential | None,
) -> dict[str, np.ndarray]:
    """Return the chunk with atomic numbers, energies (eV) and forces (eV/Å) for `write_labels`."""
    rows = np.searchsorted(molecules.index, data["index"])
    z = molecules.z[ragged_indices(molecules.ptr, rows)[0]]
    starts = np.flatnonzero(np.diff(data["index"], prepend=-1))  # each molecule's minimum is first
    of = np.repeat(starts, np.diff(starts, append=len(rows)))
    energies = data["energy"] + molecules.targets["energy"][rows]
    forces = data["forces"].copy()
    if delta:
        more, change = delta_forces(delta, z, data["pos"], np.diff(data["ptr"]))
        energies += more - more[of]
        forces += change
    if correction:
        for number, (start, end) in enumerate(pairwise(data["ptr"])):
            pos = data["pos"][start:end]
            if of[number] == number:
                anchor = fit_anchor(pos, forces[start:end], correction(z[start:end], pos))
            anchor_energy, anchor_forces = anchor(pos)
            energies[number] += anchor_energy
            forces[start:end] += anchor_forces
    return data | {"z": z, "energy": energies, "forces": forces}
