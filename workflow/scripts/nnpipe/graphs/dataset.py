"""A data set on disk, and the batches that are cut from it."""

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
    """M molecules of a store, everything that a batch is cut from.

    What there is of an atom (A in the store, those of other molecules among them) and of a
    neighbour stays on disk, memory-mapped, until a batch wants it, or lies in the memory of a GPU.
    What there is of a molecule stays with the CPU, which says what goes into a batch.
    """

    z: Tensor  # (A,) uint8
    pos: Tensor  # (A, 3) Å
    neighbour_ptr: Tensor  # (A+1,) int64, into neighbour
    neighbour: Tensor  # (P,) position inside the molecule, nearest first
    reverse_slot: Tensor  # (P,) int16, place of the atom among the neighbours of that neighbour
    counts: Tensor  # (A,) int16, how many of its neighbours lie within the cutoff
    atom_start: Tensor  # (M,) int64, first atom
    sizes: Tensor  # (M,) int64, number of atoms
    max_neighbours: Tensor  # (M,) int64, largest number of neighbours of an atom
    target: Tensor  # (M,) float64, in the target's unit
    forces: Tensor | None = None  # (A, 3) eV/Å

    def __len__(self) -> int:
        return len(self.sizes)

    def to(self, device: str | torch.device) -> "Dataset":
        """The same data set, its atoms and neighbours on `device`."""
        names = ("z", "pos", "neighbour_ptr", "neighbour", "reverse_slot", "counts", "forces")
        moved = {
            name: part.to(device) for name in names if (part := getattr(self, name)) is not None
        }
        return replace(self, **moved)

    def atoms(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Indices (N,) of the atoms of molecules `rows` (B,), for each its place in `rows`, and the
        place of its molecule's first atom among the N.
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
        """(N,) uint8, atomic numbers of the molecules, one after the other."""
        return self.z[self.atoms(torch.arange(len(self)))[0].to(self.z.device)]

    def batch(self, rows: Tensor) -> Batch:
        """The batch of molecules `rows` (B,)."""
        return self.collate(rows)[0]

    def force_labels(self, rows: Tensor) -> Tensor | None:
        """(N, 3) float32 eV/Å, labels of the atoms of `batch(rows)`, if there are any."""
        atoms = self.atoms(rows)[0].to(self.pos.device)
        return None if self.forces is None else self.forces[atoms].float()

    def collate(self, rows: Tensor, padded: bool = False) -> tuple[Batch, Tensor | None]:
        """The batch of molecules `rows` (B,) and its labels (N, 3) eV/Å, float32, if there are any.

        `padded` rounds its three sizes up, so that a few shapes come again and again: atoms without
        neighbours follow, all in the last of some more molecules. Of the others none is changed.
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
    """The molecules `rows` (M,) of the memory-mapped tables with one target.

    Neighbours are those within `cutoff` Å. Energies come with their forces if the table has them.
    Raises InputError if the tables do not belong together, have no such target or no neighbours
    that far.
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
    path: str | Path, index: np.ndarray, cutoff: float, molecules_digest: str
) -> Dataset:
    """The labelled geometries of the molecules with QM9's numbers `index`, memory-mapped.

    Neighbours are those within `cutoff` Å. Raises InputError if there are none that far, or if the
    labels are not of the table with that digest.
    """
    table, header = store.read(path, "labels")
    if header["provenance"].get("molecules") != molecules_digest:
        raise InputError(f"{path}: made from other molecules; make it again")
    rows = np.flatnonzero(np.isin(table["index"], index))
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
    """The molecules `rows` (M,) of a table of `z`, `pos`, `ptr`, `first` and `neighbour`."""
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
        warnings.simplefilter("ignore")  # that nobody may write to what is on disk
        data = Dataset(*map(torch.from_numpy, arrays))
        return data if forces is None else replace(data, forces=torch.from_numpy(forces))


def split_by_budget(data: Dataset, order: Tensor, atoms: int, pairs: int) -> list[Tensor]:
    """`order` (M,) cut into batches of at most `atoms` atoms and `pairs` atom-neighbour slots.

    Slots, atoms times the largest number of neighbours in the batch, are what memory is spent on.
    A molecule beyond the budget is a batch by itself.
    """
    sizes, slots = data.sizes[order].tolist(), data.max_neighbours[order].tolist()
    ends, used, widest = [], 0, 0
    for place, (size, slot) in enumerate(zip(sizes, slots, strict=True)):
        if used and (used + size > atoms or (used + size) * max(widest, slot) > pairs):
            ends.append(place)
            used, widest = 0, 0
        used, widest = used + size, max(widest, slot)
    return list(torch.tensor_split(order, ends))
