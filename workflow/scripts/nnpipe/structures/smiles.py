"""Molecules from SMILES, by RDKit."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import vdw_radii
from scipy.spatial.transform import Rotation

from ..errors import InputError
from .elements import Element, atoms_of

log = logging.getLogger(__name__)
MAX_STRETCH_A = 0.15  # of a multiple bond by MMFF94, which has single bonds in N2 and CO2
MAX_HEAVY_ATOMS = 60  # of one molecule; the conformer of a chain of 60 carbon atoms takes 2 s
MAX_EMBEDDINGS = 50  # tries before a molecule, such as an impossible cage, is refused
CONTACT_GAP_A = 0.15  # between the van der Waals surfaces of molecules side by side


def _plain(molecule) -> str:
    """Return the SMILES of RDKit's molecule without its hydrogens."""
    from rdkit import Chem, rdBase

    with rdBase.BlockLogs():
        return Chem.MolToSmiles(Chem.RemoveHs(molecule))


def canonical_smiles(smiles: str, stereo: bool = True) -> str:
    """Return RDKit's SMILES of a molecule, or the text itself if RDKit cannot parse it.

    Without `stereo`, stereoisomers have one SMILES.
    """
    from rdkit import Chem, rdBase

    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(smiles)
    return Chem.MolToSmiles(molecule, isomericSmiles=stereo) if molecule else smiles


def matches(smiles: Sequence[str], smarts: str) -> np.ndarray:
    """Return for each SMILES whether its molecule contains the pattern (M,), False if it is empty.

    Raises InputError for a pattern that RDKit cannot parse.
    """
    from rdkit import Chem, rdBase

    with rdBase.BlockLogs():
        if (pattern := Chem.MolFromSmarts(smarts)) is None:
            raise InputError(f"SMARTS {smarts!r} does not parse; check brackets and ring digits")
        found = map(Chem.MolFromSmiles, smiles)
        return np.array([bool(one and one.HasSubstructMatch(pattern)) for one in found], bool)


def parse_smiles(smiles: str) -> list[Any]:
    """Return RDKit's molecules with explicit hydrogens, one per part of the SMILES between dots.

    Warns of zwitterions. Raises InputError for a SMILES that RDKit cannot parse, a bond that is not
    single, double, triple or aromatic, a charge, unpaired electrons, an unknown isotope or a
    molecule of more than `MAX_HEAVY_ATOMS`.
    """
    from rdkit import Chem, rdBase

    if len(smiles.split()) > 1:
        raise InputError(f"SMILES {smiles!r} has a space; join molecules with a dot, as in CCO.CCN")
    if bond := re.search(r"[~$]|<-|->", smiles):
        raise InputError(
            f"SMILES {smiles!r} has the bond {bond[0]!r}; write a single, double, triple or"
            " aromatic bond: - = # :"
        )
    with rdBase.BlockLogs():
        whole = Chem.MolFromSmiles(smiles)
    if whole is None or not whole.GetNumAtoms():
        raise InputError(f"SMILES {smiles!r} does not parse; check brackets, ring digits, valences")
    molecules = [Chem.AddHs(part) for part in Chem.GetMolFrags(whole, asMols=True)]
    for molecule in molecules:
        if (heavy := molecule.GetNumHeavyAtoms()) > MAX_HEAVY_ATOMS:
            raise InputError(
                f"SMILES {smiles!r} has {heavy} heavy atoms, more than"
                f" {MAX_HEAVY_ATOMS}, for which no conformer is searched; give a structure file"
            )
        if any(
            bond.GetBondType() == Chem.BondType.AROMATIC and not bond.IsInRing()
            for bond in molecule.GetBonds()
        ):
            raise InputError(f"SMILES {smiles!r} has an aromatic bond outside rings; write - or =")
        charge = Chem.GetFormalCharge(molecule)
        unpaired = sum(atom.GetNumRadicalElectrons() for atom in molecule.GetAtoms())
        if charge or unpaired:
            part = f" of {smiles!r}" if len(molecules) > 1 else ""
            raise InputError(
                f"SMILES {_plain(molecule) if part else smiles!r}{part}"
                f" has charge {charge:+d} and {unpaired} unpaired electrons; the models support"
                " neutral closed-shell molecules only"
            )
        for atom in molecule.GetAtoms():
            if atom.GetIsotope() and not _element(atom).mass:
                raise InputError(
                    f"SMILES {smiles!r}: {atom.GetSymbol()} has no isotope {atom.GetIsotope()};"
                    " correct the number"
                )
        if any(_is_lone_charge(atom) for atom in molecule.GetAtoms()):
            log.warning(
                "SMILES %r is a zwitterion: the models describe molecules in vacuum, where a proton"
                " may move; the neutral form is safer", smiles,
            )  # fmt: skip
    return molecules


def read_smiles(path: str | Path, elements: Sequence[int]) -> list[str]:
    """Return the canonical SMILES of the molecules in a file, sorted, each once.

    The file has one SMILES per line; a line that starts with # is a comment. Raises InputError for
    a file without a SMILES, a line that is not one molecule, see `parse_smiles`, and an atom that
    is not one of `elements`.
    """
    from rdkit import Chem

    found = set()
    try:
        lines = Path(path).read_text().splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {error}; give a text file with one SMILES per line") from None
    for number, line in enumerate(lines, 1):
        if not (smiles := line.strip()) or smiles.startswith("#"):
            continue
        try:
            molecule, *more = parse_smiles(smiles)
        except InputError as error:
            raise InputError(f"{path}, line {number}: {error}") from None
        if more:
            raise InputError(
                f"{path}, line {number}: SMILES {smiles!r} has several molecules; write one per"
                " line"
            )
        for atom in molecule.GetAtoms():
            if atom.GetAtomicNum() not in elements:
                known = " ".join(map(Chem.GetPeriodicTable().GetElementSymbol, elements))
                raise InputError(
                    f"{path}, line {number}: SMILES {smiles!r} has the element"
                    f" {atom.GetSymbol()}, which the training set lacks ({known}); remove the line"
                )
        found.add(_plain(molecule))
    if not found:
        raise InputError(f"{path}: holds no SMILES; add one per line")
    return sorted(found)


def from_smiles(smiles: str, seed: int = 0) -> Atoms:
    """Return a conformer of each molecule, the molecules side by side in the order of the SMILES.

    Conformers are embedded by ETKDGv3 (https://doi.org/10.1021/acs.jcim.0c00025) and relaxed with
    MMFF94 where it has parameters that keep the bonds. Isotopes keep their masses.

    Raises InputError, see `parse_smiles`, and for a molecule that RDKit cannot embed.
    """
    from rdkit import rdBase

    rng, atoms = np.random.default_rng(seed), Atoms()
    for molecule in parse_smiles(smiles):
        with rdBase.BlockLogs():
            conformer = _conformer(molecule, smiles, seed)
        if len(atoms):
            _place_beside(atoms, conformer, rng)
        atoms += conformer
    return atoms


def _conformer(molecule: Any, smiles: str, seed: int) -> Atoms:
    from rdkit.Chem import rdDistGeom, rdForceFieldHelpers

    parameters: Any = rdDistGeom.ETKDGv3()
    parameters.randomSeed = seed
    parameters.maxIterations = MAX_EMBEDDINGS
    if rdDistGeom.EmbedMolecule(molecule, parameters):
        parameters.useRandomCoords = True
        if rdDistGeom.EmbedMolecule(molecule, parameters):
            raise InputError(f"SMILES {smiles!r}: no 3-D geometry found; give a structure file")
    positions = molecule.GetConformer().GetPositions()
    if rdForceFieldHelpers.MMFFHasAllMoleculeParams(molecule):
        multiple = [b for b in molecule.GetBonds() if b.GetBondTypeAsDouble() > 1]
        ends = np.array([(b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in multiple], int)
        rdForceFieldHelpers.MMFFOptimizeMolecule(molecule, maxIters=2000)
        relaxed = molecule.GetConformer().GetPositions()
        before, after = (
            np.linalg.norm(np.subtract(*where[ends.reshape(-1, 2).T]), axis=1)
            for where in (positions, relaxed)
        )
        if (after - before).max(initial=0) < MAX_STRETCH_A:
            positions = relaxed
    return atoms_of([_element(atom) for atom in molecule.GetAtoms()], positions)


def _place_beside(atoms: Atoms, other: Atoms, rng: np.random.Generator) -> None:
    """Turn `other` at random and move it towards `atoms` until van der Waals surfaces touch."""
    other.positions = Rotation.random(rng=rng).apply(other.positions)
    direction = rng.normal(size=3)
    direction /= np.linalg.norm(direction)
    # the outermost atoms lie on one line, so that the molecules cannot miss each other
    last = atoms.positions[(atoms.positions @ direction).argmax()]
    other.positions += last - other.positions[(other.positions @ direction).argmin()]
    apart = other.positions - atoms.positions[:, None]
    radii = np.nan_to_num(vdw_radii, nan=2.0)
    contact = radii[atoms.numbers][:, None] + radii[other.numbers] + CONTACT_GAP_A
    along = apart @ direction
    # the largest shift at which a pair is at contact: |apart + shift * direction| = contact
    square = along**2 - (apart**2).sum(-1) + contact**2
    other.positions += (np.sqrt(square[square >= 0]) - along[square >= 0]).max() * direction


def _element(atom: Any) -> Element:
    """Return the element or isotope of RDKit's atom."""
    return Element(atom.GetAtomicNum(), atom.GetIsotope())


def _is_lone_charge(atom: Any) -> bool:
    """Return whether RDKit's atom has a charge and no neighbour of opposite charge."""
    charge = atom.GetFormalCharge()
    return bool(charge) and all(charge * n.GetFormalCharge() >= 0 for n in atom.GetNeighbors())
