"""Make resources/tiny_molecules.xyz, labels of molecules of 1 to 3 heavy atoms that QM9 lacks.

    python benchmarks/tiny_molecules.py

B3LYP/6-31G(2df,p) by PySCF in the basis of QM9, with density fitting: energies (eV) on the scale of
`energy` of QM9, U0 - ZPVE. The minimum of a molecule comes first, the number in `info` is negative.
A diatomic molecule has a grid of distances near its minimum, where a restricted determinant holds;
other molecules have drawn distortions. Frames are appended; existing ones are not computed again.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.io import read
from frames import append_frame
from tblite.ase import TBLite

from nnpipe.labelling.distortions import DistortionSampler
from nnpipe.labelling.kohn_sham import dft
from nnpipe.labelling.scf import NotConverged
from nnpipe.labelling.settings import Settings
from nnpipe.runtime.progress import progress_bar
from nnpipe.simulation.relax import relax
from nnpipe.structures.smiles import from_smiles

PATH = Path(__file__).parents[1] / "resources/tiny_molecules.xyz"
# the most common ones first: the file is usable whenever the script is stopped
MOLECULES = (
    "[H][H]", "N#N", "[C-]#[O+]", "[H]F", "FF", "O=C=O", "N#[N+][O-]", "[O-][O+]=O", "OO", "NN",
    "C=C", "N=O", "OF", "N=C=O", "CF", "CN", "C=N", "N=N", "[C-]#[NH+]", "FC#N", "OC=O", "NO",
    "C=C=O", "NF", "O(F)F", "FCF", "FN=O", "ON=O", "N=[N+]=[N-]", "C=[N+]=[N-]", "C=C=C", "O=CF",
    "FNF", "OC#N", "C=CF", "COF", "OOC", "NC#N", "C=NO", "CN=O",
)  # fmt: skip
DISTANCES = np.linspace(0.75, 1.35, 13)  # of diatomic molecules, in lengths at the minimum
DISTORTIONS = 8
SETTINGS = Settings(temperature_min_k=100, strain_fraction=0.3)
FMAX = 0.01  # eV/Å


class Dft(Calculator):
    """ASE calculator of `dft`."""

    implemented_properties = ("energy", "forces")

    def __init__(self, numbers: np.ndarray) -> None:
        super().__init__()
        self.function = dft(numbers, fast=True)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Store the energy (eV) and the forces (eV/Å)."""
        super().calculate(atoms, properties, system_changes)
        energy, forces = self.function(self.atoms.positions)
        self.results = {"energy": energy, "forces": forces}


def minimum(smiles: str) -> Atoms:
    """Return the molecule at its minimum, relaxed with GFN2-xTB first."""
    rough, _ = relax(from_smiles(smiles), TBLite(method="GFN2-xTB", verbosity=0), 0.05, 200)
    found, converged = relax(rough, Dft(rough.numbers), FMAX, 60)
    if not converged:
        raise NotConverged(f"{smiles}: not relaxed")
    return Atoms(found.numbers, found.positions.round(6))


def geometries(atoms: Atoms) -> list[np.ndarray]:
    """Return geometries (N, 3) Å around the minimum `atoms`, which is the first one."""
    if len(atoms) == 2:
        centred = atoms.positions - atoms.positions.mean(0)
        return [atoms.positions, *(centred * factor for factor in DISTANCES if factor != 1)]
    sampler = DistortionSampler(atoms.numbers, atoms.positions, SETTINGS)
    rng = np.random.default_rng(SETTINGS.seed)
    drawn = [sampler.draw(rng) for _ in range(DISTORTIONS)]
    return [atoms.positions, *(pos for pos in drawn if pos is not None)]


def append(numbers: np.ndarray, pos: np.ndarray, info: dict[str, Any], calc: Calculator) -> None:
    """Label a geometry and append it to the file."""
    frame = Atoms(numbers, pos.round(6), info=info, calculator=calc)
    append_frame(PATH, frame, frame.get_potential_energy(), frame.get_forces())


def main() -> None:
    """Append the missing frames."""
    known = {
        (frame.info["smiles"], frame.info["geometry"]): frame
        for frame in (read(PATH, ":") if PATH.is_file() else [])
    }
    for smiles in progress_bar(MOLECULES, unit="molecules"):
        try:
            atoms = known.get((smiles, 0)) or minimum(smiles)
        except NotConverged as error:
            print(error)
            continue
        calc = Dft(atoms.numbers)
        for number, pos in enumerate(geometries(atoms)):
            info = {"smiles": smiles, "geometry": number}
            if (smiles, number) not in known:
                try:
                    append(atoms.numbers, pos, info, calc)
                except NotConverged as error:
                    print(info, error)


if __name__ == "__main__":
    main()
