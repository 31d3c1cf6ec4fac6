"""Interactive plots: each function returns what Plotly draws, as a dict that JSON can hold.

A colour such as "--nn-blue" is a CSS variable of the viewer; `report.js` puts its value in the
light or dark scheme in its place.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from ..analysis.error_groups import FEWEST_OF_SIZE, errors_of_elements, errors_of_sizes
from ..analysis.scan import scan_table
from ..data.molecules import Molecules
from ..models.names import readable_name
from ..units import readable
from .gather import Model, Trajectory
from .numbers import number

SERIES = (  # colours of models
    "--nn-blue", "--nn-vermilion", "--nn-green", "--nn-purple", "--nn-sky", "--nn-orange",
)  # fmt: skip
# models with the first colours, as in nnpipe.analysis.style: the same in all figures
FIRST = ("gnn", "mlp", "schnet", "gnn_u0")
REFERENCE, MUTED = "--nn-muted", "--nn-line"  # colours of other methods, and of help lines
LABELS = "--nn-orange"  # colour of the labels, which the models learn
RANDOM_POINTS, WORST_POINTS = 400, 40  # molecules per model in the plot of errors
RANDOM_MODES, WORST_MODES = 500, 60  # harmonic modes per model
SPECTRUM_POINTS = 1500
MAX_WAVENUMBER = 4000  # cm^-1
Values = dict[str, Any]


@dataclass(frozen=True)
class Plot:
    """A plot: its traces and layout, and its content in one sentence for those who cannot see it.

    `opens` says what a click or a pointer on a point does; see report.js.
    """

    name: str
    label: str
    data: Sequence[Values]
    layout: Values
    opens: str = ""
    height: int = 320
    unit: str = ""  # of y, for the text beside a molecule that is opened
    parity: Values = field(default_factory=dict)  # predictions that can be shown in place of errors

    def json(self) -> Values:
        """Return what report.js reads."""
        return {
            "data": list(self.data),
            "layout": self.layout,
            "opens": self.opens,
            "unit": self.unit,
            "parity": self.parity,
        }


def colour_places(models: Sequence[str]) -> dict[str, int]:
    """Return the place of each model's colour."""
    others = [model for model in models if model not in FIRST]
    return {
        model: FIRST.index(model) if model in FIRST else len(FIRST) + others.index(model)
        for model in models
    }


def colour(place: int) -> str:
    """Return the colour of a series."""
    return SERIES[place % len(SERIES)]


def _layout(x: str, y: str, **others: Any) -> Values:
    axes = {"xaxis": {"title": {"text": x}}, "yaxis": {"title": {"text": y}}}
    for name in ("xaxis", "yaxis"):
        axes[name] |= others.pop(name, {})
    return axes | others


def _round(values: Any, digits: int = 4) -> list[float | None]:
    """Return numbers with `digits` significant digits, None for those that are not finite."""
    found = np.asarray(values, float)
    return [float(f"{v:.{digits}g}") if np.isfinite(v) else None for v in found]


def sampled(size: pd.Series, random: int, worst: int) -> np.ndarray:
    """Return positions of the `worst` largest values and of `random` others, sorted.

    The random draw depends on the number of values alone: models of one test set share it.
    """
    order = np.argsort(-np.abs(size.to_numpy()), kind="stable")
    drawn = np.random.default_rng(0).permutation(len(size))[:random]
    return np.unique(np.concatenate([order[:worst], drawn]))


def errors(model: Model, place: int) -> Plot:
    """Return the error of test molecules against their label; a click opens the molecule."""
    assert model.test is not None
    factor, unit = readable(model.info.unit)
    chosen = sampled(model.test["error"], RANDOM_POINTS, WORST_POINTS)
    table = model.test.iloc[chosen]
    label = table["target"] - table["reference"]
    trace = {
        "type": "scatter",
        "mode": "markers",
        "x": _round(label, 5),
        "y": _round(table["error"] * factor),
        "customdata": table["index"].tolist(),
        "marker": {"color": colour(place), "size": 6, "opacity": 0.6},
        "hovertemplate": f"no. %{{customdata}}: %{{y:.4~g}} {unit}<extra></extra>",
        "name": model.label,
    }
    return Plot(
        name=f"errors-{model.name}",
        label=f"Errors of {model.label} on {len(table)} test molecules against their label.",
        data=[trace],
        layout=_layout(
            f"label minus energies of atoms ({model.info.unit})",
            f"error: predicted minus label ({unit})",
            showlegend=False,
            hovermode="closest",
        ),
        opens="molecule",
        unit=unit,
        parity={
            "y": _round(label + table["error"], 6),
            "label": f"predicted minus energies of atoms ({model.info.unit})",
            "hover": f"no. %{{customdata}}: %{{y}} {model.info.unit}<extra></extra>",
        },
    )


def error_histogram(model: Model, place: int) -> Plot:
    """Return the distribution of the errors of all test molecules but the largest percent."""
    assert model.test is not None
    factor, unit = readable(model.info.unit)
    error = model.test["error"].to_numpy() * factor
    widest = max(float(np.quantile(np.abs(error), 0.99)), 1e-9)
    counts, edges = np.histogram(error, np.linspace(-widest, widest, 42))
    return Plot(
        name=f"histogram-{model.name}",
        label=f"Distribution of the errors of {model.label} around zero.",
        data=[
            {
                "type": "bar",
                "x": _round((edges[1:] + edges[:-1]) / 2),
                "y": counts.tolist(),
                "marker": {"color": colour(place)},
                "hovertemplate": f"%{{y}} molecules near %{{x}} {unit}<extra></extra>",
            }
        ],
        layout=_layout(f"error ({unit})", "test molecules", bargap=0.05),
    )


def error_by_size(models: Sequence[Model], places: Mapping[str, int]) -> Plot:
    """Return the MAE on test molecules of models in eV against the number of atoms."""
    traces = []
    for model in models:
        assert model.test is not None
        sizes = errors_of_sizes(1000 * model.test["error"].abs(), model.test["atoms"])
        shown = sizes[sizes["count"] >= min(FEWEST_OF_SIZE, sizes["count"].max())]
        lines = {"type": "scatter", "mode": "lines+markers"}
        shade = {"line": {"color": colour(places[model.name])}}
        traces.append(lines | shade | _groups(model, shown, "%{x} atoms"))
    return Plot(
        name="size",
        label="Mean error of each model against the number of atoms of a molecule.",
        data=traces,
        layout=_layout("atoms in the molecule", "mean error (meV)", yaxis={"type": "log"}),
    )


def error_by_element(
    models: Sequence[Model], molecules: Molecules, places: Mapping[str, int]
) -> Plot:
    """Return the MAE of models in eV on the test molecules that contain an element."""
    traces = []
    for model in models:
        assert model.test is not None
        elements = errors_of_elements(
            1000 * model.test.set_index("index")["error"].abs(), molecules
        )
        shade = {"marker": {"color": colour(places[model.name])}}
        traces.append({"type": "bar"} | shade | _groups(model, elements, "with %{x}"))
    return Plot(
        name="element",
        label="Mean error of each model on molecules that contain an element.",
        data=traces,
        layout=_layout("the molecule contains", "mean error (meV)", barmode="group"),
    )


def _groups(model: Model, table: pd.DataFrame, name: str) -> Values:
    """Return what a trace shows of errors (meV) of groups; `name` names a group at a pointer."""
    return {
        "name": model.label,
        "x": table.index.tolist(),
        "y": _round(table["mean"]),
        "customdata": table["count"].tolist(),
        "hovertemplate": f"{name}: %{{y}} meV (%{{customdata}} molecules)",
    }


def learning_curves(models: Sequence[Model], places: Mapping[str, int]) -> Plot:
    """Return the error on validation molecules against the epoch of the training."""
    traces = []
    for model in models:
        history = model.history
        if history.empty or "validation_mae" not in history:
            continue
        factor, unit = readable(model.info.unit)
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": f"{model.label} ({unit})",
                "x": history["epoch"].tolist(),
                "y": _round(history["validation_mae"] * factor),
                "customdata": _round(history["seconds"] / 60, 3),
                "line": {"color": colour(places[model.name])},
                "hovertemplate": f"epoch %{{x}}, %{{customdata}} min: %{{y}} {unit}",
            }
        )
    units = {readable(model.info.unit)[1] for model in models}
    unit = units.pop() if len(units) == 1 else "unit in the legend"
    return Plot(
        name="curves",
        label="Error on validation molecules after each epoch of the training.",
        data=traces,
        layout=_layout(
            "epoch (pass over the training data)",
            f"validation error ({unit})",
            yaxis={"type": "log"},
            xaxis={"rangemode": "tozero"},
        ),
    )


def force_errors(table: pd.DataFrame, places: Mapping[str, int]) -> Plot:
    """Return the MAE of forces of each model, of the labels and of GFN2-xTB."""
    colours = {"labels": LABELS} | {model: colour(place) for model, place in places.items()}
    traces = [
        {
            "type": "bar",
            "name": readable_name(str(model)),
            "x": rows["reference"].tolist(),
            "y": _round(rows["mae_mev_per_a"]),
            "marker": {"color": colours.get(str(model), REFERENCE)},
            "hovertemplate": "%{x}: %{y} meV/Å",
        }
        for model, rows in table.groupby("model", sort=False)
    ]
    return Plot(
        name="forces",
        label="Mean error of force components of each model and method on reference geometries.",
        data=traces,
        layout=_layout("geometries", "mean force error (meV/Å)", barmode="group"),
    )


def frequency_errors(minima: Mapping[str, pd.DataFrame], places: Mapping[str, int]) -> Plot:
    """Return the deviation of harmonic frequencies against the frequencies of the data set; larger
    ones are crosses at the edge.
    """
    deviations = {
        model: whole["frequency_cm1"] - whole["reference_cm1"] for model, whole in minima.items()
    }
    extent = max(50.0, *(float(d.abs().quantile(0.98)) for d in deviations.values()))
    traces = []
    for model, whole in minima.items():
        chosen = sampled(deviations[model], RANDOM_MODES, WORST_MODES)
        table, deviation = whole.iloc[chosen], deviations[model].iloc[chosen]
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": readable_name(model),
                "x": _round(table["reference_cm1"]),
                "y": _round(deviation.clip(-1.2 * extent, 1.2 * extent)),
                "text": [f"{value:+.4g}" for value in deviation],
                "customdata": table["index"].tolist(),
                "marker": {
                    "symbol": np.where(deviation.abs() > 1.2 * extent, "cross", "circle").tolist(),
                    "color": colour(places[model]) if model in places else REFERENCE,
                    "size": 5,
                    "opacity": 0.55,
                },
                "hovertemplate": "%{x} cm⁻¹: %{text} cm⁻¹, molecule no. %{customdata}",
            }
        )
    return Plot(
        name="frequencies",
        label="Deviation of harmonic frequencies from QM9 against the frequency of QM9.",
        data=traces,
        layout=_layout(
            "frequency in QM9 (cm⁻¹)",
            "deviation (cm⁻¹)",
            yaxis={"range": [-1.3 * extent, 1.3 * extent]},
            hovermode="closest",
        ),
        opens="molecule",
        unit="cm⁻¹",
    )


def reliability(table: pd.DataFrame, quantity: str, places: Mapping[str, int]) -> Plot:
    """Return the observed against the expected error of a quantity, energy or forces."""
    rows = table[table["quantity"] == quantity]
    unit = rows["unit"].iloc[0]
    ends = np.array([rows["expected"].min() * 0.8, rows["expected"].max() * 1.25])
    traces: list[Values] = [
        {
            "type": "scatter",
            "mode": "lines",
            "x": _round([*ends, *ends[::-1]]),
            "y": _round([*ends / 1.5, *(1.5 * ends[::-1])]),
            "fill": "toself",
            "fillcolor": MUTED,
            "line": {"width": 0},
            "name": "within a factor of 1.5",
            "hoverinfo": "skip",
        },
        {
            "type": "scatter",
            "mode": "lines",
            "x": _round(ends),
            "y": _round(ends),
            "line": {"color": REFERENCE, "width": 1},
            "showlegend": False,
            "hoverinfo": "skip",
        },
    ]
    for model, of_model in rows.groupby("model", sort=False):
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": readable_name(str(model)),
                "x": _round(of_model["expected"]),
                "y": _round(of_model["observed"]),
                "line": {"color": colour(places.get(model, 0))},
                "hovertemplate": f"expected %{{x}}, observed %{{y}} {unit}",
            }
        )
    log = {"type": "log", "dtick": "D2"}
    return Plot(
        name=f"reliability-{quantity}",
        label=f"Observed against expected error of {quantity} on held-out molecules.",
        data=traces,
        layout=_layout(
            f"expected error ({unit})", f"observed error ({unit})", xaxis=log, yaxis=log
        ),
    )


def cost(table: pd.DataFrame) -> tuple[Plot, Plot]:
    """Return the time and the memory of every rule: sums and maxima over its jobs."""
    rules = table.groupby("rule", sort=False)
    names = list(rules.groups)
    found = []
    for name, values, title, unit in (
        ("seconds", rules["seconds"].sum(), "wall time, sum over jobs (s)", "s"),
        ("memory", rules["peak_memory_mb"].max(), "peak memory of a job (MiB)", "MiB"),
    ):
        found.append(
            Plot(
                name=f"cost-{name}",
                label=f"Bars: {title} of every rule.",
                data=[
                    {
                        "type": "bar",
                        "orientation": "h",
                        "x": _round(values.loc[names], 3),
                        "y": names,
                        "text": [number(value) for value in values.loc[names]],
                        "textposition": "outside",
                        "cliponaxis": False,
                        "marker": {"color": colour(0)},
                        "hovertemplate": f"%{{y}}: %{{x}} {unit}<extra></extra>",
                    }
                ],
                layout=_layout(
                    title,
                    "",
                    xaxis={"range": [0, 1.2 * float(values.max())]},  # room for the numbers
                    yaxis={"autorange": "reversed", "automargin": True},
                ),
                height=60 + 26 * len(names),
            )
        )
    return found[0], found[1]


def spectrum(trajectory: Trajectory) -> Plot | None:
    """Return the vibrational density of states with the harmonic modes, which a click shows."""
    table = trajectory.spectrum
    if table is None or table.empty:
        return None
    table = table[table["wavenumber_cm1"] <= MAX_WAVENUMBER]
    group = max(1, -(-len(table) // SPECTRUM_POINTS))
    table = table.groupby(np.arange(len(table)) // group).mean()
    density = 1000 * table["density_cm"]
    traces = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": "trajectory",
            "x": _round(table["wavenumber_cm1"]),
            "y": _round(density, 3),
            "line": {"color": colour(0), "width": 1},
            "hovertemplate": "%{x:.0f} cm⁻¹",
        }
    ]
    if trajectory.modes:
        frequencies = [mode.info["frequency_cm1"] for mode in trajectory.modes]
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": "harmonic modes (click one)",
                "x": _round(frequencies, 5),
                "y": [-0.06 * float(density.max())] * len(frequencies),
                "customdata": list(range(len(frequencies))),
                "marker": {
                    "symbol": "line-ns-open",
                    "size": 14,
                    "color": colour(1),
                    "line": {"width": 2},
                },
                "hovertemplate": "mode at %{x:.0f} cm⁻¹: click to see it<extra></extra>",
            }
        )
    return Plot(
        name=f"spectrum-{trajectory.name}",
        label=f"Vibrational density of states of {trajectory.name}, with its harmonic modes.",
        data=traces,
        layout=_layout(
            "wavenumber (cm⁻¹)",
            "density of states (10⁻³ cm)",
            xaxis={"range": [0, MAX_WAVENUMBER]},
            hovermode="closest",
        ),
        opens="mode",
        height=300,
    )


HIGHEST_EV = {"stretch": 8.0, "torsion": 2.5}  # of a scan; above, atoms collide
SCANS = {"stretch": "length of {} (Å)", "torsion": "torsion about {} (°)"}


def scan(trajectory: Trajectory, kind: str) -> Plot | None:
    """Return the energy along the stretch or torsion of a bond; a pointer shows the geometry."""
    table = scan_table(trajectory.scan)
    rows = table[table["scan"] == kind]
    if rows.empty:
        return None
    traces, lowest, highest = [], 0.0, 0.0
    for name, key, place, dash in (
        (readable_name(trajectory.model), "model_energy_ev", 0, "solid"),
        ("GFN2-xTB", "gfn2_energy_ev", -1, "dash"),
    ):
        finite = rows[key][np.isfinite(rows[key])]
        lowest, highest = min([lowest, *finite]), max([highest, *finite])
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": name,
                "x": _round(rows["at"]),
                "y": _round(rows[key]),
                "customdata": rows.index.tolist(),
                "line": {"color": colour(0) if place == 0 else REFERENCE, "dash": dash},
                "hovertemplate": "%{y:.3~g} eV",
            }
        )
    highest = min(highest, HIGHEST_EV[kind])
    margin = 0.05 * (highest - lowest) + 1e-3
    return Plot(
        name=f"{kind}-{trajectory.name}",
        label=f"Energy along the {kind} of a bond, of the model and of GFN2-xTB.",
        data=traces,
        layout=_layout(
            SCANS[kind].format(rows["bond"].iloc[0]),
            "energy (eV)",
            yaxis={"range": [lowest - margin, highest + margin]},
            hovermode="x unified",
        ),
        opens="geometry",
        height=280,
    )
