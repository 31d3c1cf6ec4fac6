"""Energy profiles off the minimum: torsions, puckers, inversions, stretches and conformers."""

import re
from collections.abc import Mapping, Sequence
from itertools import zip_longest

import numpy as np
import pandas as pd
from ase import Atoms
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..models.names import readable_name
from ..units import ENERGY
from .plots import legend_above, panels
from .style import ink, model_styles, styled

# columns of the table
PROFILES = [
    "model", "profile", "molecule", "n_points", "mae_kcal_mol", "max_kcal_mol",
    "near_mae_kcal_mol", "height_kcal_mol", "reference_height_kcal_mol",
]  # fmt: skip
NEAR_A = 0.5  # Å, change of a bond length up to which near_mae_kcal_mol counts
KINDS = ("torsion", "pucker", "inversion", "stretch", "conformers")  # in the order of panels
COLUMNS = 5  # of panels
LENGTH_STEPS, ANGLE_STEPS = [1, 2, 5, 10], [1, 2, 3, 6, 10]  # between ticks, times a power of ten
HEADROOM = 1.35  # of the energy axis, for models above the highest reference energy


def profile_errors(
    frames: Sequence[Atoms], energies: Mapping[str, Sequence[float]]
) -> pd.DataFrame:
    """Return one row per model and profile: errors of the energy relative to the point at which the
    reference is lowest.

    `energies` are eV of every frame by model or method; the frames contain the reference energy,
    and profile (kind), molecule and at (coordinate) in `info`. The MAE counts the other points; the
    near MAE counts bonds stretched by at most NEAR_A. The height is the highest minus the lowest
    energy of a profile: of a torsion or inversion, the barrier.
    """
    rows = []
    for model, found in energies.items():
        for (kind, molecule), table in profiles(frames, {model: found}).items():
            reference, error = table["reference"], (table[model] - table["reference"]).abs()
            others = table.index != reference.idxmin()
            near = others & (table["at"] <= NEAR_A) & (kind == "stretch")
            heights = np.ptp(table[[model, "reference"]], axis=0)
            errors = error[others].mean(), error.max(), error[near].mean()
            rows.append((model, kind, molecule, len(table), *errors, *heights))
    return pd.DataFrame(rows, columns=PROFILES)


def profiles(
    frames: Sequence[Atoms], energies: Mapping[str, Sequence[float]]
) -> dict[tuple[str, str], pd.DataFrame]:
    """Return a table for each kind of profile and molecule, in the order of `at`: at, reference and
    the energies of each model, in kcal/mol relative to the point at which the reference is lowest.

    Profiles of a single point are left out.
    """
    points = pd.DataFrame([frame.info for frame in frames])[["profile", "molecule", "at"]]
    points["reference"] = [frame.get_potential_energy() for frame in frames]
    points = points.assign(**energies)
    names = ["reference", *energies]
    found = {}
    for (kind, molecule), rows in points.groupby(["profile", "molecule"], sort=False):
        if len(rows) == 1:
            continue
        table = rows.sort_values("at", ignore_index=True).drop(columns=["profile", "molecule"])
        table[names] -= table.loc[table["reference"].idxmin(), names]
        table[names] /= ENERGY["kcal/mol"]
        found[str(kind), str(molecule)] = table
    return found


@styled
def profile_curves(frames: Sequence[Atoms], energies: Mapping[str, Sequence[float]]) -> Figure:
    """Return a panel per profile: the energy along a path, and the energies of conformers against
    the reference. Energies far above the reference lie outside the axes.
    """
    tables, styles = profiles(frames, energies), model_styles(energies)
    about = {(frame.info["profile"], frame.info["molecule"]): frame.info for frame in frames}
    order = sorted(tables, key=lambda name: KINDS.index(name[0]))
    figure, grid = panels(COLUMNS, -(-len(order) // COLUMNS), width=2.0, height=1.75)
    for name, axis in zip_longest(order, grid.flatten()):
        if name is None:
            axis.axis("off")
            continue
        (kind, molecule), table = name, tables[name]
        if kind == "conformers":
            x, label, shown = table["reference"], "conformers, B3LYP (kcal/mol)", {"linestyle": ""}
            steps = LENGTH_STEPS
            axis.plot(x, x, color=ink(), linewidth=0.6)
        else:
            atoms = re.sub(r"\d", "", about[name]["coordinate"]).replace("-", "–")
            unit, steps = ("Å", LENGTH_STEPS) if kind == "stretch" else ("°", ANGLE_STEPS)
            x, label, shown = table["at"], f"{kind} {atoms} ({unit})", {"marker": ""}
        for model, style in styles.items():
            axis.plot(x, table[model], label=readable_name(model), **style | shown)
        if kind != "conformers":
            points = {"color": ink(), "markersize": 3, "label": "B3LYP"}
            axis.plot(x, table["reference"], "o", **points)
            axis.set_ylim(np.array([-0.15, HEADROOM]) * table["reference"].max())
        axis.xaxis.set_major_locator(MaxNLocator(4, steps=steps))
        axis.yaxis.set_major_locator(MaxNLocator(3))
        axis.tick_params(labelsize="small")
        axis.set_title(molecule, fontsize="small")
        axis.set_xlabel(label, fontsize="small", labelpad=1)
    figure.supylabel("energy (kcal/mol)", fontsize="medium")
    legend_above(figure, grid[0, 0])
    return figure
