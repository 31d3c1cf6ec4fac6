"""The table of molecules: geometries (of QM9: minima) with their energies and other properties."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ..runtime.progress import progress_bar
from . import store

CHUNK_MOLECULES = 8192  # in memory at once while a table is written
# a molecule is of a file of its own part, or the split draws its part
PART_CODES = {"": 0, "validation": 1, "test": 2}


@dataclass(frozen=True)
class Molecules:
    """M molecules with N atoms and V vibrational modes in total.

    Molecule m has the atoms ptr[m]:ptr[m+1] and the modes frequency_ptr[m]:frequency_ptr[m+1].
    """

    index: np.ndarray  # (M,) int32, number in QM9 or of the frame in the file, from 1
    ptr: np.ndarray  # (M+1,) int64
    z: np.ndarray  # (N,) uint8
    pos: np.ndarray  # (N, 3) float64, Å
    charges: np.ndarray  # (N,) float64, Mulliken charges, e; nan if unknown
    frequency_ptr: np.ndarray  # (M+1,) int64
    frequencies: np.ndarray  # (V,) float64, harmonic, cm^-1, imaginary ones negative
    smiles: list[str]  # from GDB-17; empty if unknown
    targets: dict[str, np.ndarray]  # (M,) float64 each, units in the header of the file
    forces: np.ndarray | None = None  # (N, 3) float64, eV/Å
    part: np.ndarray | None = None  # (M,) uint8, PART_CODES; None if all are drawn
    isolated_atoms: dict[int, float] = field(default_factory=dict)  # atomic number: energy, eV

    def __len__(self) -> int:
        return len(self.index)

    def geometry(self, row: int) -> tuple[int, np.ndarray, np.ndarray]:
        """Return the index, atomic numbers (N,) and positions (N, 3) Å of the molecule in `row`."""
        atoms = slice(self.ptr[row], self.ptr[row + 1])
        return int(self.index[row]), self.z[atoms].astype(int), np.array(self.pos[atoms])

    def modes(self, row: int) -> np.ndarray:
        """Return the harmonic frequencies (V,) cm^-1, ascending, of the molecule in `row`."""
        return np.sort(self.frequencies[self.frequency_ptr[row] : self.frequency_ptr[row + 1]])


def row_ends(counts: np.ndarray) -> np.ndarray:
    """Return 0 and the cumulative sum of `counts` (M,): the ends (M+1,) int64 of ragged rows."""
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])


def ragged_indices(ptr: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the flat indices of `rows` in a ragged array with ends `ptr`, and their own ends."""
    sizes = ptr[rows + 1] - ptr[rows]
    ends = row_ends(sizes)
    return np.repeat(ptr[rows] - ends[:-1], sizes) + np.arange(ends[-1]), ends


def write_molecules(
    chunks: Iterable[Molecules],
    path: str | Path,
    target_units: dict[str, str],
    provenance: dict[str, Any],
) -> int:
    """Write the table of molecules chunk by chunk; return the number of molecules.

    `target_units`: unit of each target.
    """
    header = {"kind": "molecules", "units": target_units, "provenance": provenance}
    zero = np.zeros(1, np.int64)
    ends, total = (zero, zero, zero), 0
    with store.writer(path, header) as append, progress_bar(unit="molecules") as bar:
        append(ptr=zero, frequency_ptr=zero, smiles_ptr=zero)
        for chunk in chunks:
            text = [smiles.encode() for smiles in chunk.smiles]
            smiles_ptr = row_ends(np.array([len(t) for t in text]))
            ends = tuple(
                end[-1] + ptr[1:]
                for end, ptr in zip(ends, (chunk.ptr, chunk.frequency_ptr, smiles_ptr), strict=True)
            )
            known = {
                name: array
                for name, array in (("forces", chunk.forces), ("part", chunk.part))
                if array is not None
            }
            if chunk.isolated_atoms:
                known["isolated_z"] = np.array(list(chunk.isolated_atoms), np.uint8)
                known["isolated_energy"] = np.array(list(chunk.isolated_atoms.values()))
            append(
                index=chunk.index,
                ptr=ends[0],
                z=chunk.z,
                pos=chunk.pos,
                charges=chunk.charges,
                frequency_ptr=ends[1],
                frequencies=chunk.frequencies,
                smiles_ptr=ends[2],
                smiles=np.frombuffer(b"".join(text), np.uint8),
                **chunk.targets,
                **known,
            )
            total += len(chunk)
            bar.update(len(chunk))
    return total


def read_molecules(path: str | Path) -> tuple[Molecules, dict[str, Any]]:
    """Return the memory-mapped table and its header.

    Raises InputError if the file is not a complete table of molecules.
    """
    arrays, header = store.read(path, "molecules")
    text, ends = arrays["smiles"].tobytes(), arrays["smiles_ptr"]
    smiles = [text[a:b].decode() for a, b in pairwise(ends)]
    fields = ("index", "ptr", "z", "pos", "charges", "frequency_ptr", "frequencies")
    plain: dict[str, Any] = {name: arrays[name] for name in fields}
    targets = {name: arrays[name] for name in header["units"]}
    return Molecules(
        **plain,
        smiles=smiles,
        targets=targets,
        forces=arrays.get("forces"),
        part=arrays.get("part"),
        isolated_atoms=isolated_atoms(arrays),
    ), header


def isolated_atoms(arrays: dict[str, np.ndarray]) -> dict[int, float]:
    """Return {atomic number: energy in eV} of the isolated atoms in a table of molecules."""
    numbers, energies = (arrays.get(f"isolated_{name}", np.empty(0)) for name in ("z", "energy"))
    return dict(zip(numbers.tolist(), energies.tolist(), strict=True))
