"""Starting structures, from SMILES or from a structure file, and checks of their input."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from ase.io import read
from ase.neighborlist import neighbor_list

from ..errors import InputError

STRUCTURE_SUFFIXES = {".xyz", ".extxyz", ".pdb", ".cif", ".sdf", ".mol", ".vasp", ".gro"}


def is_structure_file(text: str) -> bool:
    """Return whether `text` is the path of a structure file, and not a SMILES."""
    return Path(text).suffix.lower() in STRUCTURE_SUFFIXES


def parse_smiles(smiles: str):
    """Return RDKit's molecule with explicit hydrogens.

    Raises InputError for a SMILES that RDKit cannot parse, a charge or unpaired electrons.
    """
    from rdkit import Chem, rdBase

    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(smiles)
    if molecule is None or not molecule.GetNumAtoms():
        raise InputError(f"SMILES {smiles!r} does not parse; check brackets, ring digits, valences")
    charge = Chem.GetFormalCharge(molecule)
    unpaired = sum(atom.GetNumRadicalElectrons() for atom in molecule.GetAtoms())
    if charge or unpaired:
        raise InputError(
            f"SMILES {smiles!r} has charge {charge:+d} and {unpaired} unpaired electrons;"
            " the models support neutral closed-shell molecules only"
        )
    return Chem.AddHs(molecule)


def atomic_numbers(source: str) -> np.ndarray:
    """Return the atomic numbers (N,) of a SMILES or structure file, without a conformer search.

    Raises InputError, see `parse_smiles` and `load_structure`.
    """
    if is_structure_file(source):
        return load_structure(source).numbers
    return np.array([atom.GetAtomicNum() for atom in parse_smiles(source).GetAtoms()])


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


def from_smiles(smiles: str, seed: int = 0) -> Atoms:
    """Return a conformer, embedded by ETKDGv3 and relaxed with MMFF94 where it has parameters.

    ETKDGv3: https://doi.org/10.1021/acs.jcim.0c00025.

    Raises InputError for a SMILES that RDKit cannot parse or embed.
    """
    from rdkit.Chem import rdDistGeom, rdForceFieldHelpers

    molecule = parse_smiles(smiles)
    parameters: Any = rdDistGeom.ETKDGv3()
    parameters.randomSeed = seed
    if rdDistGeom.EmbedMolecule(molecule, parameters):
        parameters.useRandomCoords = True
        if rdDistGeom.EmbedMolecule(molecule, parameters):
            raise InputError(f"SMILES {smiles!r}: no 3-D geometry found; give a structure file")
    if rdForceFieldHelpers.MMFFHasAllMoleculeParams(molecule):
        rdForceFieldHelpers.MMFFOptimizeMolecule(molecule, maxIters=2000)
    numbers = [atom.GetAtomicNum() for atom in molecule.GetAtoms()]
    return Atoms(numbers, molecule.GetConformer().GetPositions())


def load_structure(source: str, seed: int = 0) -> Atoms:
    """Return the structure that `source` describes: a SMILES or the path of a structure file.

    Raises InputError for a file that is missing, not readable, empty or not finite, and for atoms
    within 0.4 Å of each other.
    """
    if not is_structure_file(source):
        return from_smiles(source, seed)
    if not Path(source).is_file():
        raise InputError(f"{source}: no such structure file; correct the path")
    try:
        atoms = read(source)
        assert isinstance(atoms, Atoms)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{source}: not readable as a structure ({reason}); check its format"
        ) from error
    if not len(atoms) or not np.isfinite(atoms.positions).all():
        raise InputError(f"{source}: no atoms, or positions that are not finite; correct the file")
    close = neighbor_list("ij", atoms, 0.4)
    if len(close[0]):
        raise InputError(
            f"{source}: atoms {close[0][0]} and {close[1][0]} are within 0.4 Å; correct the file"
        )
    return Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
