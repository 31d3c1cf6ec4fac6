"""Make resources/dft_frames.xyz, DFT energies and forces of small QM9 molecules off the minimum.

    python benchmarks/dft_frames.py                 # 260 molecules
    python benchmarks/dft_frames.py --molecules 500
    python benchmarks/dft_frames.py --part 0 2      # every second molecule, for two processes

The teacher is fitted to this file, so that its molecules are never in a validation or test set.
B3LYP/6-31G(2df,p), the method of QM9, by PySCF with density fitting; energies (eV) are U0 - ZPVE on
QM9's scale. Molecules with 2 to 7 heavy atoms are chosen one after the other for the chemistry that
the earlier ones lack, cheap ones first. Each has two distorted geometries: hot, with a turned or
with a strained bond. Rotors have four geometries with a turned bond: molecules that QM9 lacks, and
some that are chosen for their rotatable bonds. Frames are appended; existing ones are not computed
again. Rule `split_molecules` must have run with seed 0. Its validation and test molecules and the
molecules of resources/forces.xyz and, as rotors, of resources/profiles.xyz are left out.
"""

import argparse
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import read
from ase.optimize import BFGS
from frames import append_frame
from rdkit import Chem, RDLogger
from rdkit.Chem.rdFingerprintGenerator import GetMorganGenerator
from tblite.ase import TBLite

from nnpipe.data.molecules import Molecules, read_molecules
from nnpipe.data.qm9 import SADDLE_POINTS
from nnpipe.labelling.distortions import DistortionSampler
from nnpipe.labelling.kohn_sham import dft
from nnpipe.labelling.scf import NotConverged
from nnpipe.labelling.settings import Settings
from nnpipe.runtime.progress import progress_bar
from nnpipe.structures.bonds import turn_bond
from nnpipe.structures.smiles import from_smiles

ROOT = Path(__file__).parents[1]
PATH, DATA = ROOT / "resources/dft_frames.xyz", ROOT / "results/data"
HEAVY = (2, 7)  # range of the number of heavy atoms
HELD_OUT = 21000  # first molecules of a split with seed 0: 10,831 for test, 10,000 for validation
SAMPLE = 20000  # molecules of QM9 whose chemistry counts
GEOMETRIES, TURNED, SCANNED = 2, 4, 4  # of a molecule, of a rotor, of one that QM9 lacks
ROTORS = 20  # molecules of QM9 that are chosen for their rotatable bonds
# conjugated and small ones that QM9 lacks; their minima are of GFN2-xTB
MORE_ROTORS = (
    "C=CC(C)=C", "CC=CC=C", "C=C(C)C=O", "CC(=O)C=C", "NC(=O)C=C", "OC(=O)C=C", "OC=C", "NC=C",
    "CCOC=C", "COC(=O)C=C", "C=COC=O", "C=CNC=O", "C=Cc1ccco1", "C=Cc1ccccc1", "C=CC=N",
    "C=Cc1ccc[nH]1", "C=CC(F)=C", "CC=NO", "C=NN", "NC(N)=N", "NC=N", "CC(=O)O", "CCF", "NCCO",
    "CNN", "CNO", "CON", "C=CC", "CC=NC", "CN=NC", "CCC=C", "CCC(=O)O",
)  # fmt: skip
# seconds of DFT grow about like this power of the number of atoms
COST_EXPONENT = 2.2
SETTINGS = Settings(
    temperature_min_k=300, temperature_max_k=1500, torsion_fraction=0.3, strain_fraction=0.2
)
TURNING = Settings(
    temperature_min_k=50, temperature_max_k=300, torsion_fraction=1.0, strain_fraction=0.0
)
TURNED_SETTINGS = replace(TURNING, torsion_fraction=0.0)
# a single bond outside rings between heavy atoms that have further neighbours in two directions
ROTOR = Chem.MolFromSmarts("[!D1;!$(*#*)]-;!@[!D1;!$(*#*)]")


def environments(molecule: Chem.Mol) -> Iterable[Hashable]:
    """Return hashes of all atoms with their neighbours up to two bonds away."""
    return GetMorganGenerator(radius=2).GetSparseCountFingerprint(molecule).GetNonzeroElements()


def rotors(molecule: Chem.Mol) -> Iterable[Hashable]:
    """Return the kinds of rotatable bonds: by their two atoms, and with the neighbours of these."""
    for pair in molecule.GetSubstructMatches(ROTOR):
        ends = [molecule.GetAtomWithIdx(place) for place in pair]
        atoms = [(atom.GetSymbol(), atom.GetTotalDegree()) for atom in ends]
        bonds = [
            sorted(
                (str(b.GetBondType()), b.GetOtherAtom(atom).GetSymbol()) for b in atom.GetBonds()
            )
            for atom in ends
        ]
        yield tuple(sorted(atoms))
        yield str(sorted(zip(atoms, bonds, strict=True)))


def choose(
    table: Molecules,
    rows: np.ndarray,
    everything: np.ndarray,
    number: int,
    features: Callable[[Chem.Mol], Iterable[Hashable]],
) -> list[int]:
    """Return `number` of the `rows` in the order of choice.

    A feature weighs the root of its number in the sample `everything`, divided by how often it was
    chosen.
    """

    def of(row: int) -> set[Hashable]:
        molecule = Chem.MolFromSmiles(table.smiles[row])
        return set() if molecule is None else set(features(molecule))

    weights: dict[Hashable, float] = {}
    for row in everything.tolist():
        for bit in of(row):
            weights[bit] = weights.get(bit, 0) + 1
    found = {row: of(row) for row in rows.tolist()}
    atoms = np.diff(table.ptr)
    chosen: list[int] = []
    times: dict[Hashable, int] = {}
    while found and len(chosen) < number:
        best = max(
            found,
            key=lambda row: (
                sum(weights.get(bit, 1) ** 0.5 / 3 ** times.get(bit, 0) for bit in found[row])
                / float(atoms[row]) ** COST_EXPONENT
            ),
        )
        for bit in found.pop(best):
            times[bit] = times.get(bit, 0) + 1
        chosen.append(best)
    return chosen


def frames_of(name: str) -> list[int]:
    """Return the numbers in QM9 of the molecules of a file of resources/."""
    frames = read(ROOT / "resources" / name, ":")
    return [int(atoms.info["qm9"]) for atoms in frames if "qm9" in atoms.info]


def lacking(smiles: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the elements and the positions (N, 3) Å of a molecule at its minimum in GFN2-xTB."""
    atoms = from_smiles(smiles)
    atoms.calc = TBLite(method="GFN2-xTB", verbosity=0)
    BFGS(atoms, logfile=None).run(0.01, 500)
    return atoms.numbers, atoms.positions


def geometries(
    z: np.ndarray, pos: np.ndarray, settings: Settings, index: int | None
) -> Iterator[tuple[int, np.ndarray | None]]:
    """Yield the numbers of geometries and their positions (N, 3) Å, None if atoms clash.

    `index` is the number of the molecule in QM9, None if QM9 lacks it.
    """
    sampler, seed = DistortionSampler(z, pos, settings), index or 0
    if settings is not TURNING:
        rng = np.random.default_rng(seed)
        yield from ((number, sampler.draw(rng)) for number in range(GEOMETRIES))
        return
    rng = np.random.default_rng([seed, 1])
    yield from ((number, sampler.draw(rng)) for number in range(GEOMETRIES, GEOMETRIES + TURNED))
    if index is not None:
        return
    # the bonds between heavy atoms of a molecule that QM9 lacks turn in even steps
    bonds = [rotor for rotor in sampler.rotors if rotor.is_single and rotor.is_chain]
    for step in range(SCANNED if bonds else 0):
        angle = 2 * np.pi * (step + rng.uniform()) / SCANNED
        turned = turn_bond(pos, bonds[step % len(bonds)], angle)
        drawn = DistortionSampler(z, turned, TURNED_SETTINGS).draw(rng)
        yield GEOMETRIES + TURNED + step, drawn


def main() -> None:
    """Append the missing frames."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--molecules", type=int, default=260)
    parser.add_argument("--part", type=int, nargs=2, default=(0, 1))
    options = parser.parse_args()
    RDLogger.DisableLog("rdApp.*")
    table, _ = read_molecules(DATA / "qm9.safetensors")
    known = read(PATH, ":") if PATH.is_file() else []
    done = {(atoms.info["smiles"], atoms.info["geometry"]) for atoms in known}
    order = np.random.default_rng(0).permutation(len(table))
    heavy = np.add.reduceat(np.asarray(table.z) > 1, table.ptr[:-1], dtype=int)
    fits = (heavy >= HEAVY[0]) & (heavy <= HEAVY[1])
    tested = frames_of("forces.xyz")
    fits &= ~np.isin(table.index, [*tested, *SADDLE_POINTS])
    fits[order[:HELD_OUT]] = False
    sample = order[HELD_OUT : HELD_OUT + SAMPLE]
    turned = np.flatnonzero(fits & ~np.isin(table.index, frames_of("profiles.xyz")))
    work = [({"smiles": smiles}, *lacking(smiles), TURNING) for smiles in MORE_ROTORS]
    for rows, features, number, settings in (
        (turned, rotors, ROTORS, TURNING),
        (np.flatnonzero(fits), environments, options.molecules, SETTINGS),
    ):
        for row in choose(table, rows, sample, number, features):
            index, *minimum = table.geometry(row)
            work.append(({"qm9": index, "smiles": table.smiles[row]}, *minimum, settings))
    part, parts = options.part
    for about, z, pos, settings in progress_bar(work[part::parts], unit="molecules"):
        function = dft(z, fast=True)
        for number, drawn in geometries(z, pos, settings, about.get("qm9")):
            info = about | {"geometry": number}
            if drawn is None or (about["smiles"], number) in done:
                continue
            try:
                energy, forces = function(drawn.round(6))
            except NotConverged as error:
                print(info, error)
                continue
            append_frame(PATH, Atoms(z, drawn.round(6), info=info), energy, forces)


if __name__ == "__main__":
    main()
