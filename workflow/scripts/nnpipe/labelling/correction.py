"""What a cheap method's curvature lacks, fitted to the harmonic frequencies of QM9.

GFN2-xTB's bonds are too soft by a bias that depends on the two elements and the length. A spring
constant for every pair of atoms, a smooth function of both, is fitted so that the frequencies at
the minima become those of the data set: a change H' of the Hessian changes the square of mode n by
v_n^T H' v_n to first order, which is linear in the constants. The Hessian is that of the surface
made stationary (anchor.py): the terms that do it pull along bonds, and what pulls along a bond
has a curvature across it.
"""

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..data.molecules import Molecules
from ..data.qm9 import SADDLE_POINTS
from ..errors import InputError
from ..runtime.files import atomic
from ..structures.vibrations import hessian, normal_modes
from ..units import FREQUENCY
from .anchor import bent, pairs
from .methods import Method, NotConverged

log = logging.getLogger(__name__)
ELEMENTS = (1, 6, 7, 8, 9)
KINDS = {pair: n for n, pair in enumerate(combinations_with_replacement(ELEMENTS, 2))}
CENTRES = np.arange(0.9, 3.6, 0.2)  # Å, of Gaussians in the length
WIDTH = 0.2  # Å
RIDGE = 100.0  # (cm^-1 per eV/Å^2)^2: keeps constants small that few modes know of
SOFT = 150.0  # cm^-1: the root of softer modes is linearised there
ROBUST = 50.0  # cm^-1: larger deviations count linearly


@dataclass(frozen=True)
class Correction:
    """Spring constants (15 kinds of pairs, Gaussians) eV/Å^2."""

    constants: np.ndarray

    def __call__(self, z: np.ndarray, pos: np.ndarray) -> np.ndarray:
        """(P,) eV/Å^2, what each pair of `pairs(pos)` gains in curvature."""
        i, j, length, _ = pairs(pos)
        return (gaussians(length) * self.constants[kinds(z, i, j)]).sum(1)


def none() -> Correction:
    """The correction that corrects nothing."""
    return Correction(np.zeros((len(KINDS), len(CENTRES))))


def gaussians(length: np.ndarray) -> np.ndarray:
    """(P, K) of lengths (P,) Å."""
    return np.exp(-0.5 * ((length[:, None] - CENTRES) / WIDTH) ** 2)


def kinds(z: np.ndarray, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """(P,) number of the pair of elements."""
    return np.array([KINDS[tuple(sorted(pair))] for pair in zip(z[i], z[j], strict=True)], int)


@dataclass(frozen=True)
class Known:
    """A molecule at its minimum, with the Hessian and the frequencies it has and should have."""

    z: np.ndarray  # (N,)
    pos: np.ndarray  # (N, 3) Å
    hessian: np.ndarray  # (3N, 3N) eV/Å^2
    frequencies: np.ndarray  # (V,) cm^-1, ascending

    def corrected(self, correction: Correction) -> np.ndarray:
        """The Hessian with the correction."""
        i, j, _, unit = pairs(self.pos)
        blocks = correction(self.z, self.pos)[:, None, None] * unit[:, :, None] * unit[:, None]
        count = len(self.z)
        change = np.zeros((count, count, 3, 3))
        for a, b, sign in ((i, i, 1), (j, j, 1), (i, j, -1), (j, i, -1)):
            np.add.at(change, (a, b), sign * blocks)
        return self.hessian + change.transpose(0, 2, 1, 3).reshape(self.hessian.shape)

    def deviations(self, correction: Correction) -> np.ndarray:
        """(V,) cm^-1, frequencies with the correction less the known ones, in ascending order."""
        found, _ = normal_modes(self.z, self.pos, self.corrected(correction))
        return found - self.frequencies


def fit(molecules: Iterable[Known], rounds: int = 3) -> Correction:
    """The correction that brings the molecules' frequencies closest to the known ones.

    Each round solves ridge regression on first-order changes, modes matched by their order.
    """
    molecules = list(molecules)
    correction = none()
    for _ in range(rounds):
        size = correction.constants.size
        normal, right = RIDGE * np.eye(size), np.zeros(size)
        for molecule in molecules:
            rows, lack = _first_order(molecule, correction)
            weight = 1 / np.sqrt(1 + (lack / ROBUST) ** 2)
            normal += rows.T @ (rows * weight[:, None])
            right += rows.T @ (weight * (lack + rows @ correction.constants.ravel()))
        solution = np.linalg.solve(normal, right)
        correction = Correction(solution.reshape(correction.constants.shape))
    return correction


def _first_order(molecule: Known, correction: Correction) -> tuple[np.ndarray, np.ndarray]:
    """(V, 15 K) cm^-1 per eV/Å^2, what the constants do to the frequencies, and (V,) what lacks."""
    found, modes = normal_modes(molecule.z, molecule.pos, molecule.corrected(correction))
    i, j, length, unit = pairs(molecule.pos)
    moves = modes.reshape(*molecule.pos.shape, -1)
    stretch = np.einsum("px,pxv->pv", unit, moves[j] - moves[i]) ** 2
    change = np.zeros((len(KINDS), len(CENTRES), len(found)))
    np.add.at(change, kinds(molecule.z, i, j), gaussians(length)[..., None] * stretch[:, None])
    root = 2 * np.maximum(np.abs(found), SOFT)
    rows = (change.reshape(-1, len(found)) * FREQUENCY**2 / root).T
    return rows, molecule.frequencies - found


def write_correction(
    molecules: Molecules,
    rows: Sequence[int] | np.ndarray,
    method: Method,
    path: str | Path,
) -> None:
    """Fit the correction of a method to the frequencies of `rows` and write it as JSON.

    Without rows it corrects nothing.
    """
    correction, about = none(), {}
    known = []
    for row in tqdm(rows, unit=" molecules", disable=None, mininterval=1):
        index, z, pos = molecules.geometry(row)
        frequencies = molecules.modes(row)
        if index in SADDLE_POINTS or len(z) < 3:
            continue
        try:
            entry = Known(z, pos, hessian(bent(method(z), pos), pos), frequencies)
        except NotConverged as error:
            log.warning("molecule %d: left out: %s", index, error)
            continue
        if len(entry.deviations(correction)) == len(frequencies):
            known.append(entry)
    if known:
        correction = fit(known)
        about = {
            "molecules": len(known),
            "modes": sum(len(entry.frequencies) for entry in known),
            "mae_before_cm1": _mae(known, none()),
            "mae_after_cm1": _mae(known, correction),
        }
        log.info(
            "frequencies of %d molecules: MAE %.1f cm^-1 before, %.1f cm^-1 after the correction",
            len(known), about["mae_before_cm1"], about["mae_after_cm1"],
        )  # fmt: skip
    content = {"constants": correction.constants.tolist(), "fit": about}
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(content) + "\n")


def _mae(known: list[Known], correction: Correction) -> float:
    deviations = np.concatenate([entry.deviations(correction) for entry in known])
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
