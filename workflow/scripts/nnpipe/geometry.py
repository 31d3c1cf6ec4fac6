"""Starting geometries: from SMILES or from a structure file."""

from pathlib import Path

import numpy as np
from ase import Atoms
from ase.geometry import find_mic
from ase.io import read
from ase.neighborlist import natural_cutoffs, neighbor_list

from .errors import InputError

SUFFIXES = {".xyz", ".extxyz", ".pdb", ".cif", ".sdf", ".mol", ".vasp", ".gro"}


def is_file(text: str) -> bool:
    """Whether `text` names a structure file and not a SMILES."""
    return Path(text).suffix.lower() in SUFFIXES


def parse_smiles(smiles: str):  # noqa: ANN201  rdkit.Chem.Mol; rdkit is imported only when needed
    """The molecule with its hydrogens; InputError if RDKit does not understand it."""
    from rdkit import Chem, rdBase

    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(smiles)
    if molecule is None or not molecule.GetNumAtoms():
        raise InputError(f"SMILES {smiles!r} does not parse; check brackets, ring digits, valences")
    return Chem.AddHs(molecule)


def from_smiles(smiles: str, seed: int = 0) -> Atoms:
    """A conformer by ETKDG (https://doi.org/10.1021/acs.jcim.0c00025), relaxed with MMFF94.

    Raises InputError for a SMILES that does not parse or has no geometry.
    """
    from rdkit.Chem import AllChem

    molecule = parse_smiles(smiles)
    parameters = AllChem.ETKDGv3()
    parameters.randomSeed = seed
    if AllChem.EmbedMolecule(molecule, parameters):
        parameters.useRandomCoords = True
        if AllChem.EmbedMolecule(molecule, parameters):
            raise InputError(f"SMILES {smiles!r}: no 3-D geometry found; give a structure file")
    if AllChem.MMFFHasAllMoleculeParams(molecule):
        AllChem.MMFFOptimizeMolecule(molecule, maxIters=2000)
    numbers = [atom.GetAtomicNum() for atom in molecule.GetAtoms()]
    return Atoms(numbers, molecule.GetConformer().GetPositions())


def load_geometry(source: str, seed: int = 0) -> Atoms:
    """The starting geometry that `source`, a SMILES or the path of a structure file, describes."""
    if not is_file(source):
        return from_smiles(source, seed)
    if not Path(source).is_file():
        raise InputError(f"{source}: no such structure file")
    try:
        atoms = read(source)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{source}: not readable as a structure ({reason})") from error
    if not len(atoms) or not np.isfinite(atoms.positions).all():
        raise InputError(f"{source}: no atoms, or positions that are not finite")
    close = neighbor_list("ij", atoms, 0.4)
    if len(close[0]):
        raise InputError(f"{source}: atoms {close[0][0]} and {close[1][0]} are within 0.4 Å")
    return Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)


def bonds(atoms: Atoms) -> np.ndarray:
    """(P, 2) pairs of atoms within 1.2 times the sum of their covalent radii, each once."""
    first, second = neighbor_list("ij", atoms, natural_cutoffs(atoms, mult=1.2))
    return np.stack([first, second], 1)[first < second]


def bond_lengths(atoms: Atoms, pairs: np.ndarray) -> np.ndarray:
    """(P,) Å, by the minimum image where the system is periodic."""
    vectors = atoms.positions[pairs[:, 1]] - atoms.positions[pairs[:, 0]]
    return find_mic(vectors, atoms.cell, atoms.pbc)[1] if len(pairs) else np.zeros(0)
