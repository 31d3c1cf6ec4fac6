"""Make resources/dft_frames.xyz, DFT energies and forces of small QM9 molecules off the minimum.

    python benchmarks/dft_frames.py                 # 260 molecules
    python benchmarks/dft_frames.py --molecules 500
    python benchmarks/dft_frames.py --part 0 2      # every second molecule, for two processes

The teacher is fitted to this file, so that its molecules are never in a validation or test set.
B3LYP/6-31G(2df,p), the method of QM9, by PySCF with density fitting; energies (eV) are U0 - ZPVE on
QM9's scale. Molecules with 2 to 7 heavy atoms are chosen one after the other for the chemistry that
the earlier ones lack, cheap ones first. Each has two distorted geometries: hot, with a turned or
with a strained bond. Frames are appended; existing ones are not computed again. Rule
`split_molecules` must have run with seed 0. Its validation and test molecules and the molecules of
resources/forces.xyz are left out.
"""

import argparse
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write
from rdkit import Chem, RDLogger
from rdkit.Chem.rdFingerprintGenerator import GetMorganGenerator

from nnpipe.data.molecules import Molecules, read_molecules
from nnpipe.data.qm9 import SADDLE_POINTS
from nnpipe.labelling.distortions import DistortionSampler
from nnpipe.labelling.kohn_sham import dft
from nnpipe.labelling.scf import NotConverged
from nnpipe.labelling.settings import Settings
from nnpipe.runtime.progress import progress_bar

ROOT = Path(__file__).parents[1]
PATH, DATA = ROOT / "resources/dft_frames.xyz", ROOT / "results/data"
HEAVY = (2, 7)  # range of the number of heavy atoms
HELD_OUT = 21000  # first molecules of a split with seed 0: 10,831 for test, 10,000 for validation
SAMPLE = 20000  # molecules of QM9 whose chemistry counts
GEOMETRIES = 2
# seconds of DFT grow about like this power of the number of atoms
COST_EXPONENT = 2.2
SETTINGS = Settings(
    temperature_min_k=300, temperature_max_k=1500, torsion_fraction=0.3, strain_fraction=0.2
)


def environments(smiles: str) -> set[int]:
    """Return hashes of all atoms with their neighbours up to two bonds away."""
    molecule = Chem.MolFromSmiles(smiles)
    if molecule is None:
        return set()
    return set(
        GetMorganGenerator(radius=2).GetSparseCountFingerprint(molecule).GetNonzeroElements()
    )


def choose(table: Molecules, rows: np.ndarray, everything: np.ndarray, number: int) -> list[int]:
    """Return `number` of the `rows` in the order of choice.

    An environment weighs the root of its number in the sample `everything`, divided by how often
    it was chosen.
    """
    weights: dict[int, float] = {}
    for row in everything:
        for bit in environments(table.smiles[row]):
            weights[bit] = weights.get(bit, 0) + 1
    found = {row: environments(table.smiles[row]) for row in rows.tolist()}
    atoms = np.diff(table.ptr)
    chosen: list[int] = []
    times: dict[int, int] = {}
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


def main() -> None:
    """Append the missing frames."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--molecules", type=int, default=260)
    parser.add_argument("--part", type=int, nargs=2, default=(0, 1))
    options = parser.parse_args()
    RDLogger.DisableLog("rdApp.*")
    table, _ = read_molecules(DATA / "qm9.safetensors")
    known = read(PATH, ":") if PATH.is_file() else []
    done = {(atoms.info["qm9"], atoms.info["geometry"]) for atoms in known}
    order = np.random.default_rng(0).permutation(len(table))
    heavy = np.add.reduceat(np.asarray(table.z) > 1, table.ptr[:-1], dtype=int)
    fits = (heavy >= HEAVY[0]) & (heavy <= HEAVY[1])
    tested = [
        atoms.info["qm9"]
        for atoms in read(ROOT / "resources/forces.xyz", ":")
        if "qm9" in atoms.info
    ]
    fits &= ~np.isin(table.index, [*tested, *SADDLE_POINTS])
    fits[order[:HELD_OUT]] = False
    chosen = choose(
        table, np.flatnonzero(fits), order[HELD_OUT : HELD_OUT + SAMPLE], options.molecules
    )
    part, parts = options.part
    for row in progress_bar(chosen[part::parts], unit="molecules"):
        index, z, pos = table.geometry(row)
        sampler, function = DistortionSampler(z, pos, SETTINGS), dft(z, fast=True)
        rng = np.random.default_rng(index)
        for number in range(GEOMETRIES):
            drawn = sampler.draw(rng)
            if drawn is None or (index, number) in done:
                continue
            try:
                energy, forces = function(drawn.round(6))
            except NotConverged as error:
                print(index, number, error)
                continue
            info = {"qm9": index, "smiles": table.smiles[row], "geometry": number}
            frame = Atoms(z, drawn.round(6), info=info)
            frame.calc = SinglePointCalculator(
                frame, energy=round(energy, 6), forces=forces.round(5)
            )
            write(PATH, frame, format="extxyz", append=True)


if __name__ == "__main__":
    main()
