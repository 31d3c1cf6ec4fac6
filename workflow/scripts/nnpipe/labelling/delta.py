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
from ..structures.vibrations import ForceFunction
from .scf import Method

EVALUATION_ATOMS = 1000  # of a batch


def load_delta(path: str | Path) -> Potential:
    """Return the network whose weights are in the file `path`, in float64.

    Raises InputError if the model in its folder is damaged.
    """
    potential, _ = load_model(Path(path).parent)
    return potential.double().requires_grad_(False)


def delta_forces(
    delta: Potential, z: np.ndarray, pos: np.ndarray, sizes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the energies (M,) eV and forces (A, 3) eV/Å of the network for M geometries.

    z (A,), pos (A, 3) Å and sizes (M,), the numbers of atoms, of one geometry after the other.
    """
    energies, forces, ends = [], [], np.cumsum(sizes)
    for rows in np.split(
        np.arange(len(sizes)), np.flatnonzero(np.diff(ends // EVALUATION_ATOMS)) + 1
    ):
        atoms = slice(ends[rows[0]] - sizes[rows[0]], ends[rows[-1]])
        batch = batch_from_positions(
            torch.as_tensor(z[atoms].astype(np.int64)),
            torch.as_tensor(pos[atoms]),
            torch.as_tensor(sizes[rows]),
            delta.cutoff,
        )
        energy, force = energy_forces(delta, batch)
        energies.append(energy.detach().numpy())
        forces.append(force.numpy())
    return np.concatenate(energies), np.concatenate(forces)


def with_delta(method: Method, delta: Potential) -> Method:
    """Return `method` plus the network: energies and forces of one geometry."""

    def corrected(z: np.ndarray) -> ForceFunction:
        function, sizes = method(z), np.array([len(z)])

        def energy_and_forces(pos: np.ndarray) -> tuple[float, np.ndarray]:
            energy, forces = function(pos)
            (more,), change = delta_forces(delta, z, pos, sizes)
            return energy + float(more), forces + change

        return energy_and_forces

    return corrected
