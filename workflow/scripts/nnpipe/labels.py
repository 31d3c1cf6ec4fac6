"""Energies and forces off the minimum, for molecules of which QM9 holds the minimum only.

Chunks hold what the labelling method says; `write_labels` puts them on the surface of the data set:
bent so that it is stationary at QM9's minimum (nnpipe.anchor) and has QM9's frequencies
(nnpipe.correction), with QM9's energy there.
"""

import json
import logging
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from . import store
from .anchor import anchor
from .correction import CENTRES, KINDS, Correction, Known, fit, none
from .distort import Distorter, Distortions
from .errors import InputError
from .molecules import Molecules, pointers
from .neighbours import neighbours
from .qm import NotConverged
from .qm9 import SADDLE_POINTS
from .vibrations import Surface, hessian

log = logging.getLogger(__name__)
Method = Callable[[np.ndarray], Surface]  # atomic numbers (N,) -> surface of the molecule


def write_chunk(
    molecules: Molecules,
    rows: Sequence[int] | np.ndarray,
    method: Method,
    number: int,
    settings: Distortions,
    seed: int,
    path: str | Path,
    provenance: dict[str, Any],
) -> int:
    """Label `number` distorted geometries of each of `rows` and return how many there are.

    The minimum stands before the distorted geometries of its molecule; energies are relative to
    its. What does not converge is logged and left out, with its molecule if it is the minimum.
    """
    header = {"kind": "chunk", "units": {"energy": "eV", "forces": "eV/Å"}}
    done, total = 0, 0
    with store.writer(path, header | {"provenance": provenance}) as append:
        append(
            index=np.zeros(0, np.int32), ptr=np.zeros(1, np.int64), pos=np.zeros((0, 3)),
            energy=np.zeros(0), forces=np.zeros((0, 3)),
        )  # fmt: skip
        for row in tqdm(rows, unit=" molecules", disable=None, mininterval=1):
            index, z, pos = _molecule(molecules, row)
            if index in SADDLE_POINTS:
                continue
            surface, rng = method(z), np.random.default_rng([seed, index])
            distorter = Distorter(z, pos, settings)
            geometries = [pos]
            for _ in range(number):
                drawn = distorter.draw(rng)
                if drawn is None:
                    log.warning("molecule %d: no geometry without a clash; left out", index)
                else:
                    geometries.append(drawn)
            labelled = list(_label(index, surface, geometries))
            for geometry, energy, forces in labelled:
                total += len(z)
                append(
                    index=np.array([index], np.int32), ptr=np.array([total]), pos=geometry,
                    energy=np.array([energy - labelled[0][1]]), forces=forces,
                )  # fmt: skip
            done += len(labelled)
    return done


def _molecule(molecules: Molecules, row: int) -> tuple[int, np.ndarray, np.ndarray]:
    """Index, z (N,) and pos (N, 3) Å of a row of the table."""
    atoms = slice(molecules.ptr[row], molecules.ptr[row + 1])
    return int(molecules.index[row]), molecules.z[atoms].astype(int), molecules.pos[atoms]


def _label(
    index: int, surface: Surface, geometries: list[np.ndarray]
) -> Iterable[tuple[np.ndarray, float, np.ndarray]]:
    for number, geometry in enumerate(geometries):
        try:
            yield geometry, *surface(geometry)
        except NotConverged as error:
            what = "molecule" if number == 0 else f"geometry {number}"
            log.warning("molecule %d: %s left out: %s", index, what, str(error).splitlines()[0])
            if number == 0:
                return


def write_correction(
    molecules: Molecules,
    rows: Sequence[int] | np.ndarray,
    method: Method | None,
    path: str | Path,
) -> None:
    """Fit the correction of a method to the frequencies of `rows` and write it as JSON.

    Without a method, or without rows, it corrects nothing.
    """
    correction, about = none(), {}
    known = []
    for row in tqdm(rows if method else [], unit=" molecules", disable=None, mininterval=1):
        index, z, pos = _molecule(molecules, row)
        modes = slice(molecules.frequency_ptr[row], molecules.frequency_ptr[row + 1])
        frequencies = molecules.frequencies[modes]
        if index in SADDLE_POINTS or len(z) < 3:
            continue
        try:
            molecule = Known(z, pos, hessian(method(z), pos), frequencies)
        except NotConverged as error:
            log.warning("molecule %d: left out: %s", index, error)
            continue
        if len(molecule.deviations(correction)) == len(frequencies):
            known.append(molecule)
    if known:
        correction = fit(known)
        about = {
            "molecules": len(known),
            "modes": sum(len(molecule.frequencies) for molecule in known),
            "mae_before_cm1": _mae(known, none()),
            "mae_after_cm1": _mae(known, correction),
        }
        log.info(
            "frequencies of %d molecules: MAE %.1f cm^-1 before, %.1f cm^-1 after the correction",
            len(known), about["mae_before_cm1"], about["mae_after_cm1"],
        )  # fmt: skip
    content = {"constants": correction.constants.tolist(), "fit": about}
    with store.atomic(path) as temporary:
        temporary.write_text(json.dumps(content) + "\n")


def _mae(known: list[Known], correction: Correction) -> float:
    deviations = np.concatenate([molecule.deviations(correction) for molecule in known])
    return float(np.abs(deviations).mean())


def read_correction(path: str | Path) -> Correction:
    """The correction; InputError if the file holds none."""
    try:
        constants = np.array(json.loads(Path(path).read_text())["constants"], float)
    except (ValueError, KeyError) as error:
        raise InputError(f"{path}: not a correction; delete it and run again") from error
    if constants.shape != (len(KINDS), len(CENTRES)):
        raise InputError(f"{path}: {constants.shape} constants; delete it and run again")
    return Correction(constants)


def write_labels(
    chunks: Sequence[str | Path],
    molecules: Molecules,
    correction: Correction | None,
    cutoff: float,
    path: str | Path,
    provenance: dict[str, Any],
) -> int:
    """Write the labels of all chunks on QM9's surface, with their neighbours within `cutoff` Å.

    Without a correction the labels are taken as they are, as those of QM9's own method. Returns the
    number of geometries.
    """
    header = {
        "kind": "labels",
        "cutoff": cutoff,
        "units": {"energy": "eV", "forces": "eV/Å"},
        "provenance": provenance,
    }
    smallest = np.min_scalar_type(int(np.diff(molecules.ptr).max()) - 1)
    total, slots, count = 0, 0, 0
    with store.writer(path, header) as append:
        append(ptr=np.zeros(1, np.int64), first=np.zeros(1, np.int64))
        for chunk in tqdm(chunks, unit=" chunks", disable=None, mininterval=1):
            data, _ = store.read(chunk, "chunk")
            z, energies, forces = _on_the_surface(data, molecules, correction)
            found = [neighbours(data["pos"][a:b], cutoff)[:2] for a, b in pairwise(data["ptr"])]
            counts, near = map(np.concatenate, zip(*found, strict=True))
            append(
                index=data["index"], ptr=total + data["ptr"][1:], z=z, pos=data["pos"],
                energy=energies, forces=forces.astype(np.float32),
                first=slots + np.cumsum(counts), neighbour=near.astype(smallest),
            )  # fmt: skip
            total, slots, count = total + len(z), slots + len(near), count + len(energies)
    return count


def _on_the_surface(
    data: dict[str, np.ndarray], molecules: Molecules, correction: Correction | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Atomic numbers, energies (eV) and forces (eV/Å) of a chunk's geometries; see write_labels."""
    numbers, energies, forces = [], data["energy"].copy(), data["forces"].copy()
    last, z, level, terms = -1, np.zeros(0, int), 0.0, None
    for number, index in enumerate(data["index"].tolist()):
        atoms = slice(data["ptr"][number], data["ptr"][number + 1])
        pos = data["pos"][atoms]
        if index != last:  # the minimum comes first
            row = int(np.searchsorted(molecules.index, index))
            _, z, _ = _molecule(molecules, row)
            level, last = molecules.targets["energy"][row], index
            terms = anchor(pos, forces[atoms], correction(z, pos)) if correction else None
        numbers.append(z)
        energies[number] += level
        if terms:
            more, pull = terms(pos)
            energies[number] += more
            forces[atoms] += pull
    return np.concatenate(numbers).astype(np.uint8), energies, forces
