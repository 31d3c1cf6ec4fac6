"""Figures: each function takes tables and returns a matplotlib figure."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ase import Atoms
from ase.data import chemical_symbols
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FormatStrFormatter,
    LogFormatter,
    LogLocator,
    MaxNLocator,
    NullFormatter,
)

from ..data.molecules import Molecules
from ..models.names import readable_name
from ..runtime.files import atomic
from ..units import readable


def panels(
    columns: int = 1, rows: int = 1, width: float = 4.0, height: float = 3.0
) -> tuple[Figure, np.ndarray]:
    """Return a figure and its axes (rows, columns), each of `width` by `height` inches."""
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained", dpi=150)
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def save(figure: Figure, path: str | Path) -> None:
    """Write the figure as PNG, atomically."""
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png")


def _errors(predictions: pd.DataFrame, unit: str) -> pd.Series:
    """Return absolute errors on the test molecules in the readable unit, indexed by QM9 number."""
    test = predictions[predictions["split"] == "test"].set_index("index")
    return (test["prediction"] - test["target"]).abs() * readable(unit)[0]


def parity(model: str, predictions: pd.DataFrame, target: str, unit: str) -> Figure:
    """Return predictions against labels of the test molecules, and the distribution of errors."""
    test = predictions[predictions["split"] == "test"]
    level = test["reference"]
    factor, small = readable(unit)
    error = (test["prediction"] - test["target"]) * factor
    figure, ((left, right),) = panels(2)
    left.hexbin(
        test["target"] - level, test["prediction"] - level, gridsize=60, bins="log", mincnt=1
    )
    ends = np.array(left.get_xlim())
    left.plot(ends, ends, color="black", linewidth=0.6)
    left.set_xlabel(f"{target} minus atomic references ({unit})")
    left.set_ylabel(f"{model} minus atomic references ({unit})")
    widest = np.abs(error).quantile(0.99)
    right.hist(error, np.linspace(-widest, widest, 61))
    right.set_xlabel(f"error of {model} ({small})")
    right.set_ylabel(f"test molecules ({len(test):,} in total)")
    rmse = np.sqrt((error**2).mean())
    right.set_title(f"MAE {error.abs().mean():.1f}, RMSE {rmse:.1f} {small}", fontsize="medium")
    return figure


def error_by_size(
    predictions: dict[str, pd.DataFrame], targets: dict[str, tuple[str, str]]
) -> Figure:
    """Return the test MAE against the number of atoms; `targets` are (target, unit) of each
    model.
    """
    figure, ((axis,),) = panels(width=5)
    for model, table in predictions.items():
        target, unit = targets[model]
        atoms = table.set_index("index")["atoms"]
        groups = _errors(table, unit).groupby(atoms)
        mean, count = groups.mean(), groups.count()
        mean = mean[count >= 10]
        axis.plot(
            mean.index,
            mean,
            marker="o",
            markersize=3,
            label=f"{model} ({target}, {readable(unit)[1]})",
        )
    logarithmic(axis)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_xlabel("atoms per molecule (sizes with at least 10 test molecules)")
    axis.set_ylabel("test MAE (unit in legend)")
    axis.legend(fontsize="small")
    return figure


def error_by_element(
    predictions: dict[str, pd.DataFrame], targets: dict[str, tuple[str, str]], molecules: Molecules
) -> Figure:
    """Return the test MAE of the molecules that contain an element, for each element."""
    figure, ((axis,),) = panels(width=5)
    elements = np.unique(molecules.z)
    owner = np.repeat(molecules.index, np.diff(molecules.ptr))
    width = 0.8 / len(predictions)
    for place, (model, table) in enumerate(predictions.items()):
        target, unit = targets[model]
        errors = _errors(table, unit)
        heights = []
        for element in elements:
            containing = np.unique(owner[molecules.z == element])
            heights.append(errors[errors.index.isin(containing)].mean())
        at = np.arange(len(elements)) + (place - (len(predictions) - 1) / 2) * width
        axis.bar(at, heights, width, label=f"{model} ({target}, {readable(unit)[1]})")
    axis.set_xticks(range(len(elements)), [chemical_symbols[element] for element in elements])
    axis.set_xlabel("element in the test molecule")
    axis.set_ylabel("test MAE (unit in legend)")
    axis.set_ylim(0, 1.3 * axis.get_ylim()[1])
    axis.legend(fontsize="small", ncols=2)
    return figure


def learning_curves(
    histories: dict[str, pd.DataFrame], targets: dict[str, tuple[str, str]]
) -> Figure:
    """Return the validation MAE of the averaged weights over epochs and over training time."""
    figure, ((left, right),) = panels(2)
    for model, history in histories.items():
        target, unit = targets[model]
        factor, small = readable(unit)
        errors = history["validation_mae"] * factor
        left.plot(history["epoch"], errors, label=f"{model} ({target}, {small})")
        right.plot(history["seconds"] / 60, errors)
    for axis in (left, right):
        logarithmic(axis)
        axis.set_ylabel("validation MAE (unit in legend)")
    left.set_xlabel("epoch")
    right.set_xlabel("training time (min)")
    left.legend(fontsize="small")
    return figure


def frequency_parity(tables: dict[str, pd.DataFrame]) -> Figure:
    """Return harmonic frequencies of every model against the reference, and their deviations;
    values beyond an axis are drawn at its edge.
    """
    figure, axes = panels(len(tables), 2, width=3.2, height=2.6)
    for (model, table), (top, bottom) in zip(tables.items(), axes.T, strict=True):
        known, found = table["reference_cm1"], table["frequency_cm1"]
        extent = (0, 4000, 0, 4000)
        inside = found.clip(*extent[2:])
        top.hexbin(known, inside, gridsize=60, bins="log", mincnt=1, extent=extent)
        top.plot([0, 4000], [0, 4000], color="black", linewidth=0.6)
        error = (found - known).abs().mean()
        top.set_title(f"{model}: MAE {error:.1f} cm$^{{-1}}$", fontsize="medium")
        top.set_xlabel("B3LYP frequency of QM9 (cm$^{-1}$)")
        extent = (0, 4000, -300, 300)
        inside = (found - known).clip(*extent[2:])
        bottom.hexbin(known, inside, gridsize=60, bins="log", mincnt=1, extent=extent)
        bottom.axhline(0, color="black", linewidth=0.6)
        bottom.set_ylim(-310, 310)
        bottom.set_xlabel("B3LYP frequency of QM9 (cm$^{-1}$)")
    axes[0, 0].set_ylabel("harmonic frequency (cm$^{-1}$)")
    axes[1, 0].set_ylabel("deviation (cm$^{-1}$)\n(clipped at $\\pm$300)")
    return figure


def reliability(table: pd.DataFrame) -> Figure:
    """Return the observed against the expected errors of energies and forces, by deciles of the
    expected errors.
    """
    quantities = table.groupby("quantity", sort=False)
    figure, axes = panels(2)
    for axis, (quantity, rows) in zip(axes[0], quantities, strict=False):
        for model, of_model in rows.groupby("model", sort=False):
            axis.plot(of_model["expected"], of_model["observed"], "o-", markersize=4, label=model)
        expected_against_observed(axis, f"{quantity} ({rows['unit'].iloc[0]})")
    return figure


def expected_against_observed(axis: Axes, quantity: str) -> None:
    """Finish a plot of observed (y) against expected (x) errors: logarithms, diagonal, legend."""
    ends = np.array(axis.dataLim.intervalx) * (0.8, 1.25)
    axis.fill_between(ends, ends / 1.5, ends * 1.5, color="0.9", label="factor 1.5", zorder=0)
    axis.plot(ends, ends, color="black", linewidth=0.6)
    axis.set(xscale="log", yscale="log")
    for side in (axis.xaxis, axis.yaxis):
        side.set_major_locator(LogLocator(subs=(1, 2, 5)))
        side.set_major_formatter(FormatStrFormatter("%g"))
        side.set_minor_formatter(NullFormatter())
    axis.set_xlabel(f"expected error, {quantity}")
    axis.set_ylabel(f"observed error, {quantity}")
    axis.legend(fontsize="small")


def spectrum(summary: Mapping[str, Any], density: pd.DataFrame, frequencies: np.ndarray) -> Figure:
    """Return the vibrational density of states of a trajectory, with marks at the harmonic
    frequencies (V,) cm^-1.
    """
    figure, ((axis,),) = panels(width=6)
    wavenumber, states = density["wavenumber_cm1"], 1000 * density["density_cm"]
    axis.plot(wavenumber, states, linewidth=0.8, label="trajectory")
    axis.plot(
        frequencies, np.zeros(len(frequencies)), "|", color="C1", markersize=12, label="harmonic"
    )
    axis.set_xlim(0, 4000)
    axis.set_xlabel("wavenumber (cm$^{-1}$)")
    axis.set_ylabel("density of states (10$^{-3}$ cm)")
    run = f"{summary['stable_ps']:g} ps at {summary['mean_temperature_k']:.0f} K"
    title = f"{summary['molecule']} with {readable_name(summary['model'])}, {run}"
    axis.set_title(title, fontsize="medium")
    axis.legend(fontsize="small")
    return figure


def scan(summary: Mapping[str, Any], table: pd.DataFrame) -> Figure:
    """Return the energy of the model and of GFN2-xTB while one bond is stretched and turned."""
    figure, axes = panels(2)
    model = readable_name(summary["model"])
    labels = {"stretch": "length of {} (Å)", "torsion": "torsion about {} (degrees)"}
    for axis, kind in zip(axes[0], labels, strict=True):
        rows = table[table["scan"] == kind]
        columns = {"model_energy_ev": model, "gfn2_energy_ev": "GFN2-xTB"}
        if len(rows):
            for (column, label), style in zip(columns.items(), ("-", "--"), strict=True):
                axis.plot(rows["at"], rows[column], style, linewidth=1, label=label)
            energies = rows[list(columns)]
            axis.set_xlabel(labels[kind].format(rows["bond"].iloc[0]))
            low, high = np.nanmin(energies), min(12, np.nanmax(energies))
            axis.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
            axis.legend(fontsize="small")
        axis.set_ylabel("energy (eV)")
    figure.suptitle(
        f"{summary['molecule']} with {model}: stretch and torsion of one bond, rest of the molecule"
        " rigid",
        fontsize="medium",
    )
    return figure


def logarithmic(axis: Axes) -> None:
    """Make the vertical axis logarithmic, with plain numbers."""
    axis.set_yscale("log")
    for which in (axis.yaxis.set_major_formatter, axis.yaxis.set_minor_formatter):
        which(LogFormatter(labelOnlyBase=False, minor_thresholds=(2, 0.5)))


def trajectory(
    frames: Sequence[Atoms], summaries: Sequence[Mapping[str, Any]], limit_a: float
) -> Figure:
    """Return temperature, energy and largest bond deviation over time, of one or several replicas.
    A last frame that ended a run early may lie outside the axes.
    """
    figure, axes = panels(1, 3, width=6, height=1.8)
    top, middle, bottom = axes[:, 0]
    seen: dict[Axes, list[np.ndarray]] = {top: [], middle: []}
    for summary in summaries:
        number = summary["replica"]
        replica = [frame for frame in frames if frame.info.get("replica", 0) == number]
        time = np.array([frame.info["time_fs"] for frame in replica]) / 1000
        potential = np.array([frame.get_potential_energy() for frame in replica])
        total = np.array([frame.info["total_energy"] for frame in replica])
        whole = slice(None, -1 if summary["ended"] != "complete" and len(time) > 2 else None)
        lines = (
            (top, [frame.info["temperature_k"] for frame in replica], f"C{number}", None),
            (middle, potential - potential[0], "C0", "potential"),
            (middle, total - potential[0], "C1", "total"),
        )
        for axis, values, colour, label in lines:
            axis.plot(time, values, colour, linewidth=0.8, label=None if number else label)
            seen[axis].append(np.asarray(values)[whole])
        deviation = [frame.info["max_bond_deviation_a"] for frame in replica]
        bottom.plot(time, deviation, f"C{number}", linewidth=0.8)
    first, held = summaries[0], min(summary["stable_ps"] for summary in summaries)
    ended = next((s["ended"] for s in summaries if s["ended"] != "complete"), "complete")
    many = f", {len(summaries)} replicas" if len(summaries) > 1 else ""
    top.set_title(
        f"{first['molecule']} with {first['model']}, {first['ensemble'].upper()}{many},"
        f" {first['timestep_fs']:g} fs, {first['ms_per_step']:.1f} ms/step\n"
        f"{held:g} of {first['length_ps']:g} ps: {ended}",
        fontsize="medium",
    )
    top.axhline(first["temperature_k"], color="black", linewidth=0.6, linestyle="--")
    top.set_ylabel("temperature (K)")
    middle.set_ylabel("energy relative\nto start (eV)")
    middle.legend(fontsize="small", loc="upper right", ncols=2)
    for axis, parts in seen.items():
        values = np.concatenate(parts)
        margin = 0.1 * np.ptp(values) + 1e-3
        axis.set_ylim(values.min() - margin, values.max() + 3 * margin)
    bottom.axhline(limit_a, color="black", linewidth=0.6, linestyle="--")
    bottom.set_ylabel("largest bond\ndeviation (Å)")
    bottom.set_xlabel("time (ps)")
    return figure
