"""Delta learning: a network for what DFT has beyond tight binding.

    E_teacher(x) = E_tight_binding(x) + E_network(x)

The network is trained on differences between both (delta_training.py). They are smaller, smoother
and shorter in range than the energies, so that a few hundred frames of DFT are enough.
https://doi.org/10.1021/acs.jctc.5b00099
"""

from pathlib import Path

import numpy as np
import torch

from ..graphs.batch import batch_from_positions
from ..models.checkpoint import load_model
from ..models.potential import Potential, energy_forces
from ..structures.vibrations import ForceFunction, hessian_of_forces
from .scf import Method

EVALUATION_ATOMS = 1000  # of a batch


def load_delta(path: str | Path, dtype: torch.dtype = torch.float64) -> Potential:
    """Return the network whose weights are in the file `path`.

    It computes in `dtype`: float64 for finite differences; float32 is twice as fast.

    Raises InputError if the model in its folder is damaged.
    """
    potential, _ = load_model(Path(path).parent)
    potential.model.to(dtype)  # references and sums stay in float64
    return potential.requires_grad_(False)


def delta_forces(
    delta: Potential, z: np.ndarray, pos: np.ndarray, sizes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the energies (M,) eV and forces (A, 3) eV/Å of the network for M geometries.

    z (A,), pos (A, 3) Å and sizes (M,), the numbers of atoms, of one geometry after the other.
    """
    energies, forces, ends = [], [], np.cumsum(sizes)
    dtype = next(delta.model.parameters()).dtype
    for rows in np.split(
        np.arange(len(sizes)), np.flatnonzero(np.diff(ends // EVALUATION_ATOMS)) + 1
    ):
        atoms = slice(ends[rows[0]] - sizes[rows[0]], ends[rows[-1]])
        batch = batch_from_positions(
            torch.tensor(z[atoms], dtype=torch.int64),
            torch.tensor(pos[atoms]),
            torch.tensor(sizes[rows]),
            delta.cutoff,
        )
        energy, force = energy_forces(delta, batch.to(batch.pos.device, dtype))
        energies.append(energy.detach().numpy())
        forces.append(force.numpy())
    return np.concatenate(energies), np.concatenate(forces)


def delta_hessian(delta: Potential, z: np.ndarray, pos: np.ndarray) -> np.ndarray:
    """Return the Hessian (3N, 3N) eV/Å^2 of the network at `pos` (N, 3) Å."""

    def forces_of(pairs: np.ndarray) -> np.ndarray:
        number = 2 * len(pairs)
        sizes = np.full(number, len(z))
        return delta_forces(delta, np.tile(z, number), pairs.reshape(-1, 3), sizes)[1].reshape(
            pairs.shape
        )

    return hessian_of_forces(forces_of, pos)


def with_delta(method: Method, path: str | Path | None) -> Method:
    """Return `method` plus the network in the file `path`, if any; raises errors of `load_delta`.

    Each call computes one geometry.
    """
    if not path:
        return method
    delta = load_delta(path)

    def corrected(z: np.ndarray) -> ForceFunction:
        function, sizes = method(z), np.array([len(z)])

        def energy_and_forces(pos: np.ndarray) -> tuple[float, np.ndarray]:
            energy, forces = function(pos)
            (more,), change = delta_forces(delta, z, pos, sizes)
            return energy + float(more), forces + change

        return energy_and_forces

    return corrected
