"""Make resources/profiles.xyz, DFT energies and forces along paths off the minimum.

    python benchmarks/profiles.py

B3LYP/6-31G(2df,p), the method of QM9, by PySCF with density fitting, without breaking of spin
symmetry in stretched bonds. The paths are torsions of ten bonds, puckers of three rings, inversions
of three amines, stretches of nine bonds, and conformers of four molecules. A torsion, pucker or
inversion fixes one dihedral of four atoms and relaxes all else with GFN2-xTB; a stretch is rigid.
Frames are appended, cheap ones first; existing ones are not computed again. Rule
`convert_molecules` must have run: `qm9` of a frame is the number of its molecule in QM9.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.constraints import FixInternals
from ase.io import read
from ase.optimize import BFGS
from frames import append_frame
from tblite.ase import TBLite

from nnpipe.data.molecules import read_molecules
from nnpipe.labelling.kohn_sham import dft
from nnpipe.labelling.scf import NotConverged
from nnpipe.labelling.tight_binding import gfn2
from nnpipe.runtime.progress import progress_bar
from nnpipe.structures.bonds import (
    atoms_beyond_bond,
    bond_matrix,
    rotatable_bonds,
    spring_hessian,
    turn_bond,
)
from nnpipe.structures.smiles import canonical_smiles, from_smiles

ROOT = Path(__file__).parents[1]
PATH, DATA = ROOT / "resources/profiles.xyz", ROOT / "results/data/qm9.safetensors"
# Å, change of a bond length
STRETCHES = (-0.3, -0.2, -0.1, 0.0, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5)
# molecule: SMILES and the two atoms of the bond
BONDS = {
    "water": ("O", (0, 1)),
    "ammonia": ("N", (0, 1)),
    "methane": ("C", (0, 1)),
    "formaldehyde": ("C=O", (0, 1)),
    "fluoromethane": ("CF", (0, 1)),
    "methanol": ("CO", (0, 1)),
    "hydrazine": ("NN", (0, 1)),
    "methylamine": ("CN", (0, 1)),
    "ethane": ("CC", (0, 1)),
}
REST = (1, 2, 4, 3), (1, 2, 4, 5)  # of the ring of cyclohexane
# kind, molecule, SMILES, the four atoms of the dihedral, its values in degrees, held dihedrals
DIHEDRALS = [
    ("inversion", "ammonia", "N", (1, 2, 3, 0), range(0, 49, 8)),
    ("inversion", "methylamine", "CN", (0, 5, 6, 1), range(0, 49, 8)),
    ("inversion", "aziridine", "C1CN1", (2, 0, 1, 7), range(0, 37, 6)),
    ("torsion", "acrolein", "C=CC=O", (0, 1, 2, 3), range(0, 181, 20)),
    ("torsion", "ethanol", "CCO", (0, 1, 2, 8), range(0, 181, 30)),
    ("torsion", "butadiene", "C=CC=C", (0, 1, 2, 3), range(0, 181, 20)),
    ("torsion", "methyl vinyl ether", "C=COC", (0, 1, 2, 3), range(0, 181, 20)),
    ("torsion", "methyl acetate", "CC(=O)OC", (0, 1, 3, 4), range(0, 181, 30)),
    ("torsion", "N-methylacetamide", "CC(=O)NC", (0, 1, 3, 4), range(0, 181, 30)),
    ("torsion", "N-formylglycinamide", "O=CNCC(N)=O", (1, 2, 3, 4), range(0, 181, 30)),
    ("torsion", "propylamine", "CCCN", (0, 1, 2, 3), range(0, 181, 30)),
    ("torsion", "butane", "CCCC", (0, 1, 2, 3), range(0, 181, 30)),
    ("pucker", "cyclobutane", "C1CCC1", (0, 1, 2, 3), range(0, 37, 6)),
    ("pucker", "tetrahydrofuran", "C1CCOC1", (4, 0, 1, 2), range(0, 49, 8)),
    # chair to boat: one end of the ring moves, the rest stays
    ("pucker", "cyclohexane", "C1CCCCC1", (2, 1, 5, 0), range(130, 236, 15), REST),
]
BIPHENYL = ("torsion", "biphenyl", "c1ccccc1-c1ccccc1", (4, 5, 6, 7), (0, 30, 45, 60, 90))
DRUGS = {
    "isoniazid": "NNC(=O)c1ccncc1",
    "paracetamol": "CC(=O)Nc1ccc(O)cc1",
    "aspirin": "CC(=O)Oc1ccccc1C(=O)O",
    "dopamine": "NCCc1ccc(O)c(O)c1",
}
CONFORMERS, SAME_EV = 5, 0.01  # closer energies belong to one conformer
TURNED, TURNS = 30, np.radians((0, 60, 120, 180, 240, 300))  # geometries; angles of a bond
FMAX, MAX_STEPS = 0.01, 500  # eV/Å; of a relaxation


def relaxed(atoms: Atoms) -> Atoms:
    """Return the minimum of GFN2-xTB, under the constraints of `atoms`."""
    found = atoms.copy()
    found.calc = TBLite(method="GFN2-xTB", verbosity=0)
    with BFGS(found, logfile=None) as optimizer:
        bonded = bond_matrix(atoms.numbers, atoms.positions)
        optimizer.H0 = spring_hessian(atoms.positions, bonded) + np.eye(3 * len(atoms))
        if not optimizer.run(FMAX, MAX_STEPS):
            raise SystemExit(f"{atoms}: not relaxed")
    return found


def frame(atoms: Atoms, profile: str, molecule: str, smiles: str, **about: object) -> Atoms:
    """Return elements and rounded positions with `info`."""
    info = {"profile": profile, "molecule": molecule, "smiles": smiles} | about
    return Atoms(atoms.numbers, atoms.positions.round(6), info=info)


def named(atoms: Atoms, places: tuple[int, ...]) -> str:
    """Return the atoms of a coordinate, such as C0-C1."""
    return "-".join(f"{atoms.symbols[place]}{place}" for place in places)


def stretches(molecule: str, smiles: str, bond: tuple[int, int]) -> Iterator[Atoms]:
    """Yield a molecule with one longer or shorter bond."""
    start = relaxed(from_smiles(smiles))
    side = atoms_beyond_bond(bond_matrix(start.numbers, start.positions), *bond)
    along = start.get_distance(*bond, vector=True) / start.get_distance(*bond)
    for stretch in STRETCHES:
        atoms = start.copy()
        atoms.positions[side] += stretch * along
        yield frame(atoms, "stretch", molecule, smiles, coordinate=named(atoms, bond), at=stretch)


def turning(atoms: Atoms, dihedral: tuple[int, ...]) -> np.ndarray:
    """Return (N,) bool: the atoms that turn with the last one of a dihedral. Without a bond about
    which one side can turn, the last atom moves with its hydrogens.
    """
    _, b, c, d = dihedral
    bonded = bond_matrix(atoms.numbers, atoms.positions)
    side = atoms_beyond_bond(bonded, b, c) if bonded[b, c] else None
    if side is not None:
        return side
    moved = bonded[d] & (atoms.numbers == 1)
    moved[list(dihedral)] = False
    moved[d] = True
    return moved


def path(
    kind: str,
    molecule: str,
    smiles: str,
    dihedral: tuple[int, ...],
    values: range | tuple[int, ...],
    held: Sequence[tuple[int, ...]] = (),
) -> Iterator[Atoms]:
    """Yield a molecule with one fixed dihedral, relaxed, while `held` dihedrals keep their values
    of the minimum. Each geometry starts from its neighbour; of three sweeps through the values the
    lowest energies count.
    """
    atoms = relaxed(from_smiles(smiles))
    if atoms.get_dihedral(*dihedral) > 180:
        atoms.positions[:, 0] *= -1  # the mirror image, as the values are below
    side, start = np.flatnonzero(turning(atoms, dihedral)), atoms.get_dihedral(*dihedral)
    fixed = [[atoms.get_dihedral(*other), list(other)] for other in held]
    lowest: dict[int, Atoms] = {}
    for value in [*[v for v in values[::-1] if v < start], *values, *values[::-1]]:
        atoms = Atoms(atoms.numbers, atoms.positions)
        atoms.set_dihedral(*dihedral, value, indices=side)
        atoms.set_constraint(FixInternals(dihedrals_deg=[[value, list(dihedral)], *fixed]))
        atoms = relaxed(atoms)
        known = lowest.setdefault(value, atoms)
        if atoms.get_potential_energy() < known.get_potential_energy():
            lowest[value] = atoms
    for value in values:
        coordinate = named(atoms, dihedral)
        yield frame(lowest[value], kind, molecule, smiles, coordinate=coordinate, at=value)


def turned(smiles: str) -> Iterator[Atoms]:
    """Yield minima of GFN2-xTB after random turns of all rotatable bonds."""
    start, rng = from_smiles(smiles), np.random.default_rng(0)
    bonded = bond_matrix(start.numbers, start.positions)
    rotors = rotatable_bonds(start.numbers, start.positions, bonded)
    for _ in range(TURNED):
        atoms = start.copy()
        for rotor in rotors:
            atoms.positions = turn_bond(atoms.positions, rotor, rng.choice(TURNS))
        if (bond_matrix(atoms.numbers, atoms.positions) != bonded).any():  # atoms collide
            continue
        atoms = relaxed(atoms)
        if (bond_matrix(atoms.numbers, atoms.positions) == bonded).all():
            yield atoms


def conformers(molecule: str, smiles: str) -> Iterator[Atoms]:
    """Yield conformers at minima of GFN2-xTB, evenly spread over all found ones by energy."""
    distinct: list[Atoms] = []
    for atoms in sorted(turned(smiles), key=Atoms.get_potential_energy):
        energy = atoms.get_potential_energy()
        if not distinct or energy - distinct[-1].get_potential_energy() > SAME_EV:
            distinct.append(atoms)
    number = min(CONFORMERS, len(distinct))
    for at, place in enumerate(np.linspace(0, len(distinct) - 1, number).round().astype(int)):
        yield frame(distinct[place], "conformers", molecule, smiles, at=at)


def profiles() -> list[Iterator[Atoms]]:
    """Return the geometries of each profile, cheap ones first."""
    return [
        *(stretches(molecule, *bond) for molecule, bond in BONDS.items()),
        *(path(*dihedral) for dihedral in DIHEDRALS),
        *(conformers(*drug) for drug in DRUGS.items()),
        path(*BIPHENYL),
    ]


@cache
def qm9_numbers() -> dict[str, int]:
    """Return the numbers of the molecules of QM9 by canonical SMILES."""
    table, _ = read_molecules(DATA)
    return dict(zip(map(canonical_smiles, table.smiles), table.index.tolist(), strict=True))


def main() -> None:
    """Append the missing frames."""
    keys = ("profile", "molecule", "at")
    known = read(PATH, ":") if PATH.is_file() else []
    done = {tuple(atoms.info[key] for key in keys) for atoms in known}
    for geometries in progress_bar(profiles(), unit="profiles"):
        function = None  # starts from the density of the last geometry
        for atoms in geometries:
            function, info = function or dft(atoms.numbers, fast=True), atoms.info
            if tuple(info[key] for key in keys) in done:
                continue
            try:
                energy, forces = function(atoms.positions)
            except NotConverged as error:
                print(info, error)
                continue
            info["gfn2_energy"] = round(gfn2(atoms.numbers)(atoms.positions)[0], 6)
            if number := qm9_numbers().get(canonical_smiles(info["smiles"])):
                info["qm9"] = number
            append_frame(PATH, atoms, energy, forces)


if __name__ == "__main__":
    main()
