"""A data set on disk, and the batches that are made from it."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..data import store
from ..data.molecules import CHUNK_MOLECULES, ragged_indices
from ..errors import InputError
from ..runtime.device import to_device
from .batch import ATOMS_MULTIPLE, NEIGHBOURS_MULTIPLE, SYSTEMS_MULTIPLE, Batch, round_up


@dataclass(frozen=True)
class Dataset:
    """M molecules of a store with A atoms and P pairs.

    The store may hold other molecules, too. Arrays of atoms and pairs are memory-mapped and read on
    demand, or lie in the memory of a GPU. Arrays of molecules stay on the CPU, where batches are
    composed.
    """

    z: Tensor  # (A,) uint8, atomic numbers
    pos: Tensor  # (A, 3) Å
    neighbour_ptr: Tensor  # (A+1,) int64, first pair of each atom
    neighbour: Tensor  # (P,) index of the neighbour in the molecule, nearest first
    reverse_slot: Tensor  # (P,) int16, place of the atom among the neighbours of the neighbour
    counts: Tensor  # (A,) int16, number of neighbours within the cutoff
    atom_start: Tensor  # (M,) int64, first atom of each molecule
    sizes: Tensor  # (M,) int64, number of atoms
    max_neighbours: Tensor  # (M,) int64, largest `counts` of its atoms
    target: Tensor  # (M,) float64, in the target's unit
    forces: Tensor | None = None  # (A, 3) eV/Å

    def __len__(self) -> int:
        return len(self.sizes)

    def to(self, device: str | torch.device) -> "Dataset":
        """Return the data set with its arrays of atoms and pairs on `device`."""
        names = ("z", "pos", "neighbour_ptr", "neighbour", "reverse_slot", "counts", "forces")
        moved = {
            name: part.to(device) for name in names if (part := getattr(self, name)) is not None
        }
        return replace(self, **moved)

    def atoms(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return three arrays (N,) for the atoms of the molecules `rows` (B,).

        They are the index of the atom in the data set, the place of its molecule in `rows`, and the
        place of that molecule's first atom among the N.
        """
        sizes = self.sizes[rows]
        first = sizes.cumsum(0) - sizes
        molecule = torch.repeat_interleave(sizes)
        return (
            torch.arange(len(molecule)) + (self.atom_start[rows] - first)[molecule],
            molecule,
            first[molecule],
        )

    def atomic_numbers(self) -> Tensor:
        """Return the atomic numbers (N,), uint8, of all molecules, one after the other."""
        return self.z[self.atoms(torch.arange(len(self)))[0].to(self.z.device)]

    def batch(self, rows: Tensor) -> Batch:
        """Return the batch of the molecules `rows` (B,)."""
        return self.collate(rows)[0]

    def force_labels(self, rows: Tensor) -> Tensor | None:
        """Return the forces (N, 3) eV/Å, float32, of `batch(rows)`, or None without labels."""
        atoms = self.atoms(rows)[0].to(self.pos.device)
        return None if self.forces is None else self.forces[atoms].float()

    def collate(self, rows: Tensor, padded: bool = False) -> tuple[Batch, Tensor | None]:
        """Return the batch of the molecules `rows` (B,) and its `force_labels`.

        With `padded`, B, N and K are rounded up, so that few shapes occur: molecules and atoms
        without neighbours follow the molecules of `rows`. All added atoms are in the last molecule.
        """
        places, size = torch.stack(self.atoms(rows)), len(rows)
        width = max(int(self.max_neighbours[rows].max()), 1)
        if padded:
            size, width = round_up(size + 1, SYSTEMS_MULTIPLE), round_up(width, NEIGHBOURS_MULTIPLE)
            more = round_up(places.shape[1], ATOMS_MULTIPLE) - places.shape[1]
            none = torch.tensor([-1, size - 1, 0])[:, None]
            places = torch.cat([places, none.expand(3, more)], 1)
        atoms, molecule, start = to_device(places, self.pos.device)
        counts = torch.where(atoms >= 0, self.counts[atoms].long(), 0)[:, None]
        slots = torch.arange(width, device=atoms.device)
        mask = slots < counts
        pairs = (self.neighbour_ptr[atoms][:, None] + slots).clamp(max=len(self.neighbour) - 1)
        there = self.neighbour[pairs] + start[:, None]
        here = torch.arange(len(atoms), device=atoms.device)[:, None]
        neighbours = torch.where(mask, there, here)
        reverse = torch.where(mask, there * width + self.reverse_slot[pairs], -1).t().contiguous()
        z, pos = self.z[atoms].long(), self.pos[atoms].float()
        batch = Batch(z, pos, molecule, size, neighbours, mask, reverse)
        return batch, None if self.forces is None else self.forces[atoms].float()


def load_dataset(
    molecules: str | Path,
    neighbours: str | Path,
    rows: Sequence[int] | np.ndarray,
    target: str,
    cutoff: float,
) -> Dataset:
    """Return the molecules `rows` (M,) of the memory-mapped tables with one target.

    Neighbours lie within `cutoff` Å. The target `energy` comes with forces if the table has them.
    Raises InputError if the neighbours are of another table, if the target does not exist, or if
    the cutoff of the table is smaller.
    """
    table, header = store.read(molecules, "molecules")
    pairs, about = store.read(neighbours, "neighbours")
    if about["provenance"].get("molecules") != header["digest"]:
        raise InputError(f"{neighbours}: made from other molecules than {molecules}; make it again")
    if target not in header["units"]:
        raise InputError(f"{molecules}: no target {target!r}; it has {', '.join(header['units'])}")
    forces = table.get("forces") if target == "energy" else None
    _check_cutoff(neighbours, cutoff, about["cutoff"])
    return dataset(table | pairs, np.asarray(rows), table[target], forces, cutoff)


def load_labels(
    path: str | Path, index: np.ndarray, cutoff: float, molecules_digest: str, training: bool = True
) -> Dataset:
    """Return the labelled geometries of the molecules `index` (numbers in QM9), memory-mapped.

    For `training`, the molecules that QM9 lacks, whose numbers are negative, come with them, and
    each geometry as often as an epoch passes over it.
    Neighbours lie within `cutoff` Å. Raises InputError if the cutoff of the table is smaller, or if
    the labels are of another table than the one with that digest.
    """
    table, header = store.read(path, "labels")
    if header["provenance"].get("molecules") != molecules_digest:
        raise InputError(f"{path}: made from other molecules; make it again")
    rows = np.flatnonzero(np.isin(table["index"], index))
    if training:
        rows = np.append(rows, np.flatnonzero(table["index"] < 0))
        rows = np.repeat(rows, table["passes"][rows])
    _check_cutoff(path, cutoff, header["cutoff"])
    return dataset(table, rows, table["energy"], table["forces"], cutoff)


def _check_cutoff(path: str | Path, wanted: float, held: float) -> None:
    if wanted > held:
        raise InputError(
            f"{path}: holds neighbours within {held} Å, a model's cutoff is {wanted};"
            " raise data.cutoff"
        )


def dataset(
    table: dict[str, np.ndarray],
    rows: np.ndarray,
    target: np.ndarray,
    forces: np.ndarray | None,
    cutoff: float,
) -> Dataset:
    """Return the molecules `rows` (M,) of a table of `z`, `pos`, `ptr`, `first` and `neighbour`."""
    counts, slots = np.zeros(len(table["z"]), np.int16), np.zeros(len(rows), np.int64)
    back = np.zeros(len(table["neighbour"]), np.int16)
    for begin in range(0, len(rows), CHUNK_MOLECULES):
        atoms, ptr = ragged_indices(table["ptr"], rows[begin : begin + CHUNK_MOLECULES])
        pairs, first = ragged_indices(table["first"], atoms)
        centre = np.repeat(np.arange(len(atoms)), np.diff(first))
        other = np.repeat(ptr[:-1], np.diff(ptr))[centre] + table["neighbour"][pairs]
        pos = table["pos"][atoms]
        near = np.linalg.norm(pos[other] - pos[centre], axis=1) < cutoff
        pairs, centre, other = pairs[near], centre[near], other[near]
        here, there = np.argsort([centre * len(atoms) + other, other * len(atoms) + centre])
        back[pairs[here]] = (pairs - table["first"][atoms[centre]])[there]
        found = np.bincount(centre, minlength=len(atoms))
        counts[atoms] = found
        slots[begin : begin + CHUNK_MOLECULES] = np.maximum.reduceat(found, ptr[:-1])
    start = table["ptr"][rows]
    sizes, target = table["ptr"][rows + 1] - start, target[rows]
    arrays = [table[name] for name in ("z", "pos", "first", "neighbour")]
    arrays += [back, counts, start, sizes, slots, target]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the memory-mapped arrays are read-only
        data = Dataset(*map(torch.from_numpy, arrays))
        return data if forces is None else replace(data, forces=torch.from_numpy(forces))


def split_by_budget(data: Dataset, order: Tensor, atoms: int, pairs: int) -> list[Tensor]:
    """Split `order` (M,) into batches of at most `atoms` atoms and `pairs` slots.

    The slots of a batch, its atoms times its largest number of neighbours, determine its memory. A
    molecule that exceeds the budget is a batch by itself.
    """
    sizes, slots = data.sizes[order].tolist(), data.max_neighbours[order].tolist()
    ends, used, widest = [], 0, 0
    for place, (size, slot) in enumerate(zip(sizes, slots, strict=True)):
        if used and (used + size > atoms or (used + size) * max(widest, slot) > pairs):
            ends.append(place)
            used, widest = 0, 0
        used, widest = used + size, max(widest, slot)
    return list(torch.tensor_split(order, ends))
