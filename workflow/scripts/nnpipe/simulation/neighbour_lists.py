"""Batches of systems with their neighbours, reused while no atom has moved far."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from ..data.molecules import ragged_indices, row_ends
from ..graphs.batch import Batch, batch_from_pairs, batch_from_positions
from ..runtime.device import to_device
from ..structures.neighbours import neighbours

ATOMS_PER_GROUP_CPU = 500  # computed at once: a batch of more atoms leaves a processor's cache
ATOMS_PER_GROUP_GPU = 50_000  # small groups leave a GPU idle
SKIN_CPU = 0.3  # Å beyond the cutoff
SKIN_GPU = 1.0  # longer lists cost a GPU little
ALL_PAIRS_MAX_ATOMS = 200  # largest open system whose neighbours are found among all pairs
MAX_PAIRS = 20_000_000  # of all open systems in a group, which limits its memory
Group = tuple[np.ndarray, np.ndarray, Batch]  # numbers of systems, indices of atoms, their batch


class NeighbourLists:
    """Batches of systems with all neighbours within `cutoff` Å.

    With `skin`, a list also has neighbours a little further away (SKIN_CPU, SKIN_GPU). It is
    complete until an atom has moved by half of the skin.
    """

    def __init__(
        self, cutoff: float, device: torch.device, dtype: torch.dtype, skin: bool = True
    ) -> None:
        on_cpu = device.type == "cpu"
        self.cutoff, self.device, self.dtype = cutoff, device, dtype
        self.skin = (SKIN_CPU if on_cpu else SKIN_GPU) if skin else 0.0
        self.atoms_per_group = ATOMS_PER_GROUP_CPU if on_cpu else ATOMS_PER_GROUP_GPU
        self.clear()

    def clear(self) -> None:
        """Forget the last list, because elements, cell or systems have changed."""
        self.listed_at = self.origins = np.zeros((0, 3))  # Å
        self.groups: list[Group] = []

    def update(self, atoms: Atoms, system_idx: np.ndarray) -> Iterator[Group]:
        """Yield the groups of `make_batches` at the current positions, from the last list if it is
        complete, else from a new one.
        """
        pos = atoms.positions
        if not self.groups or ((pos - self.listed_at) ** 2).sum(1).max() >= (self.skin / 2) ** 2:
            cell, pbc = atoms.cell.array, atoms.pbc
            groups = list(self.make_batches(atoms.numbers, pos, system_idx, cell, pbc, self.skin))
            self.listed_at, self.origins = pos.copy(), _origins(pos, system_idx)
            self.groups = groups
        for systems, rows, batch in self.groups:
            local = torch.from_numpy(pos[rows] - self.origins[rows]).to(self.dtype)
            yield systems, rows, batch.with_positions(to_device(local, self.device))

    def group_systems(self, sizes: np.ndarray) -> list[np.ndarray]:
        """Return groups of systems, of `sizes` (B,) atoms, that are best computed together."""
        pairs = len(sizes) * sizes.max() ** 2
        # at least two in a group: a single system would need another compiled program
        wanted = max(sizes.sum() // self.atoms_per_group, pairs // MAX_PAIRS)
        parts = max(1, min(wanted, len(sizes) // 2))
        return np.array_split(np.argsort(sizes, kind="stable"), parts)

    def make_batches(
        self,
        z: np.ndarray,
        pos: np.ndarray,
        system_idx: np.ndarray,
        cell: np.ndarray,
        pbc: np.ndarray,
        skin: float = 0.0,
    ) -> Iterator[Group]:
        """Yield groups of systems in one cell, with neighbours within the cutoff and `skin` Å.

        z (N,), pos (N, 3) Å; system_idx (N,), from 0 and ascending, is the system of each atom.
        """
        local = torch.from_numpy(pos - _origins(pos, system_idx))
        sizes = np.bincount(system_idx)
        for systems in self.group_systems(sizes):
            rows, _ = ragged_indices(row_ends(sizes), systems)
            part = to_device(local[torch.from_numpy(rows)], self.device)
            yield systems, rows, self.make_batch(z[rows], part, sizes[systems], cell, pbc, skin)

    def make_batch(
        self,
        z: np.ndarray,
        pos: Tensor,
        sizes: np.ndarray,
        cell: np.ndarray,
        pbc: np.ndarray,
        skin: float,
    ) -> Batch:
        """Return one batch of systems of `sizes` (B,) atoms, one after the other.

        z (N,); pos (N, 3) Å near zero, float64, on the device.
        """
        radius = self.cutoff + skin
        if not pbc.any() and sizes.max() <= ALL_PAIRS_MAX_ATOMS:
            arrays = torch.from_numpy(z), torch.from_numpy(sizes)
            numbers, counts = (to_device(array, self.device) for array in arrays)
            batch = batch_from_positions(numbers, pos, counts, radius)
            return batch.to(self.device, self.dtype)
        place, ends = pos.cpu().numpy(), row_ends(sizes)
        found = [neighbours(place[a:b], radius, cell, pbc) for a, b in pairwise(ends)]
        counts, index, shift = zip(*found, strict=True)
        index = np.concatenate([i + start for i, start in zip(index, ends, strict=False)])
        pairs = (np.concatenate(counts), index, np.concatenate(shift) @ cell)
        system_idx = np.repeat(np.arange(len(sizes)), sizes)
        return batch_from_pairs(z, place, *pairs, system_idx).to(self.device, self.dtype)


def _origins(pos: np.ndarray, system_idx: np.ndarray) -> np.ndarray:
    """Return the first atom's position (N, 3) Å of each atom's system. Positions relative to it
    are near zero, where single precision is best.
    """
    return pos[np.searchsorted(system_idx, system_idx)]
