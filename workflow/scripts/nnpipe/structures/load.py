"""Starting structures, from SMILES or from a structure file."""

import numpy as np
from ase import Atoms

from ..errors import InputError
from .checks import check_geometry
from .formats import is_structure_file, read_structure
from .smiles import from_smiles, parse_smiles


def atomic_numbers(source: str) -> np.ndarray:
    """Return the atomic numbers (N,) of a SMILES or structure file, without a conformer search.

    Raises InputError, see `parse_smiles` and `load_structure`.
    """
    if is_structure_file(source):
        return load_structure(source).numbers
    molecules = parse_smiles(source)
    return np.array([atom.GetAtomicNum() for part in molecules for atom in part.GetAtoms()])


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
