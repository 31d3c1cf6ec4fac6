"""Make resources/forces.xyz, DFT reference forces off the minimum.

    python benchmarks/reference_forces.py small results/data/qm9.safetensors results/data/split.csv
    python benchmarks/reference_forces.py frames results/md/gnn_aspirin.xyz aspirin

B3LYP/6-31G(2df,p), the method of QM9, by PySCF with density fitting. `small` draws 100 molecules of
at most five heavy atoms outside the training and validation sets and runs 0.5 ps of GFN2-xTB
dynamics at 500 K for each. `frames` takes twelve evenly spaced frames of a trajectory. Results are
appended; existing frames are not computed again.
"""

import sys
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import thermalize_momenta
from tblite.ase import TBLite

from nnpipe.data.molecules import read_molecules
from nnpipe.data.qm9 import SADDLE_POINTS
from nnpipe.data.splits import read_split
from nnpipe.labelling.methods import NotConverged, dft, gfn2
from nnpipe.runtime.progress import progress_bar

PATH = Path(__file__).parents[1] / "resources/forces.xyz"
MOLECULES, HEAVY, TEMPERATURE_K, LENGTH_FS, FRAMES = 100, 5, 500, 500, 12


def heated(atoms: Atoms, seed: int) -> Atoms:
    """Return the geometry after a short run with GFN2-xTB."""
    rng = np.random.default_rng(seed)
    atoms.calc = TBLite(method="GFN2-xTB", verbosity=0)
    thermalize_momenta(atoms, TEMPERATURE_K, rng=rng)
    Langevin(
        atoms, units.fs, temperature_K=TEMPERATURE_K, friction=0.02 / units.fs, rng=rng, fixcm=False
    ).run(LENGTH_FS)
    return Atoms(atoms.numbers, atoms.positions)


def small(molecules: str, split: str) -> list[Atoms]:
    """Return molecules at their minima, with their number in QM9 in `info`."""
    table, _ = read_molecules(molecules)
    parts = read_split(split, table.index)
    free = np.setdiff1d(
        np.arange(len(table)), np.concatenate([parts["train"], parts["validation"]])
    )
    found = []
    for row in free:
        index, z, pos = table.geometry(row)
        atoms = Atoms(z, pos)
        if (atoms.numbers > 1).sum() <= HEAVY and len(atoms) > 2 and index not in SADDLE_POINTS:
            atoms.info = {"reference": "QM9, 500 K", "qm9": index}
            found.append(atoms)
    chosen = np.random.default_rng(0).permutation(len(found))[:MOLECULES]
    return [found[number] for number in chosen]


def frames(trajectory: str, name: str) -> list[Atoms]:
    """Return evenly spaced frames without the first one."""
    every = read(trajectory, ":")
    chosen = [every[n] for n in np.linspace(0, len(every) - 1, FRAMES + 1).round().astype(int)[1:]]
    for number, atoms in enumerate(chosen):
        atoms.info = {"reference": name, "frame": number}
        atoms.calc = None
    return [Atoms(a.numbers, a.positions, info=a.info) for a in chosen]


def main(kind: str, *arguments: str) -> None:
    """Append the missing frames."""
    keys = ("reference", "qm9", "frame")
    known = read(PATH, ":") if PATH.is_file() else []
    done = {tuple(atoms.info.get(key) for key in keys) for atoms in known}
    for atoms in progress_bar({"small": small, "frames": frames}[kind](*arguments), unit="frames"):
        info = atoms.info
        if tuple(info.get(key) for key in keys) in done:
            continue
        try:
            atoms = heated(atoms, info["qm9"]) if kind == "small" else atoms
            atoms.positions = atoms.positions.round(6)
            energy, forces = dft(atoms.numbers, fast=True)(atoms.positions)
            cheap = gfn2(atoms.numbers)(atoms.positions)[1]
        except NotConverged as error:
            print(info, error)
            continue
        frame = Atoms(atoms.numbers, atoms.positions, info=info)
        frame.set_array("gfn2_forces", cheap.round(5))
        frame.calc = SinglePointCalculator(frame, energy=energy, forces=forces.round(5))
        write(PATH, frame, format="extxyz", append=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
