"""Correction: force constants that give a cheap method the harmonic frequencies of QM9.

Force constants of tight binding deviate from the ones of B3LYP, depending on the two elements and
on their distance; bonds of GFN2-xTB are too soft. Every atom pair p therefore receives a force
constant k_p along its axis, a smooth function of both:

    k_p     = sum_c K[t_p, c] exp(-((r0_p - R_c) / W)^2 / 2)
    H       = H_anchored + sum_p k_p B_p
    w_n^2  += C^2 v_n^T (sum_p k_p B_p) v_n        (first order)

    K        eV/Å^2  fitted constants, one row per type of pair: (15, number of Gaussians)
    t_p              type of pair p: its two elements
    R_c, W   Å       centres and width of the Gaussians in the distance r0_p
    H        eV/Å^2  Hessian of the anchored method (anchor.py) at the minimum of QM9. The anchor
                     is part of it: a slope along a bond contributes curvature across the bond
    B_p              Hessian of a spring of unit force constant between the two atoms
    w_n, v_n cm^-1   frequency and mass-weighted mode n; C is units.FREQUENCY

The change of w_n^2 is linear in K, so that K follows from ridge regression on the differences
between the frequencies of QM9 and w_n.
"""

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np

from ..data.molecules import Molecules
from ..data.qm9 import SADDLE_POINTS
from ..data.sources import QM9_ELEMENTS
from ..errors import InputError
from ..models.potential import Potential
from ..runtime.files import atomic
from ..runtime.progress import progress_bar
from ..structures.vibrations import hessian, normal_modes
from ..units import FREQUENCY
from .anchor import atom_pairs, fit_anchor
from .delta import delta_forces, delta_hessian, load_delta
from .scf import Method, NotConverged

log = logging.getLogger(__name__)
PAIR_TYPES = {pair: n for n, pair in enumerate(combinations_with_replacement(QM9_ELEMENTS, 2))}
GAUSSIAN_CENTRES_A = np.arange(0.9, 3.6, 0.2)
GAUSSIAN_WIDTH_A = 0.2
# (cm^-1 per eV/Å^2)^2: keeps constants small that hardly change any frequency
FORCE_CONSTANT_RIDGE = 100.0
# the square root of w^2 is linearised at this frequency for modes below it
SOFTEST_LINEARISED_CM1 = 150.0
HUBER_CM1 = 50.0  # deviations well above this count linearly, smaller ones by their square


@dataclass(frozen=True)
class Correction:
    """Force constants `constants` (pair types, Gaussians) eV/Å^2: K in the module's docstring."""

    constants: np.ndarray

    def __call__(self, z: np.ndarray, pos: np.ndarray) -> np.ndarray:
        """Return the force constants (P,) eV/Å^2 of the pairs of `atom_pairs(pos)`."""
        i, j, distance, _ = atom_pairs(pos)
        return (gaussians(distance) * self.constants[pair_types(z, i, j)]).sum(1)


def no_correction() -> Correction:
    """Return a correction whose force constants are all zero."""
    return Correction(np.zeros((len(PAIR_TYPES), len(GAUSSIAN_CENTRES_A))))


def gaussians(distance: np.ndarray) -> np.ndarray:
    """Return the Gaussians (P, number of Gaussians) at distances (P,) Å."""
    return np.exp(-0.5 * ((distance[:, None] - GAUSSIAN_CENTRES_A) / GAUSSIAN_WIDTH_A) ** 2)


def pair_types(z: np.ndarray, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """Return the type (P,) of each pair: a number per unordered pair of elements of QM9."""
    return np.array([PAIR_TYPES[tuple(sorted(pair))] for pair in zip(z[i], z[j], strict=True)], int)


@dataclass(frozen=True)
class ReferenceHessian:
    """A molecule at its QM9 minimum: Hessian of the anchored method, frequencies of QM9."""

    z: np.ndarray  # (N,)
    pos: np.ndarray  # (N, 3) Å
    hessian: np.ndarray  # (3N, 3N) eV/Å^2
    frequencies: np.ndarray  # (V,) cm^-1, ascending

    def corrected(self, correction: Correction) -> np.ndarray:
        """Return the Hessian (3N, 3N) eV/Å^2 with the correction."""
        i, j, _, unit = atom_pairs(self.pos)
        blocks = correction(self.z, self.pos)[:, None, None] * unit[:, :, None] * unit[:, None]
        n_atoms = len(self.z)
        change = np.zeros((n_atoms, n_atoms, 3, 3))
        for a, b, sign in ((i, i, 1), (j, j, 1), (i, j, -1), (j, i, -1)):
            np.add.at(change, (a, b), sign * blocks)
        return self.hessian + change.transpose(0, 2, 1, 3).reshape(self.hessian.shape)

    def deviations(self, correction: Correction) -> np.ndarray:
        """Return corrected minus reference frequencies (V,) cm^-1, both in ascending order."""
        found, _ = normal_modes(self.z, self.pos, self.corrected(correction))
        return found - self.frequencies


def fit_force_constants(molecules: Iterable[ReferenceHessian], rounds: int = 3) -> Correction:
    """Return the correction that brings the frequencies closest to the reference frequencies.

    Each of the `rounds` linearises the frequencies, weights their deviations by a pseudo-Huber loss
    and solves a ridge regression. Modes are matched by their order.
    """
    molecules = list(molecules)
    correction = no_correction()
    for _ in range(rounds):
        size = correction.constants.size
        normal, right = FORCE_CONSTANT_RIDGE * np.eye(size), np.zeros(size)
        for molecule in molecules:
            jacobian, residual = _linearise(molecule, correction)
            weight = 1 / np.sqrt(1 + (residual / HUBER_CM1) ** 2)
            normal += jacobian.T @ (jacobian * weight[:, None])
            target = residual + jacobian @ correction.constants.ravel()
            right += jacobian.T @ (weight * target)
        solution = np.linalg.solve(normal, right)
        correction = Correction(solution.reshape(correction.constants.shape))
    return correction


def _linearise(molecule: ReferenceHessian, correction: Correction) -> tuple[np.ndarray, np.ndarray]:
    """Return the derivatives (V, constants) cm^-1 per eV/Å^2 of the frequencies with respect to the
    force constants, and the residuals (V,) cm^-1, reference minus corrected frequencies.
    """
    found, modes = normal_modes(molecule.z, molecule.pos, molecule.corrected(correction))
    i, j, distance, unit = atom_pairs(molecule.pos)
    displacement = modes.reshape(*molecule.pos.shape, -1)
    stretch = np.einsum("px,pxv->pv", unit, displacement[j] - displacement[i]) ** 2
    change = np.zeros((len(PAIR_TYPES), len(GAUSSIAN_CENTRES_A), len(found)))
    types = pair_types(molecule.z, i, j)
    np.add.at(change, types, gaussians(distance)[..., None] * stretch[:, None])
    root = 2 * np.maximum(np.abs(found), SOFTEST_LINEARISED_CM1)
    jacobian = (change.reshape(-1, len(found)) * FREQUENCY**2 / root).T
    return jacobian, molecule.frequencies - found


def write_correction(
    molecules: Molecules,
    rows: Sequence[int] | np.ndarray,
    method: Method,
    path: str | Path,
    delta: str | Path | None = None,
) -> None:
    """Fit the correction of `method` to the frequencies of the molecules in `rows`; write JSON.

    The network in the file `delta` adds its part to the method. `reference_hessians` leaves some
    molecules out. Without rows, all force constants are zero.
    """
    correction, about = no_correction(), {}
    network = load_delta(delta) if delta else None
    references = [found for _, found in reference_hessians(molecules, rows, method, network)]
    if references:
        correction = fit_force_constants(references)
        about = {
            "molecules": len(references),
            "modes": sum(len(reference.frequencies) for reference in references),
            "mae_before_cm1": _mae(references, no_correction()),
            "mae_after_cm1": _mae(references, correction),
        }
        log.info(
            "frequencies of %d molecules: MAE %.1f cm^-1 before, %.1f cm^-1 after the correction",
            len(references), about["mae_before_cm1"], about["mae_after_cm1"],
        )  # fmt: skip
    content = {"constants": correction.constants.tolist(), "fit": about}
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(content) + "\n")


def reference_hessians(
    molecules: Molecules,
    rows: Sequence[int] | np.ndarray,
    method: Method,
    delta: Potential | None = None,
) -> Iterator[tuple[int, ReferenceHessian]]:
    """Yield rows of `molecules` and Hessians of `method`, with the network `delta`, at the minima.

    Saddle points, diatomics and molecules that do not converge are left out.
    """
    for row in progress_bar(rows, unit="molecules"):
        index, z, pos = molecules.geometry(row)
        if index in SADDLE_POINTS or len(z) < 3:
            continue
        try:
            matrix = anchored_hessian(z, pos, method, delta)
        except NotConverged as error:
            log.warning("molecule %d: left out of the fit: %s", index, error)
            continue
        reference = ReferenceHessian(z, pos, matrix, molecules.modes(row))
        if len(reference.deviations(no_correction())) == len(reference.frequencies):
            yield int(row), reference


def anchored_hessian(
    z: np.ndarray, pos: np.ndarray, method: Method, delta: Potential | None = None
) -> np.ndarray:
    """Return the Hessian (3N, 3N) eV/Å^2, at `pos` (N, 3) Å, of `method` with its anchor.

    The network `delta` adds its part to the method; its displaced geometries are computed together.
    """
    function, change, matrix = method(z), np.zeros_like(pos), np.zeros((pos.size, pos.size))
    if delta:
        change = delta_forces(delta, z, pos, np.array([len(z)]))[1]
        matrix = delta_hessian(delta, z, pos)
    anchor = fit_anchor(pos, function(pos)[1] + change)
    return matrix + hessian(function, pos) + hessian(anchor, pos)


def _mae(references: list[ReferenceHessian], correction: Correction) -> float:
    deviations = np.concatenate([reference.deviations(correction) for reference in references])
    return float(np.abs(deviations).mean())


def read_correction(path: str | Path) -> Correction:
    """Return the correction in the JSON file `path`.

    Raises InputError if the file holds no force constants, or a number of them that does not fit.
    """
    try:
        constants = np.array(json.loads(Path(path).read_text())["constants"], float)
    except (ValueError, KeyError) as error:
        raise InputError(f"{path}: not a correction; delete it and run again") from error
    expected = no_correction().constants.shape
    if constants.shape != expected:
        raise InputError(
            f"{path}: constants have shape {constants.shape}, not {expected};"
            " delete it and run again"
        )
    return Correction(constants)
