"""A structure or a trajectory as the data of a player: a dictionary that JSON can hold.

An array is {"type", "shape", "scale", "base64"}: little-endian integers or float32 in base64, to be
multiplied by `scale`. The smallest integer stands for a missing value.
"""

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, connected_components

from ..errors import InputError
from ..structures.bonds import bond_lengths, bonded_pairs

POSITION_STEP_A = 0.001  # rounding of positions
COLOUR_STEPS = 1000  # rounding of a colour quantity: this part of its largest value
TRACE_POINTS = 2500  # of a quantity over time, about; a plot is narrower than this
FULL_COLOUR_QUANTILE = 0.99  # of the values of a colour quantity; larger ones have the last colour


def encode(values: Any, step: float | None = None) -> dict[str, Any]:
    """Return an array for the player: float32, or integer multiples of `step` if that is given.

    NaN and infinite values become missing values.
    """
    values = np.asarray(values, dtype=float)
    finite = np.isfinite(values)
    if step is None:
        kind, stored = "float32", np.where(finite, values, np.nan).astype("<f4")
    else:
        whole = np.rint(np.where(finite, values, 0.0) / step)
        kind = "int16" if np.abs(whole).max(initial=0) < 2**15 else "int32"
        stored = whole.astype(np.dtype(kind).newbyteorder("<"))
        stored[~finite] = np.iinfo(kind).min
    text = base64.b64encode(np.ascontiguousarray(stored).tobytes()).decode()
    return {"type": kind, "shape": list(values.shape), "scale": step or 1.0, "base64": text}


def decode(array: dict[str, Any]) -> np.ndarray:
    """Return the float64 values that `encode` received, rounded; NaN where a value is missing."""
    stored = np.frombuffer(
        base64.b64decode(array["base64"]), np.dtype(array["type"]).newbyteorder("<")
    )
    values = stored.astype(float) * array["scale"]
    if array["type"] != "float32":
        values[stored == np.iinfo(array["type"]).min] = np.nan
    return values.reshape(array["shape"])


def structure_data(atoms: Atoms, title: str = "") -> dict[str, Any]:
    """Return the data of a player that shows one structure."""
    return trajectory_data([atoms], title=title)


def modes_data(frames: Sequence[Atoms], title: str = "") -> dict[str, Any]:
    """Return the data of a player that vibrates along normal modes of one structure.

    frames: the structure once for each mode, with the array `displacement` (N, 3), whose largest
        atom moves by 1.
    """
    modes = encode([frame.arrays["displacement"] for frame in frames], POSITION_STEP_A)
    data = trajectory_data(frames[:1], title=title, superpose=False)
    return data | {"modes": modes}


def trajectory_data(
    frames: Sequence[Atoms],
    max_frames: int = 500,
    replica: int | None = None,
    title: str = "",
    superpose: bool = True,
    labels: Sequence[str] = (),
) -> dict[str, Any]:
    """Return the data of a player that shows a trajectory.

    frames: one system with the entries of `info` and the arrays that a run of dynamics writes; all
        are optional. Of several replicas, `replica` is shown, by default the replica of the first
        frame.
    max_frames: frames shown, evenly spaced, with the first and the last; values over time have
        about TRACE_POINTS points.
    superpose: whether the frames of an open system are moved and turned onto the first frame.
    labels: texts for all frames, which the player shows instead of their times.

    The bonds belong to the first frame. A quantity that a frame lacks is left out.

    Raises InputError without frames, or if they are not of one system.
    """
    frames = list(frames)
    if frames and replica is None:
        replica = frames[0].info.get("replica", 0)
    frames = [frame for frame in frames if frame.info.get("replica", 0) == replica]
    if not frames:
        raise InputError(f"frames: no frame of replica {replica}; give at least one frame")
    first = frames[0]
    if any(not np.array_equal(frame.numbers, first.numbers) for frame in frames):
        raise InputError("frames: they are not of one system; give the frames of one molecule")
    bonds = bonded_pairs(first)
    periodic = bool(first.pbc.any())
    positions = whole_molecules(frames, bonds) if periodic else open_positions(frames, superpose)
    shown, points = _thinned(len(frames), max_frames)
    vectors = positions[0, bonds[:, 1]] - positions[0, bonds[:, 0]]
    drawn = np.linalg.norm(vectors, axis=1) < bond_lengths(first, bonds) + 0.1  # Å; not across
    times = _info(frames, "time_fs") / 1000
    return {
        "title": title,
        "formula": first.get_chemical_formula("hill"),
        "symbols": first.get_chemical_symbols(),
        "bonds": bonds[drawn].tolist(),
        "positions": encode(positions[shown], POSITION_STEP_A),
        "frames": len(frames),
        "shown": shown.tolist(),
        "labels": [labels[number] for number in shown] if labels else None,
        "times": encode(times[shown]) if np.isfinite(times).all() else None,
        "cell": np.round(first.cell.array, 4).tolist() if periodic else None,
        "colours": _colours(frames, bonds, shown),
        "traces": _traces(frames, times, shown, points),
    }


def _thinned(count: int, max_frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the frames that are shown, and the frames with a point in the traces: all shown ones
    and more.
    """
    shown = np.unique(np.linspace(0, count - 1, min(count, max(2, max_frames))).round().astype(int))
    points = np.linspace(0, count - 1, min(count, TRACE_POINTS)).round().astype(int)
    return shown, np.union1d(shown, points)


def open_positions(frames: Sequence[Atoms], superpose: bool) -> np.ndarray:
    """Return positions (F, N, 3) Å about the centre of mass of an open system.

    With `superpose`, each frame is turned onto the first one: the rotation with the smallest sum of
    squared distances, weighted by mass (Kabsch, https://doi.org/10.1107/S0567739476001873).
    """
    positions = np.array([frame.positions for frame in frames])
    masses = frames[0].get_masses()
    weights = (masses / masses.sum())[:, None]
    positions -= (weights * positions).sum(1, keepdims=True)
    if superpose and len(masses) > 1:
        left, _, right = np.linalg.svd(np.swapaxes(positions, 1, 2) @ (weights * positions[0]))
        left[:, :, 2] *= np.linalg.det(left @ right)[:, None]  # no reflection
        positions = positions @ (left @ right)
    return positions


def whole_molecules(frames: Sequence[Atoms], bonds: np.ndarray) -> np.ndarray:
    """Return positions (F, N, 3) Å of a periodic system whose molecules are not cut by the cell.

    The centre of each molecule of the first frame is in the cell; a molecule moves on from there
    without jumps.
    """
    count, periodic = len(frames[0]), frames[0].pbc
    ends = (bonds[:, 0], bonds[:, 1])
    graph = coo_array((np.ones(len(bonds)), ends), shape=(count, count)).tocsr()
    molecules, label = connected_components(graph, directed=False)
    fractions = np.array([frame.get_scaled_positions(wrap=False) for frame in frames])
    for molecule in range(molecules):
        members = np.flatnonzero(label == molecule)
        order, parents = breadth_first_order(graph, members[0], directed=False)
        path = fractions[:, members[0]]
        path[:, periodic] = np.unwrap(path, period=1, axis=0)[:, periodic]
        for atom in order[1:]:
            step = fractions[:, atom] - fractions[:, parents[atom]]
            fractions[:, atom] -= np.where(periodic, np.rint(step), 0.0)
        outside = np.floor(fractions[0, members].mean(0))
        fractions[:, members] -= np.where(periodic, outside, 0.0)
    return fractions @ np.array([frame.cell.complete().array for frame in frames])


def _info(frames: Sequence[Atoms], name: str) -> np.ndarray:
    """Return an entry of `info` of all frames (F,); NaN where a frame lacks it."""
    return np.array([frame.info.get(name, np.nan) for frame in frames], dtype=float)


def _arrays(frames: Sequence[Atoms], name: str) -> np.ndarray:
    """Return an array of all frames, stacked; empty if a frame lacks it."""
    found = [
        frame.calc.results.get(name) if frame.calc and name == "forces" else frame.arrays.get(name)
        for frame in frames
    ]
    return np.array(found) if all(one is not None for one in found) else np.zeros(0)


def _colours(frames: Sequence[Atoms], bonds: np.ndarray, shown: np.ndarray) -> dict[str, Any]:
    """Return the quantities (F, N) that may colour the atoms, with their names and units."""
    kept = [frames[number] for number in shown]
    forces = _arrays(kept, "forces")
    quantities = {
        "force": ("force", "eV/Å", np.linalg.norm(forces, axis=-1) if forces.size else forces),
        "uncertainty": (
            "expected error of a force component",
            "meV/Å",
            1000 * _arrays(kept, "forces_uncertainty"),
        ),
    }
    if len(kept) > 1 and len(bonds):
        rest = bond_lengths(frames[0], bonds)
        deviations = np.zeros((len(kept), len(frames[0])))
        for row, frame in zip(deviations, kept, strict=True):
            change = np.abs(bond_lengths(frame, bonds) - rest)
            np.maximum.at(row, bonds[:, 0], change)
            np.maximum.at(row, bonds[:, 1], change)
        quantities["bond_deviation"] = ("bond deviation", "Å", deviations)
    short = {"uncertainty": "expected error"}  # in a list
    found = {}
    for name, (label, unit, values) in quantities.items():
        finite = values[np.isfinite(values)]
        if finite.size and (largest := float(finite.max())) > 0:
            full = float(np.quantile(finite, FULL_COLOUR_QUANTILE)) or largest
            step = largest / COLOUR_STEPS
            found[name] = {
                "label": label,
                "short": short.get(name, label),
                "unit": unit,
                "max": full,
                "values": encode(values, step),
            }
    return found


def _traces(
    frames: Sequence[Atoms], times: np.ndarray, shown: np.ndarray, points: np.ndarray
) -> dict[str, Any] | None:
    """Return the quantities over time; `shown` holds the places of the shown frames."""
    if len(frames) < 2 or not np.isfinite(times).all():
        return None
    total = _info(frames, "total_energy")
    results = [frame.calc.results if frame.calc else frame.info for frame in frames]
    potential = np.array([one.get("energy", np.nan) for one in results], dtype=float)
    known = potential[np.isfinite(potential)]
    start = float(known[0]) if len(known) else 0.0
    quantities = {
        "temperature": ("temperature", "K", _info(frames, "temperature_k")),
        "potential_energy": ("potential energy", "eV", potential - start),
        "total_energy": ("total energy", "eV", total - start),
        "bond_deviation": (
            "bond deviation", "Å", _info(frames, "max_bond_deviation_a")
        ),
    }  # fmt: skip
    return {
        "times": encode(times[points]),
        "shown": np.searchsorted(points, shown).tolist(),
        "zero_energy_ev": start,
        "quantities": {
            name: {"label": label, "unit": unit, "values": encode(values[points])}
            for name, (label, unit, values) in quantities.items()
            if np.isfinite(values).any()
        },
    }
