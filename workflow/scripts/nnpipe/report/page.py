"""The page of a run: one HTML file without references to other files or the network."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from ase import Atoms
from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from ..viewer import player as viewer
from ..viewer.vendor import libraries
from . import numbers, plots, words
from .drawings import skeletal_formula
from .gather import Model, Results, Trajectory, frames_on_page
from .headlines import headlines
from .plots import Plot
from .provenance import Provenance
from .verdicts import (
    CHEMICAL_ACCURACY_MEV,
    DRIFT_MEV,
    LARGE_FORCE_ERROR,
    MAX_OUTSIDE_PERCENT,
    MOSTLY_OUTSIDE_PERCENT,
    TEMPERATURE_PERCENT,
    Verdict,
    best_model,
    comparison,
    trust,
    verdicts,
)

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class ModelSection:
    """What the page shows of the accuracy of one model."""

    model: Model
    errors: Plot | None
    histogram: Plot | None
    worst: Sequence[words.Worst]
    shown: int  # points in the plot of errors


@dataclass(frozen=True)
class TrajectorySection:
    """What the page shows of one trajectory."""

    trajectory: Trajectory
    label: str  # of the model
    verdicts: Sequence[Verdict]
    drawing: Markup | None
    formula: Markup
    facts: Sequence[str]
    link: str
    whole: str
    shown: str
    replicas: Sequence[Mapping[str, Any]]  # data of players
    spectrum: Plot | None
    modes: Sequence[str]  # names of the normal modes
    mode_data: Mapping[str, Any] | None
    scans: Mapping[str, Plot]
    minimum: int  # place of the lowest energy of the model in the scan
    scan_data: Mapping[str, Any] | None
    bond: Sequence[int]  # atoms of the bond in the scan


@dataclass
class Data:
    """JSON that scripts of the page read, by the id of its element."""

    elements: dict[str, Any] = field(default_factory=dict)

    def add(self, value: Any, prefix: str) -> str:
        """Keep a value and return the id of its element."""
        name = f"{prefix}-{len(self.elements)}"
        self.elements[name] = value
        return name


def page(results: Results, provenance: Provenance, folder: str | Path) -> str:
    """Return the HTML of the page that lies in `folder`, to which links are relative."""
    judged = verdicts(results)
    places = plots.colour_places([model.name for model in results.models])
    environment = Environment(
        loader=FileSystemLoader(FOLDER), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"number": numbers.number, "size": numbers.size}
    environment.filters["units"] = words.units
    environment.filters["sentence"] = lambda text: text[:1].upper() + text[1:]
    data = Data()
    trajectories = [_trajectory(results, one, judged, Path(folder)) for one in results.trajectories]
    models = [_model(results, model, places[model.name]) for model in results.models]
    compared = _plots(results, places)
    references, forces = words.force_rows(results)
    kinds, profiles = words.profile_rows(results)
    costs = plots.cost(results.tables["cost"]) if len(results.tables["cost"]) else ()
    body = environment.get_template("page.html.jinja").render(
        results=results,
        provenance=provenance,
        script=Markup((FOLDER / "report.js").read_text()),
        data=data,
        as_json=lambda value: Markup(viewer.as_json(value)),
        libraries=libraries(),
        words=words,
        origin=words.data_sentences(results),
        sentences=[(model, words.training_sentence(results, model)) for model in results.models],
        headlines=headlines(results),
        comparison=comparison(results),
        trust=trust(judged),
        best=best_model(results),
        verdicts=judged,
        alarms=words.alarms(judged),
        hero=_hero(results, judged, trajectories),
        trajectories=trajectories,
        models=models,
        accuracy=words.accuracy_rows(results),
        published=words.published_rows(results),
        references=references,
        forces=forces,
        kinds=kinds,
        profiles=profiles,
        frequencies=words.frequency_rows(results),
        costs=words.cost_rows(results),
        cost_plots=costs,
        cost_sentence=words.cost_sentence(results),
        plots=compared,
        config=yaml.safe_dump(
            _plain(results.config), sort_keys=False, allow_unicode=True, width=100
        ),
        geometries=_geometries(
            results, [*compared.values(), *(one.errors for one in models if one.errors)]
        ),
        limits={
            "chemical": CHEMICAL_ACCURACY_MEV,
            "force": LARGE_FORCE_ERROR,
            "outside": MAX_OUTSIDE_PERCENT,
            "mostly": MOSTLY_OUTSIDE_PERCENT,
            "temperature": TEMPERATURE_PERCENT,
            "drift": DRIFT_MEV,
        },
        random_points=plots.RANDOM_POINTS,
        worst_points=plots.WORST_POINTS,
    )
    style = f"<style>{(FOLDER / 'report.css').read_text()}</style>"
    return viewer.page(body, f"nnpipe: report, {provenance.date[:10]}", style)


def _plain(value: Any) -> Any:
    """Return a configuration as plain dictionaries and lists."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value


def _plots(results: Results, places: Mapping[str, int]) -> dict[str, Plot]:
    """Return the plots that compare models, by their names; one without data is left out."""
    found, models = {}, results.models
    tested = [m for m in models if m.test is not None and m.info.unit == "eV"]
    if tested:
        found["size"] = plots.error_by_size(tested, places)
        if results.molecules is not None:
            found["element"] = plots.error_by_element(tested, results.molecules, places)
    if any(not model.history.empty for model in models):
        found["curves"] = plots.learning_curves(models, places)
    if len(results.tables["forces"]):
        found["forces"] = plots.force_errors(results.tables["forces"], places)
    if results.minima:
        found["frequencies"] = plots.frequency_errors(results.minima, places)
    uncertainty = results.tables["uncertainty"]
    for quantity in ("energy", "forces"):
        if len(uncertainty) and (uncertainty["quantity"] == quantity).any():
            found[f"reliability_{quantity}"] = plots.reliability(uncertainty, quantity, places)
    return found


def _model(results: Results, model: Model, place: int) -> ModelSection:
    if model.test is None or model.test.empty:
        return ModelSection(model, None, None, [], 0)
    errors = plots.errors(model, place)
    return ModelSection(
        model=model,
        errors=errors,
        histogram=plots.error_histogram(model, place),
        worst=words.worst_molecules(results, model),
        shown=len(errors.data[0]["x"]),
    )


def _trajectory(
    results: Results, trajectory: Trajectory, judged: Sequence[Verdict], folder: Path
) -> TrajectorySection:
    sizes = [len(one.start) for one in results.trajectories]
    shown = frames_on_page(len(trajectory.start), sizes, len(trajectory.summaries))
    name = f"{trajectory.molecule} with {results.model(trajectory.model).label}"
    replicas = [
        viewer.trajectory_data(frames, max_frames=shown, title=name) for frames in trajectory.frames
    ]
    scans = {kind: plots.scan(trajectory, kind) for kind in plots.SCANS}
    try:
        link = trajectory.path.relative_to(folder).as_posix()
    except ValueError:
        link = ""
    drawing = skeletal_formula(
        trajectory.structure, f"Skeletal formula of {trajectory.molecule}", 220, 150
    )
    return TrajectorySection(
        trajectory=trajectory,
        label=results.model(trajectory.model).label,
        verdicts=[verdict for verdict in judged if verdict.trajectory == trajectory.name],
        drawing=drawing,
        formula=words.formula_html(words.formula_of(trajectory.start.numbers)),
        facts=words.facts(trajectory),
        link=link,
        whole=words.whole_file(trajectory),
        shown=words.shown_frames(trajectory, min(shown, len(trajectory.frames[0]))),
        replicas=replicas,
        spectrum=plots.spectrum(trajectory),
        modes=[_wavenumber(mode.info["frequency_cm1"]) for mode in trajectory.modes],
        mode_data=viewer.modes_data(trajectory.modes, name) if trajectory.modes else None,
        scans={kind: plot for kind, plot in scans.items() if plot is not None},
        minimum=min(
            range(len(trajectory.scan)),
            key=lambda n: abs(trajectory.scan[n].info["model_energy_ev"]),
            default=0,
        ),
        scan_data=_scan(trajectory.scan, name) if trajectory.scan else None,
        bond=[int(n) for n in re.findall(r"\d+", trajectory.scan[0].info["bond"])]
        if trajectory.scan
        else [],
    )


def _scan(frames: Sequence[Atoms], title: str) -> dict[str, Any]:
    """Return the data of a player of the geometries of a scan."""
    words_of = {
        "stretch": "length of {bond}: {at:.2f} Å",
        "torsion": "torsion about {bond}: {at:.0f}°",
    }
    labels = [words_of[frame.info["scan"]].format(**frame.info) for frame in frames]
    data = viewer.trajectory_data(frames, len(frames), title=title, superpose=False, labels=labels)
    return data | {"traces": None, "colours": {}}


def _wavenumber(value: float) -> str:
    return f"{-value:.0f}i cm⁻¹ (imaginary)" if value < 0 else f"{value:.0f} cm⁻¹"


def _hero(
    results: Results, judged: Sequence[Verdict], sections: Sequence[TrajectorySection]
) -> TrajectorySection | None:
    """Return the trajectory at the top: of the best model, the first that can be trusted most."""
    level = {verdict.trajectory: verdict.level for verdict in reversed(judged)}
    ranks = ("good", "care", "bad")
    best = best_model(results)
    return min(
        sections,
        key=lambda one: (one.trajectory.model != best, ranks.index(level[one.trajectory.name])),
        default=None,
    )


def _geometries(results: Results, shown: Sequence[Plot]) -> dict[str, Any]:
    """Return the molecules that a click on a point of a plot can open, by their numbers."""
    if results.molecules is None:
        return {}
    traces = [trace for plot in shown if plot.opens == "molecule" for trace in plot.data]
    found = {}
    for index in sorted({index for trace in traces for index in trace["customdata"]}):
        place = int(np.searchsorted(results.molecules.index, index))
        _, numbers_, positions = results.molecules.geometry(place)
        found[str(index)] = viewer.structure_data(Atoms(numbers_, positions), f"no. {index}")
    return found
