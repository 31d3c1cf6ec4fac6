"""Uncertainties of the shipped gnn against its errors, inside and outside its training domain.

    snakemake --configfile workflow/presets/full.yaml -- results/data/neighbours.safetensors \
        results/data/split.csv results/data/correction.json
    python benchmarks/uncertainty.py

The reference is the one of the labels: the teacher with the correction, anchored at a minimum. The
minimum is QM9's for QM9 molecules and strained cages, the model's own for drug-like molecules, and
the minimum of the separated molecules for dimers. Tiny molecules have B3LYP labels
(resources/tiny_molecules.xyz), radicals plain GFN2-xTB with one unpaired electron. Geometries are
kept in results/benchmarks/uncertainty.xyz. Values go to benchmarks/results/uncertainty.csv, the
figure is docs/figures/uncertainty-light.svg and -dark.svg; `--draw` draws it from the records.
"""

import argparse
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.collections import s22
from ase.io import read, write
from ase.optimize import BFGS
from matplotlib.figure import Figure
from records import numbers, record
from scipy.sparse.csgraph import connected_components
from scipy.stats import rankdata
from tblite.ase import TBLite

from nnpipe.analysis.plots import expected_against_observed, legend_above, panels
from nnpipe.analysis.style import save_light_and_dark, styled
from nnpipe.data.molecules import read_molecules
from nnpipe.data.splits import read_split
from nnpipe.labelling.anchor import anchored
from nnpipe.labelling.correction import read_correction
from nnpipe.labelling.delta import with_delta
from nnpipe.labelling.distortions import DistortionSampler
from nnpipe.labelling.methods import method
from nnpipe.labelling.scf import NotConverged
from nnpipe.labelling.settings import Settings
from nnpipe.runtime.progress import progress_bar
from nnpipe.simulation.calculator import NeuralCalculator, load_calculator
from nnpipe.structures.bonds import bond_matrix
from nnpipe.structures.smiles import from_smiles

ROOT, DATA = Path(__file__).parents[1], Path("results/data")
PATH = Path("results/benchmarks/uncertainty.xyz")
TEST_MOLECULES, CAGES, MIN_SMALL_RINGS, LARGE_ERROR = 500, 40, 3, 0.2  # eV/Å
DISTANCES = (0.8, 0.9, 1.0, 1.2)  # of the molecules of a dimer, in distances of S22
TINY = ("[H][H]", "[C-]#[O+]", "N#N")
DRUGS = {
    "ibuprofen": "CC(C)Cc1ccc(cc1)C(C)C(=O)O",
    "naproxen": "COc1ccc2cc(ccc2c1)C(C)C(=O)O",
    "lidocaine": "CCN(CC)CC(=O)Nc1c(C)cccc1C",
    "warfarin": "CC(=O)CC(c1ccccc1)c1c(O)c2ccccc2oc1=O",
    "melatonin": "COc1ccc2[nH]cc(CCNC(C)=O)c2c1",
    "ketoprofen": "CC(C(=O)O)c1cccc(c1)C(=O)c1ccccc1",
    "fluoxetine": "CNCCC(Oc1ccc(cc1)C(F)(F)F)c1ccccc1",
    "propranolol": "CC(C)NCC(O)COc1cccc2ccccc12",
    "mescaline": "COc1cc(CCN)cc(OC)c1OC",
    "procaine": "CCN(CC)CCOC(=O)c1ccc(N)cc1",
    "testosterone": "CC12CCC3C(CCC4=CC(=O)CCC34C)C1CCC2O",
    "trialanine": "CC(NC(=O)C(C)NC(=O)C(C)NC(C)=O)C(=O)NC",
}
# the last hydrogen of each is taken away
RADICALS = ("C", "CC", "N", "O", "C=C", "C#C", "C=O", "CO", "c1ccccc1")


def relaxed(atoms: Atoms, calculator: NeuralCalculator, fmax: float = 0.01) -> Atoms:
    """Return the atoms at the next minimum of the calculator."""
    atoms = atoms.copy()
    atoms.calc = calculator
    BFGS(atoms, logfile=None).run(fmax, 500)
    return Atoms(atoms.numbers, atoms.positions)


def distorted(atoms: Atoms, number: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield at most `number` geometries that are drawn like the labelled ones."""
    sampler = DistortionSampler(atoms.numbers, atoms.positions, Settings())
    drawn = (sampler.draw(rng) for _ in range(number))
    yield from (pos for pos in drawn if pos is not None)


def geometries(calculator: NeuralCalculator) -> Iterator[Atoms]:
    """Yield geometries with reference forces; `info` has the kind."""
    correction, rng = read_correction(DATA / "correction.json"), np.random.default_rng(0)
    folder = ROOT / "resources/teacher"
    teacher = with_delta(
        method("teacher", folder / "tight_binding.toml"), folder / "model.safetensors"
    )

    def labelled(kind: str, minimum: Atoms, positions: Iterator[np.ndarray]) -> Iterator[Atoms]:
        z, rest = minimum.numbers, minimum.positions
        try:
            function = anchored(teacher(z), rest, correction(z, rest))
            for pos in positions:
                yield with_forces(kind, z, pos, function(pos)[1])
        except NotConverged as error:
            logging.warning("%s: %s", minimum.symbols, error)

    molecules, _ = read_molecules(DATA / "qm9.safetensors")
    test = read_split(DATA / "split.csv", molecules.index)["test"]
    for row in test[:TEST_MOLECULES]:
        atoms = Atoms(*molecules.geometry(row)[1:])
        yield from labelled("QM9 test", atoms, distorted(atoms, 2, rng))
    cages = 0
    for row in test[TEST_MOLECULES:]:
        atoms = Atoms(*molecules.geometry(row)[1:])
        sampler = DistortionSampler(atoms.numbers, atoms.positions, Settings())
        if sampler.max_ring_count >= MIN_SMALL_RINGS and cages < CAGES:
            cages += 1
            yield from labelled("strained cages", atoms, distorted(atoms, 3, rng))
    for smiles in DRUGS.values():
        atoms = relaxed(from_smiles(smiles), calculator)
        yield from labelled("drug-like", atoms, distorted(atoms, 4, rng))
    for name in s22.names:
        pair = s22[name]
        _, part = connected_components(bond_matrix(pair.numbers, pair.positions))
        axis = pair.positions[part == 1].mean(0) - pair.positions[part == 0].mean(0)
        apart = pair.copy()
        apart.positions[part == 1] += 10 * axis
        shifts = [np.outer(part == 1, (factor - 1) * axis) for factor in DISTANCES]
        noisy = (pair.positions + s + rng.normal(0, 0.02, (len(pair), 3)) for s in shifts)
        yield from labelled("dimers", relaxed(apart, calculator), noisy)
    for frame in read(ROOT / "resources/tiny_molecules.xyz", ":"):
        if frame.info["smiles"] in TINY:
            yield with_forces("H2, CO, N2", frame.numbers, frame.positions, frame.get_forces())
    for smiles in RADICALS:
        whole = from_smiles(smiles)
        radical = whole[:-1]
        open_shell = TBLite(method="GFN2-xTB", multiplicity=2, verbosity=0)
        minimum = relaxed(radical, open_shell, 0.02)
        minimum.calc = open_shell
        for pos in [minimum.positions, *distorted(minimum, 5, rng)]:
            minimum.positions = pos
            yield with_forces("radicals", radical.numbers, pos, minimum.get_forces())


def with_forces(kind: str, z: np.ndarray, pos: np.ndarray, forces: np.ndarray) -> Atoms:
    """Return a geometry with its reference forces (N, 3) eV/Å."""
    atoms = Atoms(z, pos, info={"kind": kind})
    atoms.calc = SinglePointCalculator(atoms, energy=0.0, forces=forces)
    return atoms


def auroc(large: np.ndarray, uncertainty: np.ndarray) -> float:
    """Return the probability that a large error has a larger uncertainty than a small one."""
    count = large.sum()
    ranks = rankdata(uncertainty)[large].sum() - count * (count + 1) / 2
    return float(ranks / (count * (len(large) - count)))


def main() -> None:
    """Evaluate all geometries and record the values, unless only the figure is wanted; draw it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draw", action="store_true", help="draw the figure from the records only")
    if not parser.parse_args().draw:
        measure()
    save_light_and_dark(figure, ROOT / "docs/figures/uncertainty.svg")


def measure() -> None:
    """Evaluate all geometries and record the values."""
    torch.set_num_threads(1)
    calculator = load_calculator("gnn", "float64")
    logging.getLogger("nnpipe.simulation.calculator").setLevel(logging.ERROR)
    if not PATH.exists():
        PATH.parent.mkdir(parents=True, exist_ok=True)
        made = list(progress_bar(geometries(calculator), unit="geometries"))
        write(PATH, made, format="extxyz")
    kinds: dict[str, list[tuple[np.ndarray, np.ndarray, bool]]] = {}
    for frame in progress_bar(read(PATH, ":"), unit="geometries"):
        error = calculator.get_forces(frame) - frame.get_forces()
        unsure = calculator.get_property("forces_uncertainty", frame)
        outside = calculator.potential.uncertainty.outside(torch.from_numpy(unsure))
        kinds.setdefault(frame.info["kind"], []).append((unsure, error, outside))
    rows, whole = [], []
    for kind, found in kinds.items():
        unsure, error = (np.concatenate([one[place] for one in found]) for place in (0, 1))
        whole.append((unsure, error))
        rows += summary(kind, unsure, error, [one[2] for one in found])
    unsure, error = (np.concatenate([one[place] for one in whole]) for place in (0, 1))
    rows += summary("all", unsure, error, [one[2] for found in kinds.values() for one in found])
    record(
        "uncertainty", "shipped", rows, model="gnn", data="see the script", split=0, seed=0,
        unit="meV/Å",
    )  # fmt: skip


def summary(
    kind: str, unsure: np.ndarray, error: np.ndarray, outside: list[bool]
) -> list[dict[str, object]]:
    """Return the records of one kind of geometries."""
    large = np.linalg.norm(error, axis=1) > LARGE_ERROR
    values = [
        ("expected error", 1000 * unsure.mean(), "meV/Å"),
        ("observed error", 1000 * np.abs(error).mean(), "meV/Å"),
        ("atoms with a large error", 100 * large.mean(), "%"),
        ("outside the training domain", 100 * np.mean(outside), "%"),
    ]
    if large.any() and not large.all():
        values.append(("AUROC of large errors", auroc(large, unsure), ""))
    count = f"{len(outside)} geometries, {len(unsure)} atoms"
    return [
        {"case": kind, "quantity": name, "value": float(value), "unit": unit, "n": count}
        for name, value, unit in values
    ]


@styled
def figure() -> Figure:
    """Return the recorded observed errors against the expected ones, a point per kind."""
    drawn, ((axis,),) = panels(width=5, height=3.6)
    kinds = {case: row for (_, case), row in numbers("uncertainty", "shipped").items()}
    del kinds["all"]
    for marker, (kind, row) in zip("os^Dv*", kinds.items(), strict=True):
        axis.plot(row["expected error"], row["observed error"], marker, markersize=6, label=kind)
    expected_against_observed(axis, "force component (meV/Å)")
    legend_above(drawn, axis)
    return drawn


if __name__ == "__main__":
    main()
