"""Record the values of a finished default run, and the MD step of GFN2-xTB on aspirin.

    snakemake --cores 8 && python benchmarks/default_run.py

A path of other results may follow; their commit is the commit of the checkout that they lie in.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd
from ase.io import read
from records import machine, record
from tblite.ase import TBLite

from nnpipe import load_calculator
from nnpipe.simulation.md import write_trajectory
from nnpipe.simulation.relax import relax
from nnpipe.simulation.settings import Settings
from nnpipe.structures.smiles import from_smiles

RUN = {
    "data": "10,000 training molecules of QM9", "split": 0, "seed": 0,
    "command": "snakemake --cores 8", "note": "PyTorch 2.13, CPU build",
}  # fmt: skip
TARGETS = {"energy": "energy (U0 − ZPVE)", "u0": "u0, initialised from gnn"}
FRAMES = {
    "QM9, 500 K": (
        "forces at 500 K, MAE",
        "geometries at 500 K, molecules of at most 5 heavy atoms outside the training set",
    ),
    "aspirin": ("forces on aspirin, MAE", "frames of aspirin at 300 K"),
    "10 to 20 heavy atoms, 500 K": (
        "forces on larger molecules, MAE",
        "geometries at 500 K, molecules of 10 to 20 heavy atoms",
    ),
}
TINY_MOLECULES = Path(__file__).parents[1] / "resources/tiny_molecules.xyz"
TINY = {
    "H2": "[H][H]", "N2": "N#N", "CO": "[C-]#[O+]", "HF": "[H]F", "F2": "FF", "CO2": "O=C=O",
    "O3": "[O-][O+]=O",
}  # fmt: skip
ASPIRIN, GFN2_PS = "CC(=O)Oc1ccccc1C(=O)O", 0.1
STEP = "Processor time of the thread that takes the steps; one thread"


def energies(table: pd.DataFrame) -> list[dict[str, object]]:
    """Return the errors on test molecules."""
    rows = []
    for row in table[table["split"] == "test"].itertuples():
        n = f"{row.n_test:,} test molecules"
        about = {"model": row.model, "case": TARGETS[row.target], "n": n}
        rows += [
            about | {"quantity": "MAE", "value": f"{1000 * row.mae:.1f}", "unit": "meV"},
            about | {"quantity": "RMSE", "value": f"{1000 * row.rmse:.1f}", "unit": "meV"},
            about | {"quantity": "MSE", "value": f"{row.mse:.2g}", "unit": "eV²"},
            about | {"quantity": "parameters", "value": row.parameters, "n": ""},
        ]
    return rows


def force_errors(table: pd.DataFrame) -> list[dict[str, object]]:
    """Return the errors of the forces of one model on each reference."""
    rows = []
    for found in table.itertuples():
        quantity, frames = FRAMES[found.reference]
        mae, n = f"{found.mae_mev_per_a:.0f}", f"{found.n_frames} {frames}"
        rows.append({"quantity": quantity, "value": mae, "unit": "meV/Å", "n": n})
    return rows


def surface(frequencies: pd.DataFrame, forces: pd.DataFrame) -> list[dict[str, object]]:
    """Return the errors of frequencies, minima and forces."""
    rows = []
    for model in dict.fromkeys([*frequencies["model"], *forces["model"]]):
        values = []
        for row in frequencies[frequencies["model"] == model].itertuples():  # labels have none
            n = f"{row.n_molecules} test molecules"
            modes, same = f"{n}, {row.n_modes:,} modes", 100 * row.minima_within_03a_fraction
            values += [
                ("frequencies, MAE", f"{row.mae_cm1:.1f}", "cm⁻¹", modes),
                ("imaginary modes", f"{100 * row.imaginary_fraction:.2f}", "%", modes),
                ("minima with RMSD below 0.3 Å", f"{same:.0f}", "%", n),
            ]
        rows += [
            {"model": model, "quantity": quantity, "value": value, "unit": unit, "n": n}
            for quantity, value, unit, n in values
        ]
        errors = force_errors(forces[forces["model"] == model])
        rows += [{"model": model, **row} for row in errors]
    return rows


def correction(fit: dict[str, float]) -> list[dict[str, object]]:
    """Return the error of the frequencies of the labels without and with the correction."""
    return [
        {
            "model": "teacher, anchored", "case": f"{case} spring constants",
            "quantity": "frequencies at QM9's minima, MAE", "value": f"{fit[key]:.1f}",
            "unit": "cm⁻¹", "n": f"{fit['molecules']} training molecules, {fit['modes']:,} modes",
        }
        for case, key in (("with", "mae_after_cm1"), ("without", "mae_before_cm1"))
    ]  # fmt: skip


def dynamics(table: pd.DataFrame) -> list[dict[str, object]]:
    """Return how many runs were complete, the largest bond deviation, and the MD step."""
    rows = []
    for model, runs in table.groupby("model", sort=False):
        case, complete = ", ".join(runs["molecule"]), (runs["ended"] == "complete").sum()
        deviation = f"{runs['max_bond_deviation_a'].max():.2f}"
        step = f"{runs.set_index('molecule').loc['aspirin', 'ms_per_step']:.2f}"
        about = {"model": model, "case": case, "n": "10 ps each, 300 K, steps of 0.5 fs"}
        rows += [
            about | {"quantity": "complete runs", "value": f"{complete} of {len(runs)}"},
            about | {"quantity": "largest bond deviation", "value": deviation, "unit": "Å"},
            about | {"quantity": "time per step of aspirin", "value": step, "unit": "ms"}
            | {"case": "aspirin", "note": STEP},
        ]  # fmt: skip
    return rows


def reliability(table: pd.DataFrame) -> list[dict[str, object]]:
    """Return the range of the ratio of observed and expected errors over the tenths."""
    rows = []
    for (model, quantity), tenths in table.groupby(["model", "quantity"], sort=False):
        ratio = tenths["observed"] / tenths["expected"]
        n = f"{tenths['n'].sum():,} {'atoms' if quantity == 'forces' else 'geometries'}"
        about = {"model": model, "case": quantity, "n": n}
        for name, value in (("smallest", ratio.min()), ("largest", ratio.max())):
            text = f"observed / expected error, {name} of the tenths"
            rows.append(about | {"quantity": text, "value": f"{value:.2f}"})
    return rows


def tiny(model: Path) -> list[dict[str, object]]:
    """Return bond lengths and angles of molecules that QM9 lacks, at the minima of two surfaces."""
    minima = {a.info["smiles"]: a for a in read(TINY_MOLECULES, ":") if a.info["geometry"] == 0}
    rows: list[dict[str, object]] = []
    for case, smiles in TINY.items():
        found, converged = relax(minima[smiles], load_calculator(model, "float64"), 1e-3, 200)
        if not converged:
            raise SystemExit(f"{case}: not relaxed")
        for name, atoms in ((model.name, found), ("B3LYP", minima[smiles])):
            about = {"model": name, "case": case}
            length = f"{atoms.get_distance(0, 1):.3f}"
            rows.append(about | {"quantity": "bond length", "value": length, "unit": "Å"})
            if atoms is found:
                error = found.get_potential_energy() - minima[smiles].get_potential_energy()
                rows.append(
                    about
                    | {
                        "quantity": "energy error",
                        "value": f"{round(error, 2) + 0:.2f}",
                        "unit": "eV",
                    }
                )
            if len(atoms) == 3:
                angle = f"{atoms.get_angle(0, 1, 2):.1f}"
                rows.append(about | {"quantity": "bond angle", "value": angle, "unit": "°"})
    return rows


def revision(results: str) -> str:
    """Return the abbreviated commit of the checkout in which the results of a run lie."""
    command = ["git", "-C", results, "rev-parse", "--short=7", "HEAD"]
    return subprocess.check_output(command, text=True).strip()


def gfn2_step() -> dict[str, object]:
    """Return the MD step of GFN2-xTB through ASE."""
    with tempfile.TemporaryDirectory() as folder:
        (summary,) = write_trajectory(
            [from_smiles(ASPIRIN)], TBLite(method="GFN2-xTB", verbosity=0),
            Settings(length_ps=GFN2_PS), Path(folder) / "aspirin.xyz",
        )  # fmt: skip
    return {
        "model": "GFN2-xTB", "case": "aspirin", "quantity": "time per step of aspirin",
        "value": f"{summary.ms_per_step:.0f}", "unit": "ms", "note": STEP,
        "n": f"{1000 * GFN2_PS / 0.5:.0f} steps of 0.5 fs, 300 K",
    }  # fmt: skip


def main(results: str = "results") -> None:
    """Read the tables of a run and record their values."""
    tables = Path(results) / "tables"
    names = ("accuracy", "frequencies", "forces", "md", "uncertainty")
    found = {name: pd.read_csv(tables / f"{name}.csv") for name in names}
    settings = json.loads((Path(results) / "models/gnn/model.json").read_text())["settings"]
    if settings["stages"][0]["epochs"] != 6:
        raise SystemExit(f"{results}: not the results of the default run")
    common = RUN | {"commit": revision(results), "machine": machine()}
    record("default_run", "energies", energies(found["accuracy"]), **common)
    record("default_run", "surface", surface(found["frequencies"], found["forces"]), **common)
    fit = json.loads((Path(results) / "data/correction.json").read_text())["fit"]
    about = "`fit` in `results/data/correction.json`. The fit used these molecules."
    record("default_run", "labels", correction(fit), **common | {"note": about})
    record("default_run", "dynamics", dynamics(found["md"]), **common)
    record("default_run", "uncertainty", reliability(found["uncertainty"]), **common)
    record("default_run", "small", tiny(Path(results) / "models/gnn"), **common)
    own = {"machine": common["machine"], "seed": 0, "command": "python benchmarks/default_run.py"}
    record("default_run", "dynamics", [gfn2_step()], **own, data="aspirin")


if __name__ == "__main__":
    main(*sys.argv[1:])
