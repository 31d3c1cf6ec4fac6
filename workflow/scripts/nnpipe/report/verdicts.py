"""What the numbers of a run mean: which model is better, and which trajectories can be trusted.

Every verdict follows from fixed limits, which the page states.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..simulation.md import MAX_OUTSIDE_PERCENT
from ..units import CAL_PER_MOL
from .gather import Results, Trajectory
from .numbers import number, times

CHEMICAL_ACCURACY_MEV = 1e6 * CAL_PER_MOL  # 1 kcal/mol
LARGE_FORCE_ERROR = 200.0  # meV/Å, about the mean error of GFN2-xTB against DFT
MOSTLY_OUTSIDE_PERCENT = 50.0  # of the frames: a trajectory that no data supports
TEMPERATURE_PERCENT = 10.0  # deviation of the mean from the thermostat's temperature
DRIFT_MEV = 1.0  # per atom and ps
POOR_MEV = 10 * CHEMICAL_ACCURACY_MEV  # error of energies from which a model is only a test

Level = Literal["good", "care", "bad"]
WORDS: Mapping[Level, str] = {
    "good": "can be trusted",
    "care": "with care",
    "bad": "not to be trusted",
}


@dataclass(frozen=True)
class Check:
    """One criterion of a trajectory."""

    name: str
    level: Level
    value: str
    reason: str = ""  # in words, if the level is not good


@dataclass(frozen=True)
class Verdict:
    """Whether a trajectory can be trusted, and why."""

    trajectory: str
    model: str
    molecule: str
    replica: int | None  # None if there is only one
    checks: Sequence[Check]

    @property
    def name(self) -> str:
        """The molecule, the model and the replica."""
        replica = "" if self.replica is None else f" (replica {self.replica})"
        return f"{self.molecule} with {self.model}{replica}"

    @property
    def level(self) -> Level:
        """The worst level of the checks."""
        levels = {check.level for check in self.checks}
        return "bad" if "bad" in levels else "care" if "care" in levels else "good"

    @property
    def words(self) -> str:
        """The level in words."""
        return WORDS[self.level]

    @property
    def reasons(self) -> list[str]:
        """Why the level is not good, the worst reason first."""
        found = sorted(self.checks, key=lambda check: ("bad", "care", "good").index(check.level))
        return [check.reason for check in found if check.level != "good"]


def verdicts(results: Results) -> list[Verdict]:
    """Return a verdict for each trajectory and replica."""
    return [
        _verdict(results, trajectory, summary)
        for trajectory in results.trajectories
        for summary in trajectory.summaries
    ]


def trust(judged: Sequence[Verdict]) -> str:
    """Return one sentence: how many trajectories can be trusted, and which cannot."""
    if not judged:
        return "This run has no trajectory."
    good = [verdict for verdict in judged if verdict.level == "good"]
    names = {level: _and([v.name for v in judged if v.level == level]) for level in ("care", "bad")}
    if len(good) == len(judged):
        return (
            f"All {len(judged)} trajectories can be trusted."
            if len(good) > 1
            else (f"The trajectory of {judged[0].name} can be trusted.")
        )
    if len(judged) == 1:
        advice = (
            "Take the trajectory of {} with care."
            if names["care"]
            else ("Do not use the trajectory of {}.")
        )
        return advice.format(judged[0].name)
    start = f"{len(good) or 'None'} of {len(judged)} trajectories can be trusted"
    care = f"take {names['care']} with care" if names["care"] else ""
    bad = f"do not use {names['bad']}" if names["bad"] else ""
    return f"{start}; {', and '.join(filter(None, (care, bad)))}."


def _verdict(results: Results, trajectory: Trajectory, summary: Mapping[str, Any]) -> Verdict:
    checks = [
        _complete(summary),
        _bonds(summary, trajectory.limit_a),
        _domain(summary),
        _force_error(results, trajectory, summary),
        *_thermodynamics(summary),
    ]
    many = len(trajectory.summaries) > 1
    return Verdict(
        trajectory=trajectory.name,
        model=results.model(trajectory.model).label,
        molecule=trajectory.molecule,
        replica=int(summary["replica"]) if many else None,
        checks=checks,
    )


def _complete(summary: Mapping[str, Any]) -> Check:
    done, length = summary["stable_ps"], summary["length_ps"]
    value = f"{number(done)} of {number(length)} ps"
    if summary["ended"] == "complete":
        return Check("complete", "good", value)
    return Check(
        "complete",
        "bad",
        value,
        f"the run ended early, after {value}: {summary['ended']}",
    )


def _bonds(summary: Mapping[str, Any], limit_a: float) -> Check:
    deviation = summary["max_bond_deviation_a"]
    value = f"{deviation:.2f} Å"
    if summary["hydrogen_lost"]:
        return Check("bonds", "bad", value, "a hydrogen atom left its molecule")
    if deviation > limit_a:
        return Check("bonds", "bad", value, f"a bond length changed by {value}")
    return Check("bonds", "good", value)


def _domain(summary: Mapping[str, Any]) -> Check:
    outside = _value(summary, "outside_training_fraction") * 100
    if np.isnan(outside):
        reason = "the model has no uncertainty, so nothing shows whether it was trained for this"
        return Check("domain", "care", "unknown", reason)
    value = f"{number(outside, 2)} %"
    reason = f"{value} of the frames are unlike the training data"
    if outside > MOSTLY_OUTSIDE_PERCENT:
        return Check("domain", "bad", value, reason)
    return Check("domain", "care" if outside > MAX_OUTSIDE_PERCENT else "good", value, reason)


def _force_error(results: Results, trajectory: Trajectory, summary: Mapping[str, Any]) -> Check:
    """Judge by the error that was measured on geometries of this molecule, if there is one."""
    where = {"model": trajectory.model, "reference": trajectory.molecule}
    measured = results.row("forces", **where)
    expected = _value(summary, "forces_uncertainty_mev_per_a")
    if measured is not None:
        error = float(measured["mae_mev_per_a"])
        value = f"{number(error)} meV/Å measured"
        if np.isfinite(expected):
            value += f", {expected:.0f} expected"
        of = f"on {number(measured['n_frames'], 9)} geometries with DFT forces"
        reason = f"the error of a force component, measured {of}, is {number(error)} meV/Å"
    elif np.isnan(expected):
        return Check("forces", "care", "unknown", "the error of the forces is not known")
    else:
        error, value = expected, f"{expected:.0f} meV/Å expected"
        reason = f"the expected error of a force component is {expected:.0f} meV/Å"
    return Check("forces", "care" if error > LARGE_FORCE_ERROR else "good", value, reason)


def _thermodynamics(summary: Mapping[str, Any]) -> list[Check]:
    """Return checks that few runs fail: relaxed start, mean temperature, drift of the energy."""
    mean, target = summary["mean_temperature_k"], summary["temperature_k"]
    drift = abs(_value(summary, "drift_mev_per_atom_per_ps"))
    spread = _value(summary, "drift_ci95_mev_per_atom_per_ps")
    checks = []
    if summary["ensemble"] == "nvt" and target > 0:
        off = 100 * abs(mean / target - 1)
        level: Level = "care" if off > TEMPERATURE_PERCENT else "good"
        reason = f"the mean temperature is {number(mean)} K in place of {number(target)} K"
        checks.append(Check("temperature", level, f"{number(mean)} K", reason))
    if drift > DRIFT_MEV and drift > spread:
        value = f"{number(drift)} meV per atom and ps"
        checks.append(Check("drift", "care", value, f"the total energy drifts by {value}"))
    return checks


def _value(summary: Mapping[str, Any], name: str) -> float:
    """Return a number of a summary, nan if it is missing."""
    value = summary.get(name)
    return np.nan if value is None else float(value)


@dataclass(frozen=True)
class Measure:
    """One kind of error, with its value for every model of energy: nan where unknown."""

    name: str  # energies, forces, frequencies
    unit: str
    errors: Mapping[str, float]  # by the name of the model

    @property
    def known(self) -> dict[str, float]:
        """The values that are known."""
        return {name: value for name, value in self.errors.items() if not np.isnan(value)}


def measures(results: Results) -> list[Measure]:
    """Return the errors of all models of energy that the run has measured."""
    names = [model.name for model in results.models if model.is_surface]
    references = results.tables["forces"].get("reference")
    first = None if references is None or references.empty else references.iloc[0]
    found = [
        Measure("energies", "meV", {n: 1000 * _of(results, "accuracy", n, "mae") for n in names}),
        Measure(
            "forces",
            "meV/Å",
            {n: _of(results, "forces", n, "mae_mev_per_a", reference=first) for n in names},
        ),
        Measure(
            "frequencies", "cm⁻¹", {n: _of(results, "frequencies", n, "mae_cm1") for n in names}
        ),
    ]
    return [measure for measure in found if measure.known]


def _of(results: Results, table: str, model: str, column: str, **values: Any) -> float:
    where = {"split": "test"} if table == "accuracy" else values
    row = results.row(table, model=model, **where)
    return np.nan if row is None else float(row[column])


def best_model(results: Results) -> str | None:
    """Return the name of the model of energy with the smallest errors in most measures: forces
    decide a tie, as dynamics follows them. None if there is no model of energy.
    """
    surfaces = [model.name for model in results.models if model.is_surface]
    if not surfaces:
        return None
    wins = dict.fromkeys(surfaces, 0.0)
    for measure in measures(results):
        best = min(measure.known, key=lambda name: measure.known[name])
        wins[best] += 1.5 if measure.name == "forces" else 1
    return max(wins, key=lambda name: wins[name])


def comparison(results: Results) -> list[str]:
    """Return sentences that say which model is better, and how good it is."""
    best, found = best_model(results), measures(results)
    if best is None:
        return ["No model of this run predicts the potential energy, which dynamics needs."]
    label = results.model(best).label
    sentences = []
    others = [m for m in results.models if m.is_surface and m.name != best]
    for other in others:
        pairs = [m for m in found if {best, other.name} <= set(m.known)]
        won = [m for m in pairs if m.known[best] <= m.known[other.name]]
        lost = [m for m in pairs if m not in won]
        ratios = _and([f"{m.name} {times(m.known[other.name] / m.known[best])}" for m in won])
        if pairs and not lost:
            sentences.append(
                f"{label} is better than {other.label}: its errors are smaller ({ratios})."
            )
        elif won:
            worse = _and([f"{m.name} {times(m.known[best] / m.known[other.name])}" for m in lost])
            sentences.append(
                f"{label} is better than {other.label} in some respects (errors of {ratios}"
                f" smaller) and worse in others (errors of {worse} larger)."
            )
    sentences += _quality(label, {m.name: m.known.get(best, np.nan) for m in found})
    return sentences


def _quality(label: str, errors: Mapping[str, float]) -> list[str]:
    """Return how good a model is by itself."""
    energy, accuracy = errors.get("energies", np.nan), number(CHEMICAL_ACCURACY_MEV, 2)
    if np.isnan(energy):
        return []
    if energy > POOR_MEV:
        return [
            f"The energies of {label} are wrong by {number(energy)} meV on average, more than ten"
            f" times chemical accuracy ({accuracy} meV). Take this run as a test of the workflow,"
            " not as a simulation."
        ]
    if energy > CHEMICAL_ACCURACY_MEV:
        return [
            f"The mean error of the energies of {label} is {number(energy)} meV, above chemical"
            f" accuracy ({accuracy} meV)."
        ]
    return [
        f"The mean error of the energies of {label} is {number(energy)} meV, below chemical"
        f" accuracy ({accuracy} meV), on molecules of the size of the test molecules."
    ]


def _and(parts: Sequence[str]) -> str:
    """Return the parts as people list them."""
    return ", ".join(parts[:-1]) + (" and " if len(parts) > 1 else "") + parts[-1] if parts else ""
