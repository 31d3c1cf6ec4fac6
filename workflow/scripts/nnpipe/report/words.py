"""Sentences and table rows of the page."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from markupsafe import Markup, escape

from ..analysis.scan import scan_table
from ..models.names import readable_name
from ..units import readable
from .drawings import skeletal_formula
from .gather import Model, Results, Trajectory
from .numbers import duration, number, size
from .verdicts import Verdict

TARGETS = {
    "energy": "potential energy",
    "u0": "energy at 0 K (U0)",
    "u": "internal energy at 298 K",
    "h": "enthalpy at 298 K",
    "g": "free energy at 298 K",
    "gap": "gap between HOMO and LUMO",
    "homo": "energy of the HOMO",
    "lumo": "energy of the LUMO",
    "mu": "dipole moment",
    "alpha": "polarisability",
    "zpve": "zero-point energy",
}
LEVEL = "B3LYP/6-31G(2df,p)"  # of QM9
XTB = "GFN2-xTB, a fast quantum method"
METHODS = {  # of the labels
    "teacher": f"{XTB}, refitted to DFT",
    "gfn2": XTB,
    "dft": LEVEL,
}
WORST = 10  # molecules per model
SCAN_EV = 1.0  # energies up to which a scan is judged


@dataclass(frozen=True)
class Worst:
    """A test molecule with a large error."""

    index: int
    formula: Markup
    error: str
    drawing: Markup | None
    smiles: str


def formula_html(formula: str) -> Markup:
    """Return a chemical formula with subscripts."""
    return Markup(re.sub(r"(\d+)", r"<sub>\1</sub>", str(escape(formula))))


def formula_of(numbers: Sequence[int] | np.ndarray) -> str:
    """Return the formula of atoms in Hill's order."""
    return str(Atoms(list(numbers)).get_chemical_formula("hill"))


def target_words(model: Model) -> str:
    """Return what a model predicts."""
    return TARGETS.get(model.info.target, model.info.target)


def training_sentence(results: Results, model: Model) -> str:
    """Return one sentence: what the model was trained on, and what it predicts."""
    info, data = model.info, results.data
    predicts = f"predicts the {target_words(model)} of a molecule"
    if model.is_surface:
        predicts += " and the forces on its atoms"
    geometries = info.n_geometries if model.is_surface else info.n_train
    source = f"{number(info.n_train, 9)} molecules of {data}"
    if geometries > info.n_train:
        source += f" in {number(geometries, 9)} geometries"
    entry = results.config.get("models", {}).get(model.name, {})
    if model.pretrained:
        held = info.data.get("source") or {}
        known = "QM9" if held.get("canonical") else data
        source = source.replace(f"of {data}", f"of {known}")
        return f"{predicts}. It was trained before this run, on {source}."
    start = entry.get("init_from") if isinstance(entry, Mapping) else None
    begin = f" It started from the weights of {readable_name(start)}." if start else ""
    time = duration(info.train_seconds)
    return f"{predicts}. It was trained on {source}, in {time}.{begin}"


def data_sentences(results: Results) -> list[str]:
    """Return where the energies and forces of the training come from, if the run trained on QM9."""
    trained = [model for model in results.models if not model.pretrained]
    if not results.is_qm9 or not trained:
        return []
    labels = results.config.get("labels", {})
    sentences = [f"are the minima of QM9, computed by {LEVEL}."]
    if any(model.is_surface for model in trained):
        fitted, method = labels.get("correction_molecules", 0), labels.get("method", "teacher")
        forces = METHODS[method] + (", and a neural network for the rest" if results.delta else "")
        if method != "dft":
            forces += ", corrected to the minima of QM9"
            forces += f" and to the frequencies of {number(fitted, 9)} molecules" if fitted else ""
        sentences.append(f"The forces of displaced geometries are computed by {forces}.")
    return sentences


def accuracy_rows(results: Results) -> list[dict[str, Any]]:
    """Return what the table of models shows of each model."""
    rows = []
    for model in results.models:
        row = results.row("accuracy", model=model.name, split="test")
        factor, unit = readable(model.info.unit)
        rows.append(
            {
                "label": model.label,
                "target": target_words(model),
                "n_train": number(model.info.n_train, 9),
                "n_test": number(row["n_test"], 9) if row else "–",
                "mae": f"{number(row['mae'] * factor)} {unit}" if row else "–",
                "rmse": f"{number(row['rmse'] * factor)} {unit}" if row else "–",
                "parameters": number(model.info.parameters, 9),
                "time": duration(model.info.train_seconds),
                "seed": model.info.seed,
            }
        )
    return rows


def published_rows(results: Results) -> list[dict[str, Any]]:
    """Return published errors for the targets of this run, with the link of their source."""
    targets = {model.info.target for model in results.models}
    rows = []
    for row in results.tables["published"].to_dict("records"):
        if row["target"] in targets:
            link = re.search(r"https?://[^\s,]+", str(row["source"]))
            rows.append(
                {
                    "model": row["model"],
                    "n_train": number(row["n_train"], 9),
                    "mae": f"{number(row['mae_mev'])} meV",
                    "source": str(row["source"]),
                    "link": link[0] if link else "",
                }
            )
    return rows


def force_rows(results: Results) -> tuple[list[str], list[dict[str, Any]]]:
    """Return the sets of reference geometries, and the errors of models and methods on them."""
    table = results.tables["forces"]
    if table.empty:
        return [], []
    references = list(dict.fromkeys(table["reference"]))
    rows = []
    for name in dict.fromkeys(table["model"]):
        cells = []
        for reference in references:
            row = results.row("forces", model=name, reference=reference)
            cells.append(
                (number(row["mae_mev_per_a"]), number(row["cosine"], 2)) if row else ("–", "–")
            )
        rows.append({"label": readable_name(name), "cells": cells})
    return references, rows


def profile_rows(results: Results) -> tuple[list[str], list[dict[str, Any]]]:
    """Return the kinds of energy profiles, and the mean MAE of each model along them."""
    table = results.tables["profiles"]
    if table.empty:
        return [], []
    means = table.pivot_table("mae_kcal_mol", "model", "profile", sort=False)
    rows = zip(means.index, means.to_numpy(), strict=True)
    return list(means), [
        {"label": readable_name(model), "cells": [number(mae) for mae in row]}
        for model, row in rows
    ]


def frequency_rows(results: Results) -> list[dict[str, str]]:
    """Return what the table of frequencies shows of each model."""
    return [
        {
            "label": readable_name(row["model"]),
            "molecules": number(row["n_molecules"], 9),
            "mae": number(row["mae_cm1"]),
            "imaginary": number(100 * row["imaginary_fraction"], 2),
            "converged": number(100 * row["converged_fraction"], 3),
            "same": number(100 * row["minima_within_03a_fraction"], 3),
        }
        for row in results.tables["frequencies"].to_dict("records")
    ]


def worst_molecules(results: Results, model: Model) -> list[Worst]:
    """Return the test molecules of largest error of a model, the largest first."""
    if model.test is None or results.molecules is None:
        return []
    factor, unit = readable(model.info.unit)
    order = model.test["error"].abs().sort_values(ascending=False, kind="stable").index[:WORST]
    found = []
    for _, row in model.test.loc[order].iterrows():
        index = int(row["index"])
        place = int(np.searchsorted(results.molecules.index, index))
        smiles = results.molecules.smiles[place]
        formula = formula_of(results.molecules.geometry(place)[1])
        name = f"Skeletal formula of molecule {index}, {formula}"
        error = row["error"] * factor
        found.append(
            Worst(
                index=index,
                formula=formula_html(formula),
                error=f"{'+' if error > 0 else '−'}{number(abs(error))} {unit}",
                drawing=skeletal_formula(smiles, name),
                smiles=smiles,
            )
        )
    return found


def cost_rows(results: Results) -> list[dict[str, str]]:
    """Return time and memory of every rule."""
    table = results.tables["cost"]
    if table.empty:
        return []
    rows = []
    for rule, jobs in table.groupby("rule", sort=False):
        rows.append(
            {
                "rule": str(rule),
                "jobs": str(len(jobs)),
                "seconds": duration(jobs["seconds"].sum()),
                "cpu": duration(jobs["cpu_seconds"].sum()),
                "memory": f"{number(jobs['peak_memory_mb'].max())} MiB",
            }
        )
    return rows


def cost_sentence(results: Results) -> str:
    """Return how long all jobs took, and which rule took most of it."""
    table = results.tables["cost"]
    if table.empty:
        return ""
    rules = table.groupby("rule")["seconds"].sum()
    longest = rules.idxmax()
    return (
        f"All jobs together took {duration(rules.sum())}, {duration(rules[longest])} of it for"
        f" {longest}. Jobs that run side by side count in full."
    )


def facts(trajectory: Trajectory) -> list[str]:
    """Return short facts about a trajectory."""
    first = trajectory.summaries[0]
    ensemble = "thermostat" if first["ensemble"] == "nvt" else "constant energy"
    start = trajectory.start
    parts = [
        f"{number(first['length_ps'])} ps at {number(first['temperature_k'])} K ({ensemble})",
        f"steps of {number(first['timestep_fs'])} fs",
        f"{number(first['atoms'], 9)} atoms",
        f"{number(first['ms_per_step'])} ms per step",
    ]
    if start.pbc.any():
        lengths = " × ".join(number(length) for length in start.cell.lengths())
        parts.append(f"periodic cell {lengths} Å")
    if len(trajectory.summaries) > 1:
        parts.append(f"{len(trajectory.summaries)} replicas")
    return parts


def scan_sentence(trajectory: Trajectory) -> str:
    """Return how far the model is from GFN2-xTB where that has less than SCAN_EV; empty without."""
    if not trajectory.scan:
        return ""
    table = scan_table(trajectory.scan)
    low = table[table["gfn2_energy_ev"] < SCAN_EV]
    if low.empty:
        return ""
    difference = (low["model_energy_ev"] - low["gfn2_energy_ev"]).abs()
    largest = difference.groupby(low["scan"], sort=False).max()
    parts = [f"{value:.2g} eV along the {kind}" for kind, value in largest.items()]
    return (
        f"Below {SCAN_EV:g} eV the largest difference is {' and '.join(parts)}; the thermal energy"
        " kT at 300 K is 0.026 eV."
    )


def whole_file(trajectory: Trajectory) -> str:
    """Return what the whole file of a trajectory holds."""
    held = f"{number(trajectory.number, 9)} frames"
    return f"{held}, {size(trajectory.path.stat().st_size)}"


def shown_frames(trajectory: Trajectory, shown: int) -> str:
    """Return a sentence about the frames on the page, empty if these are all."""
    total = trajectory.number // len(trajectory.summaries)
    if shown >= total:
        return ""
    return f"The page shows {number(shown, 9)} of {number(total, 9)} frames."


def elements_of(model: Model) -> str:
    """Return the symbols of the elements that a model was trained on."""
    return ", ".join(chemical_symbols[z] for z in model.info.elements)


def units(text: str) -> str:
    """Return a text whose numbers are not separated from their units at the end of a line."""
    return re.sub(r"(?<=\d) (?=(me?V|cm|Å|K|[pfm]?s|min|h|%|[kM]i?B)\b|Å|%)", "\u00a0", str(text))


def alarms(verdicts: Sequence[Verdict]) -> list[str]:
    """Return what must be said loudly: trajectories that ended early."""
    found = []
    for verdict in verdicts:
        check = verdict.checks[0]
        if check.level == "bad":
            replica = f", replica {verdict.replica}" if verdict.replica is not None else ""
            found.append(f"{verdict.molecule} with {verdict.model}{replica}: {check.reason}.")
    return found
