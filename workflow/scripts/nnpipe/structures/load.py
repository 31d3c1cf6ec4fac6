"""Starting structures, from SMILES or from a structure file."""

from collections.abc import Sequence

import numpy as np
from ase import Atoms

from ..errors import InputError
from .checks import (
    CLOSED_SHELLS,
    check_geometry,
    check_supported,
    check_supported_elements,
    unpaired_electrons,
)
from .file_names import is_structure_file
from .formats import read_structure
from .smiles import from_smiles, parse_smiles


def load_structure(source: str, seed: int = 0) -> Atoms:
    """Return the structure that `source` describes: a SMILES or the path of a structure file.

    Raises InputError, see `from_smiles`, `read_structure` and `check_geometry`.
    """
    atoms = read_structure(source) if is_structure_file(source) else from_smiles(source, seed)
    try:
        check_geometry(atoms)
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
    return atoms


def load_start(
    source: str, elements: Sequence[int] | None, closed_shells: bool = True, seed: int = 0
) -> Atoms:
    """Return the structure of `source` as the start of a simulation with models that were trained
    on `elements`, by default on all elements.

    Raises InputError, see `load_structure` and `check_supported`.
    """
    atoms = load_structure(source, seed)
    try:
        check_supported(atoms, elements or atoms.numbers.tolist(), closed_shells)
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
    return atoms


def atomic_numbers(
    source: str, elements: Sequence[int] | None = None, closed_shells: bool = True
) -> np.ndarray:
    """Return the atomic numbers (N,) of the start of a simulation, without a conformer search.

    Raises the errors of `load_start`, for a SMILES without the errors that depend on a geometry.
    """
    if is_structure_file(source):
        return load_start(source, elements, closed_shells).numbers
    molecules = parse_smiles(source)
    numbers = np.array([atom.GetAtomicNum() for part in molecules for atom in part.GetAtoms()])
    labels = np.repeat(np.arange(len(molecules)), [part.GetNumAtoms() for part in molecules])
    try:
        check_supported_elements(numbers, elements or numbers.tolist())
        if reason := unpaired_electrons(Atoms(numbers), labels):
            raise InputError(f"{reason}; {CLOSED_SHELLS}")
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
    return numbers
