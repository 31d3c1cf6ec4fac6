"""The numbers at the top of the page, with their meaning."""

from dataclasses import dataclass

import numpy as np

from .gather import Results
from .numbers import number
from .verdicts import CHEMICAL_ACCURACY_MEV, LARGE_FORCE_ERROR, best_model, measures
from .words import LEVEL

SHOWN = 3


@dataclass(frozen=True)
class Headline:
    """A number with its meaning."""

    value: str
    unit: str
    name: str
    meaning: str


def headlines(results: Results) -> list[Headline]:
    """Return the numbers that say most about the best model, at most SHOWN."""
    best = best_model(results)
    if best is None:
        return []
    errors = {m.name: m.known.get(best, np.nan) for m in measures(results)}
    found = [
        *_energy(results, best, errors.get("energies", np.nan)),
        *_forces(results, best, errors.get("forces", np.nan)),
        *_frequencies(results, best, errors.get("frequencies", np.nan)),
        *_dynamics(results, best),
    ]
    return found[:SHOWN]


def _energy(results: Results, best: str, error: float) -> list[Headline]:
    model, accuracy = results.model(best), f"{number(CHEMICAL_ACCURACY_MEV, 2)} meV"
    scale = f"Chemical accuracy is {accuracy}."
    row = results.row("accuracy", model=best, split="test")
    if row is not None:
        of = f"{number(row['n_test'], 9)} molecules that were not in training"
        if results.is_qm9:
            of = f"the minima of {of} (QM9, at most 9 heavy atoms)"
        if model.test is not None:
            inside = (model.test["error"].abs() * 1000 <= CHEMICAL_ACCURACY_MEV).mean()
            scale = f"{100 * inside:.0f} % are within chemical accuracy ({accuracy})."
    elif "validation_mae" in model.history:
        error = 1000 * model.history["validation_mae"].iloc[-1]
        of = "validation molecules, at the end of its training"
    else:
        return []
    meaning = f"Mean error of {model.label} on {of}. {scale}"
    return [Headline(number(error), "meV", "error of the energy", meaning)]


def _forces(results: Results, best: str, error: float) -> list[Headline]:
    if np.isnan(error):
        return []
    meaning = f"Mean error of a force component of {results.model(best).label}"
    meaning += (
        f" against {LEVEL}, on vibrating molecules." if results.is_qm9 else " on test molecules."
    )
    if reference := results.row("forces", model="GFN2-xTB"):
        beside = number(reference["mae_mev_per_a"])
        meaning += f" GFN2-xTB, a fast quantum method: {beside} meV/Å."
    return [Headline(number(error), "meV/Å", "error of a force", meaning)]


def _frequencies(results: Results, best: str, error: float) -> list[Headline]:
    if np.isnan(error):
        return []
    label = results.model(best).label
    meaning = f"Mean error of the harmonic frequencies of {label} against QM9 ({LEVEL})."
    if reference := results.row("frequencies", model="GFN2-xTB"):
        meaning += f" GFN2-xTB: {number(reference['mae_cm1'])} cm⁻¹."
    return [Headline(number(error), "cm⁻¹", "error of a vibration", meaning)]


def _dynamics(results: Results, best: str) -> list[Headline]:
    """Return numbers of trajectories, for a run that measures fewer errors."""
    table, label = results.tables["md"], results.model(best).label
    rows = table[table["model"] == best] if "model" in table else table
    if rows.empty:
        return []
    found = []
    expected = rows["forces_uncertainty_mev_per_a"].mean()
    if np.isfinite(expected):
        meaning = (
            f"What {label} itself expects on its trajectories. The error of GFN2-xTB, a fast"
            f" quantum method, is about {number(LARGE_FORCE_ERROR)} meV/Å."
        )
        found.append(Headline(number(expected), "meV/Å", "expected error of a force", meaning))
    step = number(rows["ms_per_step"].mean())
    found.append(
        Headline(step, "ms", "for a step", f"Mean time of {label} for a step of dynamics.")
    )
    done = f"{(rows['ended'] == 'complete').sum()} of {len(rows)}"
    return [*found, Headline(done, "", "trajectories complete", f"Trajectories of {label}.")]
