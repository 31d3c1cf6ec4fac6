"""The page of a run: one HTML file without references to other files or the network."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from ase import Atoms
from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from . import numbers, plots, words
from .drawings import skeletal_formula
from .gather import Model, Results, Trajectory, frames_on_page
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
    verdicts,
)

FOLDER = Path(__file__).parent


def script_json(value: Any) -> Markup:
    """Return JSON that may stand in a script element, whatever texts it contains."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


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
    courses: Sequence[Plot]
    spectrum: Plot | None
    modes: Sequence[Mapping[str, Any]]
    mode_data: Sequence[Any]
    scans: Mapping[str, Plot]
    scan_data: Mapping[str, Any] | None


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
    places = {model.name: place for place, model in enumerate(results.models)}
    environment = Environment(
        loader=FileSystemLoader(FOLDER), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["number"] = numbers.number
    environment.filters["size"] = numbers.size
    data = Data()
    trajectories = [_trajectory(results, one, judged, Path(folder)) for one in results.trajectories]
    references, forces = words.force_rows(results)
    costs = plots.cost(results.tables["cost"]) if len(results.tables["cost"]) else ()
    return environment.get_template("page.html.jinja").render(
        results=results,
        provenance=provenance,
        style=Markup((FOLDER / "report.css").read_text()),
        script=Markup((FOLDER / "report.js").read_text()),
        data=data,
        script_json=script_json,
        words=words,
        sentences=[(model, words.training_sentence(results, model)) for model in results.models],
        headlines=words.headlines(results),
        comparison=comparison(results),
        best=best_model(results),
        verdicts=judged,
        alarms=words.alarms(judged),
        hero=_hero(results, judged, trajectories),
        trajectories=trajectories,
        models=[_model(results, model, places[model.name]) for model in results.models],
        accuracy=words.accuracy_rows(results),
        published=words.published_rows(results),
        references=references,
        forces=forces,
        frequencies=words.frequency_rows(results),
        costs=words.cost_rows(results),
        cost_plots=costs,
        plots=_plots(results, places),
        config=yaml.safe_dump(
            _plain(results.config), sort_keys=False, allow_unicode=True, width=100
        ),
        geometries=_geometries(results),
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
        found["curves"] = plots.learning_curves(models)
    if len(results.tables["forces"]):
        found["forces"] = plots.force_errors(results.tables["forces"], places)
    if results.minima:
        found["frequencies"] = plots.frequency_errors(results.minima, places)
    uncertainty = results.tables["uncertainty"]
    for quantity in ("energy", "forces"):
        if len(uncertainty) and (uncertainty["quantity"] == quantity).any():
            found[quantity] = plots.reliability(uncertainty, quantity, places)
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
    replicas = [_player(frames, shown, name) for frames in trajectory.frames]
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
        courses=[plots.course(trajectory, n) for n in range(len(trajectory.frames))],
        spectrum=plots.spectrum(trajectory),
        modes=[
            {"place": n, "text": _wavenumber(mode.info["frequency_cm1"])}
            for n, mode in enumerate(trajectory.modes)
        ],
        mode_data=[np.round(mode.arrays["displacement"], 3).tolist() for mode in trajectory.modes],
        scans={kind: plot for kind, plot in scans.items() if plot is not None},
        scan_data=_player(trajectory.scan, len(trajectory.scan), name) if trajectory.scan else None,
    )


def _wavenumber(value: float) -> str:
    return f"{-value:.0f}i cm⁻¹ (imaginary)" if value < 0 else f"{value:.0f} cm⁻¹"


def _player(frames: Sequence[Atoms], shown: int, title: str) -> dict[str, Any]:
    from ..viewer.trajectory import trajectory_data

    return trajectory_data(frames, max_frames=shown, title=title)


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


def _geometries(results: Results) -> dict[str, Any]:
    """Return the molecules that a click can open, by their numbers."""
    if results.molecules is None:
        return {}
    from ..viewer.trajectory import structure_data

    wanted: set[int] = set()
    for model in results.models:
        if model.test is not None and len(model.test):
            error = model.test["error"]
            chosen = plots.sampled(error, plots.RANDOM_POINTS, plots.WORST_POINTS)
            wanted |= set(model.test["index"].iloc[chosen])
    for table in results.minima.values():
        wanted |= set(table["index"])
    places = words.places_of(results)
    found = {}
    for index in sorted(map(int, wanted)):
        _, numbers_, positions = results.molecules.geometry(places[index])
        found[str(index)] = structure_data(Atoms(numbers_, positions), title=f"no. {index}")
    return found
