"""Immutable batches of molecules or crystals: the input of every model."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .gather import gather_neighbours, segment_sum

NO_NEIGHBOUR_DISTANCE = 1e3  # Å, the length of the vector of an empty neighbour slot
# padded batches have a multiple of these numbers
SYSTEMS_MULTIPLE, ATOMS_MULTIPLE, NEIGHBOURS_MULTIPLE = 64, 256, 4


@dataclass(frozen=True)
class Batch:
    """B systems with N atoms in total and up to K neighbours of each atom, nearest first.

    Vectors point from the centre i to the neighbour j: pos[j] + shift_vectors[i] - pos[i]. Row i of
    `neighbours` has K slots; the slots after the last neighbour are empty.
    """

    z: Tensor  # (N,) int64, atomic numbers
    pos: Tensor  # (N, 3) Å
    system_idx: Tensor  # (N,) int64, system of each atom, from 0, ascending
    n_systems: int  # B
    neighbours: Tensor  # (N, K) int64, atoms of the batch; in an empty slot, the atom itself
    neighbour_mask: Tensor  # (N, K) bool, False for an empty slot
    reverse_idx: Tensor  # (K, N) int64, slot (of N * K) of the pair (j, i), or -1
    shift_vectors: Tensor | None = None  # (N, K, 3) Å, lattice translation of the neighbour

    def to(self, device: torch.device, dtype: torch.dtype) -> "Batch":
        """Return the batch on `device`, with floating-point tensors in `dtype`."""
        moved: dict[str, Any] = {
            name: value.to(device, dtype if value.is_floating_point() else None)
            for name, value in vars(self).items()
            if isinstance(value, Tensor)
        }
        return replace(self, **moved)

    def with_positions(self, pos: Tensor) -> "Batch":
        """Return the batch with positions `pos` (N, 3) Å."""
        return replace(self, pos=pos)

    def gather_neighbours(self, values: Tensor) -> Tensor:
        """Return `values` (N, ...) of the neighbours: (N, K, ...), 0 in empty slots."""
        return gather_neighbours(values, self.neighbours, self.reverse_idx, self.neighbour_mask)

    def neighbour_vectors(self) -> Tensor:
        """Return the vectors (N, K, 3) Å from each atom to its neighbours.

        The vector of an empty slot is (NO_NEIGHBOUR_DISTANCE, 0, 0). In memory: (3, N, K).
        """
        planes = []
        for axis, here in enumerate(self.pos.unbind(1)):
            plane = self.gather_neighbours(here) - here[:, None]
            if self.shift_vectors is not None:
                plane = plane + self.shift_vectors[:, :, axis]
            empty = 0.0 if axis else NO_NEIGHBOUR_DISTANCE
            planes.append(torch.where(self.neighbour_mask, plane, empty))
        return torch.stack(planes).permute(1, 2, 0)

    def sum_over_atoms(self, values: Tensor) -> Tensor:
        """Return the sums (B,) of `values` (N,) over the atoms of each system."""
        return segment_sum(values, self.system_idx, self.n_systems)

    def with_strain(self, strain: Tensor) -> "Batch":
        """Return the batch with each system deformed by 1 + the symmetric part of (B, 3, 3)."""
        strain = (0.5 * (strain + strain.transpose(1, 2)))[self.system_idx]
        pos = self.pos + (self.pos[:, None] @ strain)[:, 0]
        shifts = self.shift_vectors
        return replace(
            self, pos=pos, shift_vectors=None if shifts is None else shifts + shifts @ strain
        )


def batch_from_pairs(
    z: np.ndarray,
    pos: np.ndarray,
    counts: np.ndarray,
    index: np.ndarray,
    offset: np.ndarray,
    system_idx: np.ndarray | None = None,
) -> Batch:
    """Return a batch from a list of pairs, which is sorted by centre.

    Takes z (N,), pos (N, 3) Å, the number of neighbours of each atom (N,), their indices (P,) and
    lattice translations (P, 3) Å. `system_idx` (N,) is the system of each atom, from 0 and
    ascending; without it, all atoms are one system.
    """
    atoms, width = len(z), max(int(counts.max(initial=0)), 1)
    mask = np.arange(width) < counts[:, None]
    neighbours = np.repeat(np.arange(atoms)[:, None], width, 1)
    neighbours[mask] = index
    offsets = np.zeros((atoms, width, 3))
    offsets[mask] = offset
    centre = np.repeat(np.arange(atoms), counts)
    shifts = offset.T if offset.any() else offset.T[:0]
    keys = [(centre, index, *shifts), (index, centre, *(-shifts))]
    here, there = map(np.lexsort, keys)  # the pairs (i, j) and (j, i) in the same order
    places = np.flatnonzero(mask)
    reverse = np.full_like(neighbours, -1)
    reverse.flat[places[here]] = places[there]
    system_idx = np.zeros(atoms, int) if system_idx is None else system_idx
    return Batch(
        torch.tensor(z, dtype=torch.int64),
        torch.tensor(pos),
        torch.as_tensor(system_idx),
        int(system_idx[-1]) + 1,
        torch.as_tensor(neighbours),
        torch.as_tensor(mask),
        torch.as_tensor(reverse).t().contiguous(),
        torch.as_tensor(offsets),
    )


def batch_from_positions(z: Tensor, pos: Tensor, sizes: Tensor, cutoff: float) -> Batch:
    """Return a batch of systems without a cell, with all neighbours within `cutoff` Å.

    Takes z (N,) and pos (N, 3) Å of one system after the other, and the number of atoms of each
    system `sizes` (B,). Computes on the device of `pos`. Memory grows with B times the square of
    the largest size.
    """
    start = sizes.cumsum(0) - sizes
    slots = torch.arange(int(sizes.max()), device=pos.device)
    real = slots < sizes[:, None]
    place = pos[(start[:, None] + slots).clamp(max=len(pos) - 1)]
    far = (place[:, :, None] - place[:, None]).norm(dim=3)
    far = torch.where(real[:, :, None] & real[:, None] & (slots[:, None] != slots), far, torch.inf)
    order = far.argsort(dim=2, stable=True)  # (B, n, n) atoms of a system, nearest first,
    rank = order.argsort(dim=2)  # and the place of each atom in that order
    counts = (far < cutoff).sum(2)[real]
    width = max(int(counts.max()), 1)
    if pos.device.type == "cuda":  # few shapes: each needs its own CUDA graph
        width = min(round_up(width, NEIGHBOURS_MULTIPLE), len(slots))
    system_idx = torch.repeat_interleave(sizes)
    here, atoms = torch.arange(len(pos), device=pos.device), start[system_idx]
    near, mask = order[:, :, :width][real], slots[:width] < counts[:, None]
    neighbours = torch.where(mask, near + atoms[:, None], here[:, None])
    back = rank[system_idx[:, None], near, (here - atoms)[:, None]]
    reverse = torch.where(mask, neighbours * width + back, -1).t().contiguous()
    return Batch(z, pos, system_idx, len(sizes), neighbours, mask, reverse)


def round_up(number: int, multiple: int) -> int:
    """Return the smallest multiple of `multiple` that is not below `number`."""
    return -(-number // multiple) * multiple
