"""Figures: each function takes tables and returns a matplotlib figure."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from ase import Atoms
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
from ..units import readable
from .error_groups import FEWEST_OF_SIZE, errors_of_elements, errors_of_sizes
from .style import GREY, count_colours, ink, model_styles, styled

SCAN_MAX_EV = {"stretch": 8.0, "torsion": 3.0}  # short bonds and clashes lie outside
Targets = Mapping[str, tuple[str, str]]  # target and unit of each model


def panels(
    columns: int = 1, rows: int = 1, width: float = 3.4, height: float = 2.8, **options: Any
) -> tuple[Figure, np.ndarray]:
    """Return a figure and its axes (rows, columns), each of `width` by `height` inches.

    `options` are arguments of `Figure.subplots`.
    """
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def _errors(predictions: pd.DataFrame, unit: str) -> pd.Series:
    """Return absolute errors on the test molecules in the readable unit, indexed by QM9 number."""
    test = predictions[predictions["split"] == "test"].set_index("index")
    return (test["prediction"] - test["target"]).abs() * readable(unit)[0]


def _labels(targets: Targets) -> tuple[dict[str, str], str]:
    """Return a label of each model with its target, and the unit of the axis.

    If the units differ, each label has its own unit.
    """
    units = {model: readable(unit)[1] for model, (_, unit) in targets.items()}
    same = len(set(units.values())) == 1
    labels = {
        model: f"{readable_name(model)} ({target}{'' if same else f', {units[model]}'})"
        for model, (target, _) in targets.items()
    }
    return labels, next(iter(units.values())) if same else "unit in legend"


def _counts(
    axis: Axes, x: pd.Series, y: pd.Series, extent: tuple[float, float, float, float] | None = None
) -> None:
    """Colour hexagons by the logarithm of the number of points in them."""
    axis.hexbin(
        x, y, gridsize=50, bins="log", mincnt=1, extent=extent, cmap=count_colours(),
        linewidths=0.2, rasterized=True,
    )  # fmt: skip


def legend_above(figure: Figure, axis: Axes) -> None:
    """Write the legend of an axis above the figure, off the data."""
    handles, labels = axis.get_legend_handles_labels()
    width = 0.55 + 0.085 * max(map(len, labels))  # of a column, inches
    columns = max(1, int(figure.get_figwidth() / width))
    figure.legend(handles, labels, loc="outside upper left", ncols=columns)


@styled
def parity(model: str, predictions: pd.DataFrame, target: str, unit: str) -> Figure:
    """Return predictions against labels of the test molecules, and the distribution of errors."""
    test = predictions[predictions["split"] == "test"]
    level = test["reference"]
    factor, small = readable(unit)
    error = (test["prediction"] - test["target"]) * factor
    figure, ((left, right),) = panels(2)
    known, found = test["target"] - level, test["prediction"] - level
    _counts(left, known, found)
    ends = np.array(left.get_xlim())
    left.plot(ends, ends, color=ink(), linewidth=0.6)
    left.set_title(f"{readable_name(model)}: {target} of {len(test):,} molecules")
    left.set_xlabel(f"label − atomic references ({unit})")
    left.set_ylabel(f"prediction − references ({unit})")
    widest = np.abs(error).quantile(0.99)
    colour = model_styles([model])[model]["color"]
    right.hist(error, np.linspace(-widest, widest, 61), color=colour)
    right.set_xlabel(f"error ({small})")
    right.set_ylabel("test molecules")
    rmse = np.sqrt((error**2).mean())
    right.set_title(f"MAE {error.abs().mean():.1f}, RMSE {rmse:.1f} {small}")
    return figure


@styled
def error_by_size(predictions: Mapping[str, pd.DataFrame], targets: Targets) -> Figure:
    """Return the test MAE against the number of atoms; `targets` are (target, unit) of each
    model.
    """
    figure, ((axis,),) = panels(width=5, height=3.6)
    (labels, unit), styles = _labels(targets), model_styles(predictions)
    for model, table in predictions.items():
        atoms = table.set_index("index")["atoms"]
        sizes = errors_of_sizes(_errors(table, targets[model][1]), atoms)
        mean = sizes["mean"][sizes["count"] >= FEWEST_OF_SIZE]
        axis.plot(mean.index, mean, label=labels[model], **styles[model])
    logarithmic(axis)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_xlabel(f"atoms per molecule (sizes of at least {FEWEST_OF_SIZE} test molecules)")
    axis.set_ylabel(f"test MAE ({unit})")
    legend_above(figure, axis)
    return figure


@styled
def error_by_element(
    predictions: Mapping[str, pd.DataFrame], targets: Targets, molecules: Molecules
) -> Figure:
    """Return the test MAE of the molecules that contain an element, for each element."""
    figure, ((axis,),) = panels(width=5, height=3.6)
    (labels, unit), styles = _labels(targets), model_styles(predictions)
    width = 0.6 / len(predictions)
    for place, (model, table) in enumerate(predictions.items()):
        elements = errors_of_elements(_errors(table, targets[model][1]), molecules)
        at = np.arange(len(elements)) + (place - (len(predictions) - 1) / 2) * width
        points = styles[model] | {"linestyle": "", "markersize": 6}
        axis.plot(at, elements["mean"], label=labels[model], **points)
    logarithmic(axis)
    axis.set_xticks(range(len(elements)), elements.index)
    for between in np.arange(len(elements) - 1) + 0.5:
        axis.axvline(between, color=GREY, linewidth=0.4)
    axis.set_xlabel("element in the test molecule")
    axis.set_ylabel(f"test MAE ({unit})")
    legend_above(figure, axis)
    return figure


@styled
def learning_curves(histories: Mapping[str, pd.DataFrame], targets: Targets) -> Figure:
    """Return the validation MAE of the averaged weights over epochs and over training time."""
    figure, ((left, right),) = panels(2, sharey=True)
    (labels, unit), styles = _labels(targets), model_styles(histories)
    for model, history in histories.items():
        errors = history["validation_mae"] * readable(targets[model][1])[0]
        lines = styles[model] | {"markevery": [-1]}  # the end of a training
        left.plot(history["epoch"], errors, label=labels[model], **lines)
        right.plot(history["seconds"] / 60, errors, **lines)
    logarithmic(left)
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    left.set_ylabel(f"validation MAE ({unit})")
    left.set_xlabel("epoch")
    right.set_xlabel("training time (min)")
    legend_above(figure, left)
    return figure


@styled
def frequency_parity(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """Return harmonic frequencies of every model against the reference, and their deviations;
    values beyond an axis are drawn at its edge.
    """
    figure, axes = panels(len(tables), 2, width=2.6, height=2.3, sharex=True, sharey="row")
    for (model, table), (top, bottom) in zip(tables.items(), axes.T, strict=True):
        frequencies_against_reference(top, model, table)
        known, found = table["reference_cm1"], table["frequency_cm1"]
        _counts(bottom, known, (found - known).clip(-300, 300), (0, 4000, -300, 300))
        bottom.axhline(0, color=ink(), linewidth=0.6)
        bottom.set_ylim(-310, 310)
    figure.supxlabel("B3LYP frequency of QM9 (cm$^{-1}$)", fontsize="medium")
    axes[0, 0].set_ylabel("frequency (cm$^{-1}$)")
    axes[1, 0].set_ylabel("deviation (cm$^{-1}$),\nclipped at $\\pm$300")
    return figure


def frequencies_against_reference(axis: Axes, model: str, table: pd.DataFrame) -> None:
    """Draw harmonic frequencies of a model against the reference, with the MAE in the title."""
    known, found = table["reference_cm1"], table["frequency_cm1"]
    _counts(axis, known, found.clip(0, 4000), (0, 4000, 0, 4000))
    axis.plot([0, 4000], [0, 4000], color=ink(), linewidth=0.6)
    axis.set_xticks([0, 2000, 4000])
    axis.set_yticks([0, 2000, 4000])
    error = (found - known).abs().mean()
    axis.set_title(f"{readable_name(model)}\nMAE {error:.1f} cm$^{{-1}}$")


@styled
def reliability(table: pd.DataFrame) -> Figure:
    """Return the observed against the expected errors of energies and forces, by deciles of the
    expected errors.
    """
    quantities = table.groupby("quantity", sort=False)
    figure, ((left, right),) = panels(2, height=3.2)
    styles = model_styles(table["model"].unique())
    for axis, (quantity, rows) in zip((left, right), quantities, strict=False):
        for model, of_model in rows.groupby("model", sort=False):
            expected, observed = of_model["expected"], of_model["observed"]
            axis.plot(expected, observed, label=readable_name(model), **styles[model])
        expected_against_observed(axis, f"{quantity} ({rows['unit'].iloc[0]})")
    if left.get_legend_handles_labels()[1]:
        legend_above(figure, left)
    return figure


def expected_against_observed(axis: Axes, quantity: str) -> None:
    """Finish a plot of observed (y) against expected (x) errors: logarithms and diagonal."""
    ends = np.array(axis.dataLim.intervalx) * (0.8, 1.25)
    axis.fill_between(
        ends, ends / 1.5, ends * 1.5, color=GREY, alpha=0.25, linewidth=0, zorder=0,
        label="within a factor of 1.5",
    )  # fmt: skip
    axis.plot(ends, ends, color=ink(), linewidth=0.6)
    axis.set(xscale="log", yscale="log")
    for side in (axis.xaxis, axis.yaxis):
        low, high = side.get_view_interval()
        side.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 30 * low else (1, 3)))
        side.set_major_formatter(FormatStrFormatter("%g"))
        side.set_minor_formatter(NullFormatter())
    axis.set_xlabel(f"expected error, {quantity}")
    axis.set_ylabel("observed error")


@styled
def spectrum(summary: Mapping[str, Any], density: pd.DataFrame, frequencies: np.ndarray) -> Figure:
    """Return the vibrational density of states of a trajectory, with marks at the harmonic
    frequencies (V,) cm^-1.
    """
    figure, ((axis,),) = panels(width=5.5, height=3.0)
    colour = model_styles([summary["model"]])[summary["model"]]["color"]
    wavenumber, states = density["wavenumber_cm1"], 1000 * density["density_cm"]
    axis.plot(wavenumber, states, color=colour, linewidth=0.8, label="trajectory")
    highest = states[wavenumber < 4000].max() if len(states) else 1.0
    axis.set_ylim(-0.12 * highest, 1.05 * highest)
    marks = np.full(len(frequencies), -0.07 * highest)
    axis.plot(frequencies, marks, "|", color=ink(), markersize=9, label="harmonic")
    axis.set_xlim(0, 4000)
    axis.set_xlabel("wavenumber (cm$^{-1}$)")
    axis.set_ylabel("density of states (10$^{-3}$ cm)")
    run = f"{summary['stable_ps']:g} ps at {summary['mean_temperature_k']:.0f} K"
    axis.set_title(f"{summary['molecule']} with {readable_name(summary['model'])}, {run}")
    axis.legend(loc="upper right")
    return figure


@styled
def scan(summary: Mapping[str, Any], table: pd.DataFrame) -> Figure:
    """Return the energy of the model and of GFN2-xTB while one bond is stretched and turned."""
    figure, axes = panels(2)
    model, reference = summary["model"], "GFN2-xTB"
    columns = {"model_energy_ev": model, "gfn2_energy_ev": reference}
    styles = model_styles(columns.values())
    labels = {"stretch": "length of {} (Å)", "torsion": "torsion about {} (°)"}
    for axis, kind in zip(axes[0], labels, strict=True):
        rows = table[table["scan"] == kind]
        if not len(rows):
            axis.text(0, 0.5, "no bond can turn", transform=axis.transAxes)
            axis.axis("off")
            continue
        for column, name in columns.items():
            line = styles[name] | {"marker": ""}
            axis.plot(rows["at"], rows[column], label=readable_name(name), **line)
        axis.set_xlabel(labels[kind].format(rows["bond"].iloc[0]))
        axis.set_ylabel("energy (eV)")
        energies = rows[list(columns)]
        low, high = np.nanmin(energies), min(SCAN_MAX_EV[kind], np.nanmax(energies))
        axis.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
    if len(table):
        axes[0, 1].set_xticks(range(0, 361, 90))
        axes[0, 1].set_ylabel("")
        legend_above(figure, axes[0, 0])
    axes[0, 0].set_title(f"{summary['molecule']}: bond stretched")
    axes[0, 1].set_title("bond turned")
    return figure


def logarithmic(axis: Axes) -> None:
    """Make the vertical axis logarithmic, with plain numbers."""
    axis.set_yscale("log")
    for which in (axis.yaxis.set_major_formatter, axis.yaxis.set_minor_formatter):
        which(LogFormatter(labelOnlyBase=False, minor_thresholds=(2, 0.5)))


@styled
def trajectory(
    frames: Sequence[Atoms], summaries: Sequence[Mapping[str, Any]], limit_a: float
) -> Figure:
    """Return temperature, energy and largest bond deviation over time, of one or several replicas.
    A last frame that ended a run early may lie outside the axes.
    """
    figure, axes = panels(1, 3, width=5.5, height=1.6, sharex=True)
    top, middle, bottom = axes[:, 0]
    first = summaries[0]
    colour = model_styles([first["model"]])[first["model"]]["color"]
    thin = {"linewidth": 0.7, "alpha": 1.0 if len(summaries) == 1 else 0.5}
    seen: dict[Axes, list[np.ndarray]] = {top: [], middle: []}
    for summary in summaries:
        number = summary["replica"]
        replica = [frame for frame in frames if frame.info.get("replica", 0) == number]
        time = np.array([frame.info["time_fs"] for frame in replica]) / 1000
        potential = np.array([frame.get_potential_energy() for frame in replica])
        total = np.array([frame.info["total_energy"] for frame in replica])
        whole = slice(None, -1 if summary["ended"] != "complete" and len(time) > 2 else None)
        lines = (
            (top, [frame.info["temperature_k"] for frame in replica], colour, None),
            (middle, potential - potential[0], GREY, "potential"),
            (middle, total - potential[0], colour, "total"),
        )
        for axis, values, shade, label in lines:
            axis.plot(time, values, shade, label=None if number else label, **thin)
            seen[axis].append(np.asarray(values)[whole])
        deviation = [frame.info["max_bond_deviation_a"] for frame in replica]
        bottom.plot(time, deviation, colour, **thin)
    held = min(summary["stable_ps"] for summary in summaries)
    ended = next((s["ended"] for s in summaries if s["ended"] != "complete"), "complete")
    many = f", {len(summaries)} replicas" if len(summaries) > 1 else ""
    top.set_title(
        f"{first['molecule']} with {readable_name(first['model'])}, {first['ensemble'].upper()}"
        f"{many}, {first['timestep_fs']:g} fs, {first['ms_per_step']:.1f} ms/step\n"
        f"{held:g} of {first['length_ps']:g} ps: {ended}"
    )
    limits = {"color": ink(), "linewidth": 0.8, "linestyle": "--"}
    top.axhline(first["temperature_k"], label="target", **limits)
    top.set_ylabel("temperature\n(K)")
    middle.set_ylabel("energy from\nstart (eV)")
    for axis, parts in seen.items():
        values = np.concatenate(parts)
        target = [first["temperature_k"]] if axis is top else []
        low, high = min([values.min(), *target]), max([values.max(), *target])
        margin = 0.1 * (high - low) + 1e-3
        axis.set_ylim(low - margin, high + 3 * margin)
    bottom.axhline(limit_a, label="limit", **limits)
    bottom.set_ylim(0, 1.3 * limit_a)
    bottom.set_ylabel("largest bond\ndeviation (Å)")
    bottom.set_xlabel("time (ps)")
    for axis in (top, middle, bottom):
        axis.legend(loc="upper right", ncols=2, borderaxespad=0, handlelength=1.2)
    figure.align_ylabels()
    return figure
