"""Fine-tuning of the shipped gnn on few frames of one molecule at another level of theory.

    python benchmarks/fine_tune.py              # 10, 30 and 100 frames of paracetamol
    python benchmarks/fine_tune.py --draw       # only the figure, from the records

Frames are drawn from dynamics at 500 K with the shipped gnn; GFN1-xTB computes their energies and
forces. A fifth of the frames validates, the others train. The test frames are of a second
trajectory. Three models are compared: the shipped gnn with shifted references, the fine-tuned one,
and one trained from scratch on the same frames. The settings are the ones of
docs/how-to/fine-tune.md. Values are recorded in benchmarks/results/fine_tuning.csv; the figure is
docs/figures/fine_tuning-light.svg and -dark.svg.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write
from matplotlib.figure import Figure
from records import numbers, record
from tblite.ase import TBLite

from nnpipe.analysis.plots import legend_above, logarithmic, panels
from nnpipe.analysis.style import BLUE, GREY, ORANGE, save_light_and_dark, styled
from nnpipe.data.extxyz import convert_extxyz
from nnpipe.data.molecules import read_molecules
from nnpipe.data.neighbour_table import write_neighbours
from nnpipe.data.splits import read_split
from nnpipe.graphs.dataset import load_dataset
from nnpipe.models.checkpoint import load_model
from nnpipe.models.predict import force_errors, predict
from nnpipe.runtime.device import use_threads
from nnpipe.runtime.files import sha256, write_csv
from nnpipe.simulation.calculator import load_calculator
from nnpipe.simulation.md import write_trajectory
from nnpipe.simulation.settings import Settings as MDSettings
from nnpipe.structures.load import from_smiles
from nnpipe.training.run import shift_references, train_from_files
from nnpipe.training.settings import Settings, Stage

ROOT = Path(__file__).parents[1]
OUT, START = ROOT / "results/benchmarks/fine_tune", ROOT / "resources/models/gnn"
SMILES, SIZES = "CC(=O)Nc1ccc(O)cc1", (10, 30, 100)
STYLES = [  # of the lines, in the order of MODELS
    {"color": GREY, "marker": "s", "linestyle": "--"},
    {"color": BLUE, "marker": "o"},
    {"color": ORANGE, "marker": "^"},
]
MODELS = SHIPPED, TUNED, FRESH = "shipped, references shifted", "fine-tuned", "from scratch"
FINE = Settings(
    stages=(Stage(100),), batch_atoms=100, learning_rate=1e-3, warmup_steps=20, compiled=False
)
SCRATCH = replace(FINE, learning_rate=3e-3, keep="best")


def make_frames(path: Path) -> None:
    """Write the frames, training ones first, with energies and forces of GFN1-xTB."""
    settings = MDSettings(temperature_k=500, length_ps=max(SIZES) * 0.05, frame_fs=50)
    molecule, trajectory = from_smiles(SMILES), OUT / "dynamics.xyz"
    write_trajectory([molecule] * 2, load_calculator(START, compiled=True), settings, trajectory)
    found: dict[int, list[Atoms]] = {0: [], 1: []}
    for frame in read(trajectory, ":", format="extxyz"):
        if frame.info["time_fs"]:
            found[frame.info["replica"]].append(Atoms(frame.numbers, frame.positions))
    labelled, calculator = [], TBLite(method="GFN1-xTB", verbosity=0)
    for atoms in found[0] + found[1]:
        atoms.calc = calculator
        known = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
        atoms.calc = SinglePointCalculator(atoms, **known)
        labelled.append(atoms)
    write(path, labelled, format="extxyz")


def make_tables(frames: Path) -> tuple[Path, Path]:
    """Return the paths of the tables of molecules and of neighbours of the frames."""
    manifest, molecules, pairs = (OUT / name for name in ("raw.json", "molecules", "neighbours"))
    manifest.write_text(json.dumps({"files": [{"path": str(frames), "sha256": sha256(frames)}]}))
    convert_extxyz(manifest, molecules)
    table, header = read_molecules(molecules)
    write_neighbours(table, 5.0, pairs, {"molecules": header["digest"]})
    return molecules, pairs


def measure(size: int, tables: tuple[Path, Path]) -> None:
    """Train on `size` frames of the first trajectory, test on the second, and record."""
    split, pool = OUT / f"split_{size}.csv", max(SIZES)
    spread = np.linspace(1, pool, size).round().astype(int)
    drawn = np.random.default_rng(0).permutation(spread)
    index = np.concatenate([drawn, np.arange(pool + 1, 2 * pool + 1)])
    names = np.repeat(["validation", "train", "test"], [size // 5, size - size // 5, pool])
    write_csv(pd.DataFrame({"index": index, "split": names}), split)
    start, about = load_model(START)
    parts = read_split(split, read_molecules(tables[0])[0].index)
    train, test = (
        load_dataset(*tables, parts[name], "energy", start.cutoff) for name in ("train", "test")
    )
    found = {SHIPPED: shift_references(start, train)}
    for name, settings, origin in ((TUNED, FINE, START), (FRESH, SCRATCH, None)):
        folder = OUT / f"{size} {name}"
        train_from_files(
            folder, "gnn", about.hyperparameters, "energy", settings, *tables, split,
            folder / "checkpoint", start=origin, device="cpu",
        )  # fmt: skip
        found[name] = load_model(folder)[0]
    for name, potential in found.items():
        energy = (predict(potential, test) - test.target).abs().mean().item()
        force = force_errors(potential, test).abs().mean().item()
        rows = [
            {"quantity": "energy, MAE", "value": 1000 * energy, "unit": "meV"},
            {"quantity": "forces, MAE", "value": 1000 * force, "unit": "meV/Å"},
        ]
        record(
            "fine_tuning", "paracetamol", rows, model=name, case=f"{size} frames", split=0, seed=0,
            n=f"{pool} test frames",
            data="paracetamol, dynamics of the shipped gnn at 500 K, labels of GFN1-xTB",
        )  # fmt: skip


@styled
def figure() -> Figure:
    """Draw the recorded errors of the test frames against the number of frames."""
    drawn, (axes,) = panels(2, height=3)
    found = numbers("fine_tuning", "paracetamol")
    for axis, what, unit in zip(axes, ("energy", "forces"), ("meV", "meV/Å"), strict=True):
        for model, style in zip(MODELS, STYLES, strict=True):
            points = {
                int(case.split()[0]): row[f"{what}, MAE"]
                for (name, case), row in found.items()
                if name == model
            }
            axis.semilogx(list(points), list(points.values()), label=model, **style)
        logarithmic(axis)
        axis.set_xticks([], minor=True)
        axis.set_xticks(SIZES, map(str, SIZES))
        axis.set_xlabel("frames, training and validation")
        axis.set_ylabel(f"{what}, test MAE ({unit})")
    legend_above(drawn, axes[0])
    return drawn


def main() -> None:
    """Measure, record and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draw", action="store_true", help="draw the figure from the records only")
    if not parser.parse_args().draw:
        use_threads(1)
        OUT.mkdir(parents=True, exist_ok=True)
        frames = OUT / "frames.extxyz"
        if not frames.exists():
            make_frames(frames)
        tables = make_tables(frames)
        for size in SIZES:
            measure(size, tables)
    save_light_and_dark(figure, ROOT / "docs/figures/fine_tuning.svg")


if __name__ == "__main__":
    main()
