"""Molecules from SMILES, by RDKit."""

from typing import Any

from ase import Atoms

from ..errors import InputError


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
