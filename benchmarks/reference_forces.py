"""Make resources/forces.xyz, DFT reference forces off the minimum.

    python benchmarks/reference_forces.py small results/data/qm9.safetensors results/data/split.csv
    python benchmarks/reference_forces.py frames results/md/gnn_aspirin.xyz aspirin
    python benchmarks/reference_forces.py large
    python benchmarks/reference_forces.py large 0 2  # every second molecule, for two processes

B3LYP/6-31G(2df,p), the method of QM9, by PySCF with density fitting. `small` draws 100 molecules of
at most five heavy atoms outside the training and validation sets and runs 0.5 ps of GFN2-xTB
dynamics at 500 K for each. `frames` takes twelve evenly spaced frames of a trajectory. `large`
takes two runs at 500 K, of 0.5 and 1 ps, of each molecule of LARGE, which are larger than any in
QM9. Results are appended; existing frames are not computed again.
"""

import sys
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.io import read
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import thermalize_momenta
from frames import append_frame
from tblite.ase import TBLite

from nnpipe.data.molecules import read_molecules
from nnpipe.data.qm9 import SADDLE_POINTS
from nnpipe.data.splits import read_split
from nnpipe.labelling.kohn_sham import dft
from nnpipe.labelling.scf import NotConverged
from nnpipe.labelling.tight_binding import gfn2
from nnpipe.runtime.progress import progress_bar
from nnpipe.structures.smiles import from_smiles

PATH = Path(__file__).parents[1] / "resources/forces.xyz"
MOLECULES, HEAVY, TEMPERATURE_K, LENGTH_FS, FRAMES = 100, 5, 500, 500, 12
# 10 to 19 heavy atoms, cheap molecules first
LARGE = {
    "2-(trifluoromethyl)pyridine": "FC(F)(F)c1ccccn1",
    "coumarin": "O=c1ccc2ccccc2o1",
    "9-methyladenine": "Cn1cnc2c(N)ncnc12",
    "4-fluoroacetanilide": "CC(=O)Nc1ccc(F)cc1",
    "methyl salicylate": "COC(=O)c1ccccc1O",
    "4-(dimethylamino)benzonitrile": "CN(C)c1ccc(C#N)cc1",
    "alanine dipeptide": "CC(=O)N[C@@H](C)C(=O)NC",
    "glucose": "OC[C@H]1O[C@@H](O)[C@H](O)[C@@H](O)[C@@H]1O",
    "caffeine": "Cn1cnc2c1c(=O)n(C)c(=O)n2C",
    "4-phenylmorpholine": "c1ccc(N2CCOCC2)cc1",
    "nicotine": "CN1CCC[C@H]1c1cccnc1",
    "amantadine": "NC12CC3CC(CC(C3)C1)C2",
    "ibuprofen": "CC(C)Cc1ccc(cc1)C(C)C(=O)O",
    "leflunomide": "Cc1oncc1C(=O)Nc1ccc(cc1)C(F)(F)F",
    "melatonin": "CC(=O)NCCc1c[nH]c2ccc(OC)cc12",
}


def heated(atoms: Atoms, seed: int, length_fs: int = LENGTH_FS) -> Atoms:
    """Return the geometry after a short run with GFN2-xTB."""
    rng = np.random.default_rng(seed)
    atoms.calc = TBLite(method="GFN2-xTB", verbosity=0)
    thermalize_momenta(atoms, TEMPERATURE_K, rng=rng)
    Langevin(
        atoms, units.fs, temperature_K=TEMPERATURE_K, friction=0.02 / units.fs, rng=rng, fixcm=False
    ).run(length_fs)
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


def large(part: str = "0", parts: str = "1") -> list[Atoms]:
    """Return conformers of large molecules, first one of each, then the same again."""
    found = []
    for frame in range(2):
        for name in list(LARGE)[int(part) :: int(parts)]:
            atoms = from_smiles(LARGE[name])
            atoms.info = {
                "reference": "10 to 20 heavy atoms, 500 K",
                "molecule": name,
                "frame": frame,
            }
            found.append(atoms)
    return found


def main(kind: str, *arguments: str) -> None:
    """Append the missing frames."""
    keys = ("reference", "qm9", "molecule", "frame")
    known = read(PATH, ":") if PATH.is_file() else []
    done = {tuple(atoms.info.get(key) for key in keys) for atoms in known}
    kinds = {"small": small, "frames": frames, "large": large}
    for atoms in progress_bar(kinds[kind](*arguments), unit="frames"):
        info = atoms.info
        if tuple(info.get(key) for key in keys) in done:
            continue
        try:
            if kind == "small":
                atoms = heated(atoms, info["qm9"])
            elif kind == "large":
                atoms = heated(atoms, info["frame"], LENGTH_FS * (1 + info["frame"]))
            atoms.positions = atoms.positions.round(6)
            energy, forces = dft(atoms.numbers, fast=True)(atoms.positions)
            cheap = gfn2(atoms.numbers)(atoms.positions)[1]
        except NotConverged as error:
            print(info, error)
            continue
        frame = Atoms(atoms.numbers, atoms.positions, info=info)
        frame.set_array("gfn2_forces", cheap.round(5))
        append_frame(PATH, frame, energy, forces)


if __name__ == "__main__":
    main(*sys.argv[1:])
