"""Structure files of any format, read into Atoms."""

from pathlib import Path

from ase import Atoms
from ase.io import read

from ..errors import InputError

STRUCTURE_SUFFIXES = {".xyz", ".extxyz", ".pdb", ".cif", ".sdf", ".mol", ".vasp", ".gro"}


def is_structure_file(text: str) -> bool:
    """Return whether `text` is the path of a structure file, and not a SMILES."""
    return Path(text).suffix.lower() in STRUCTURE_SUFFIXES


def read_structure(path: str) -> Atoms:
    """Return the structure in a file.

    Raises InputError for a file that is missing or not readable.
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: no such structure file; correct the path")
    try:
        atoms = read(path)
        assert isinstance(atoms, Atoms)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{path}: not readable as a structure ({reason}); check its format"
        ) from error
    return Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
