"""Record the errors along the profiles of resources/profiles.xyz, by kind, and draw the profiles.

    python benchmarks/off_minimum.py                    # the shipped gnn
    python benchmarks/off_minimum.py results/models/*   # models of a run

The figure is docs/figures/profiles-light.svg and -dark.svg.
"""

import sys
from functools import partial
from pathlib import Path

import pandas as pd
from ase.io import read
from records import record, trained

from nnpipe import load_calculator
from nnpipe.analysis.profiles import profile_curves, profile_errors
from nnpipe.analysis.style import save_light_and_dark
from nnpipe.labelling.delta import with_delta
from nnpipe.labelling.methods import method

ROOT = Path(__file__).parents[1]
TEACHER = ROOT / "resources/teacher"
BARRIERS = ("torsion", "inversion")


def values(table: pd.DataFrame) -> list[dict[str, object]]:
    """Return the mean errors of each model and kind of profile."""
    rows = []
    table = table.assign(
        height_error=(table["height_kcal_mol"] - table["reference_height_kcal_mol"]).abs()
    )
    for (kind, model), group in table.groupby(["profile", "model"], sort=False):
        n = f"{len(group)} profiles, {group['n_points'].sum()} geometries"
        about = {"model": model, "case": kind, "n": n, "unit": "kcal/mol"}
        found = {"MAE": group["mae_kcal_mol"].mean(), "largest error": group["max_kcal_mol"].max()}
        if kind == "stretch":
            found["MAE up to 0.5 Å"] = group["near_mae_kcal_mol"].mean()
        if kind in BARRIERS:
            found["barriers, MAE"] = group["height_error"].mean()
        rows += [about | {"quantity": name, "value": f"{x:.2f}"} for name, x in found.items()]
    return rows


def main(*folders: str) -> None:
    """Record the errors of the models in `folders`, of GFN2-xTB, refitted too, and the teacher."""
    frames = read(ROOT / "resources/profiles.xyz", ":")
    energies = {"GFN2-xTB": [frame.info["gfn2_energy"] for frame in frames]}
    refitted = method("teacher", TEACHER / "tight_binding.toml")
    teacher = with_delta(refitted, TEACHER / "model.safetensors")
    for name, function in (("GFN2-xTB, refitted", refitted), ("teacher", teacher)):
        energies[name] = [function(frame.numbers)(frame.positions)[0] for frame in frames]
    data = dict.fromkeys(energies, "")
    for folder in folders or (str(ROOT / "resources/models/gnn"),):
        calculator, (name, about) = load_calculator(folder), trained(Path(folder))
        energies[name] = [calculator.get_potential_energy(frame) for frame in frames]
        data[name] = about
    rows = [row | {"data": data[row["model"]]} for row in values(profile_errors(frames, energies))]
    record("off_minimum", "profiles", rows)
    curves = partial(profile_curves, frames, energies)
    save_light_and_dark(curves, ROOT / "docs/figures/profiles.svg")


if __name__ == "__main__":
    main(*sys.argv[1:])
