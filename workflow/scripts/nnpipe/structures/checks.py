"""What the models can compute: checks of atoms before they are simulated."""

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from ase.neighborlist import neighbor_list

from ..errors import InputError


def check_supported(atoms: Atoms, elements: Sequence[int]) -> None:
    """Raise InputError if a model that was trained on `elements` cannot describe the atoms."""
    check_supported_elements(atoms.numbers, elements)


def check_supported_elements(numbers: np.ndarray, elements: Sequence[int]) -> None:
    """Raise InputError unless every atomic number in `numbers` (N,) is one of `elements`."""
    unseen = sorted(set(numbers.tolist()) - set(elements))
    if unseen:
        known = " ".join(chemical_symbols[z] for z in elements)
        raise InputError(
            f"element {chemical_symbols[unseen[0]]} is not in the training set ({known});"
            " train on molecules with this element, or remove it here"
        )


def check_timestep(numbers: np.ndarray, timestep_fs: float) -> None:
    """Raise InputError if the timestep is too long for the fastest vibration of the atoms (N,)."""
    limit, why = (1.0, ", as X-H bonds vibrate in 9 fs") if 1 in numbers else (4.0, "")
    if not 0 < timestep_fs <= limit:
        raise InputError(f"timestep_fs {timestep_fs} is not in (0, {limit}] fs{why}; take 0.5")


def check_geometry(atoms: Atoms) -> None:
    """Raise InputError for no atoms, positions that are not finite, and atoms that clash."""
    if not len(atoms) or not np.isfinite(atoms.positions).all():
        raise InputError("no atoms, or positions that are not finite; correct the file")
    close = neighbor_list("ij", atoms, 0.4)
    if len(close[0]):
        raise InputError(
            f"atoms {close[0][0]} and {close[1][0]} are within 0.4 Å; correct the file"
        )
