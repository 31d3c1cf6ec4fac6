"""Refit of GFN2-xTB's parameters to DFT: the teacher.

The parameters x, in steps from the values of GFN2-xTB, minimise

    sum_k rho((F_k - F_k(x)) / s) + sum_e rho((E_e - E_e(x)) / s_e) + lambda |x|^2

    F_k     eV/Å  force components of geometries off the minimum, anchored (anchor.py) as labels
                  are, and without anchor; and at minima, where they are 0
    E_e     eV    anchored energies of geometries above the minimum of their molecule; energies of
                  minima, less a sum over the atoms: relative energies of isomers; interaction
                  energies of dimers
    s, s_e        expected deviations
    rho           pseudo-Huber loss: large residuals count linearly
    lambda        prior: the weight of a squared step

by damped Gauss-Newton steps. Derivatives are differences between self-consistent fields, each of
which starts from the field at x. They hardly change with x and serve several steps.
"""

import logging
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations_with_replacement
from multiprocessing import get_context
from typing import Any

import numpy as np
from ase import Atoms
from ase.data.s22 import (
    create_s22_system,
    get_interaction_energy_s22x5,
    get_number_of_dimer_atoms,
    s22,
)

from ..data.molecules import Molecules
from ..data.sources import QM9_ELEMENTS
from ..errors import InputError
from ..runtime.progress import progress_bar
from ..units import BOHR
from .anchor import fit_anchor
from .scf import NotConverged
from .tight_binding import ELEMENTS, Table, gfn2_parameters, single_point

log = logging.getLogger(__name__)

ANCHORED_SIGMA, PLAIN_SIGMA, MINIMUM_SIGMA = 0.08, 0.2, 0.08  # s of forces, eV/Å
ANCHORED_ENERGY_SIGMA, ISOMER_SIGMA, DIMER_SIGMA = 0.1, 0.5, 0.03  # s_e, eV
HUBER = 2.0  # residuals above this number of expected deviations count linearly
DIFFERENCE = 0.3  # steps: displacement of a parameter in the differences
LARGEST_STEP = 4.0  # steps: largest change of a parameter per iteration
ACCURACY = 0.1  # of tblite's self-consistent field, relative to its default
MAX_CYCLES = 150
PRIOR = 1.0
LOST = 100.0  # loss of a geometry whose field no longer converges
DISTANCES = (0.9, 1.0, 1.5)  # of the dimers, in distances at the minimum
ROUNDS, TRIALS = 3, 8

Path = tuple[str | int, ...]  # keys of nested tables, places in lists

# one step of a parameter of an element: relative to its value (%) or absolute
ELEMENT_STEPS: dict[str, str | float] = {
    "levels": "3%", "slater": "5%", "shpoly": 0.02, "kcn": 0.02, "gam": "5%", "lgam": 0.1,
    "gam3": 0.05, "zeff": "5%", "arep": "3%", "en": 0.1, "dkernel": 0.01, "qkernel": 0.005,
    "mprad": "10%", "mpvcn": 0.2,
}  # fmt: skip
GLOBAL_STEPS: dict[Path, dict[str, str | float]] = {
    ("hamiltonian", "xtb"): {"wexp": 0.1, "enscale": 0.01},
    ("hamiltonian", "xtb", "shell"): {"ss": "5%", "pp": "5%", "sp": "5%"},
    ("repulsion", "effective"): {"kexp": "5%", "klight": "5%"},
    ("charge", "effective"): {"gexp": "10%"},
    ("thirdorder", "shell"): {"s": 0.1, "p": 0.1},
    ("multipole", "damped"): {"dmp3": "10%", "dmp5": "10%", "kexp": "10%", "shift": "10%"},
    ("dispersion", "d4"): {"s8": "10%", "a1": "10%", "a2": "5%"},
}
PAIR_STEP = 0.02  # of the factors of the Hamiltonian of two elements


@dataclass(frozen=True)
class Parameter:
    """A free parameter: where it is in tblite's tables, and one step, relative or absolute."""

    path: Path
    step: float
    relative: bool


def start() -> Table:
    """Return the parameters of GFN2-xTB with all factors of pairs written out."""
    table = gfn2_parameters()
    hamiltonian = table["hamiltonian"]["xtb"]
    shell = hamiltonian["shell"]
    hamiltonian["shell"] = shell | {"sp": (shell["ss"] + shell["pp"]) / 2}
    pairs = combinations_with_replacement(ELEMENTS, 2)
    hamiltonian["kpair"] = {f"{a}-{b}": 1.0 for a, b in pairs}
    return table


def free_parameters(table: Table) -> list[Parameter]:
    """Return all parameters that the refit may change."""
    found = []
    for symbol, element in table["element"].items():
        for key, step in ELEMENT_STEPS.items():
            value = element[key]
            if not isinstance(value, list):
                found.append(_parameter(("element", symbol, key), step))
            else:  # the first shell's factor of the Hubbard parameter is 1 by definition
                first = 1 if key == "lgam" else 0
                places = range(first, len(value))
                found += [_parameter(("element", symbol, key, n), step) for n in places]
    for path, steps in GLOBAL_STEPS.items():
        found += [_parameter((*path, key), step) for key, step in steps.items()]
    pairs = table["hamiltonian"]["xtb"]["kpair"]
    return found + [Parameter(("hamiltonian", "xtb", "kpair", p), PAIR_STEP, False) for p in pairs]


def _parameter(path: Path, step: str | float) -> Parameter:
    if isinstance(step, str):
        return Parameter(path, float(step.rstrip("%")) / 100, True)
    return Parameter(path, step, False)


def moved(table: Table, parameters: Sequence[Parameter], x: np.ndarray) -> Table:
    """Return a copy of the tables with the parameters moved by x (P,) steps."""
    table = deepcopy(table)
    for parameter, steps in zip(parameters, x, strict=True):
        holder: Any = table
        for key in parameter.path[:-1]:
            holder = holder[key]
        last, change = parameter.path[-1], parameter.step * float(steps)
        holder[last] = holder[last] * (1 + change) if parameter.relative else holder[last] + change
    return table


def steps_of(table: Table, free: Sequence[Parameter]) -> np.ndarray:
    """Return the steps (P,) by which `moved` makes `table` of `start()`."""

    def value(holder: Any, path: Path) -> float:
        for key in path:
            holder = holder[key]
        return holder

    steps, origin = [], start()
    for parameter in free:
        before = value(origin, parameter.path)
        change = value(table, parameter.path) - before
        steps.append(change / (parameter.step * (before if parameter.relative else 1)))
    return np.array(steps)


@dataclass(frozen=True)
class Geometry:
    """A geometry with DFT energy and forces; `minimum` is the place of its minimum in the list.

    The energy is above the minimum, or for a minimum U0 - ZPVE in QM9. A part of a dimer has none.
    """

    z: np.ndarray  # (N,)
    pos: np.ndarray  # (N, 3) Å
    forces: np.ndarray | None = None  # (N, 3) eV/Å
    energy: float = np.nan  # eV
    minimum: int | None = None


@dataclass(frozen=True)
class Dimer:
    """Places of a dimer and its monomers in the list of geometries, and the interaction energy."""

    places: tuple[int, int, int]
    energy: float  # eV


def geometries(frames: Sequence[Atoms], molecules: Molecules, shift: int = 0) -> list[Geometry]:
    """Return the minima of the molecules of `frames`, then the frames; `shift` others precede them.

    Frames have energies (eV) and forces (eV/Å) and the index of their molecule in `info`, `qm9`;
    others are left out. Raises InputError if a molecule is missing.
    """
    frames = [frame for frame in frames if "qm9" in frame.info]
    of = {int(index): row for row, index in enumerate(molecules.index)}
    if missing := [frame.info["qm9"] for frame in frames if frame.info["qm9"] not in of]:
        raise InputError(
            f"labels.teacher: fit needs all of QM9; molecule {missing[0]} of the DFT frames is not"
            " in the data set; give a file of parameters"
        )
    rows = dict.fromkeys(of[int(frame.info["qm9"])] for frame in frames)
    found, places = [], {}
    for place, row in enumerate(rows, shift):
        index, z, pos = molecules.geometry(row)
        energy = float(molecules.targets["energy"][row])
        found.append(Geometry(z, pos, np.zeros_like(pos), energy, place))
        places[index] = place
    for frame in frames:
        place = places[int(frame.info["qm9"])]
        energy = frame.get_potential_energy() - found[place - shift].energy
        where = frame.numbers, frame.positions
        found.append(Geometry(*where, frame.get_forces(), energy, place))
    return found


def s22x5(place: int) -> tuple[list[Geometry], list[Dimer]]:
    """Return geometries that follow `place` others, and the dimers of S22 at DISTANCES.

    CCSD(T)/CBS, monomers rigid. https://doi.org/10.1021/ct1002253, in ASE
    """
    parts: list[Geometry] = []
    dimers, monomers = [], {}
    for name in s22:
        for distance in DISTANCES:
            atoms = create_s22_system(name, distance)
            size = get_number_of_dimer_atoms(name)[0]
            here = place + len(parts)
            parts.append(Geometry(atoms.numbers, atoms.positions))
            if name not in monomers:
                monomers[name] = here + 1, here + 2
                halves = atoms[:size], atoms[size:]
                parts += [Geometry(half.numbers, half.positions) for half in halves]
            energy = get_interaction_energy_s22x5(name, distance, correct_offset=False)
            dimers.append(Dimer((here, *monomers[name]), energy))
    return parts, dimers


def anchor_matrix(minimum: np.ndarray, pos: np.ndarray) -> np.ndarray:
    """Return the matrix (1 + 3N, 3N): the change of energy and forces at `pos` by the anchor, for
    forces at `minimum` (N, 3) Å; the anchor is linear in these forces.
    """
    columns = []
    for unit in np.eye(pos.size):
        energy, forces = fit_anchor(minimum, unit.reshape(pos.shape))(pos)
        columns.append([energy, *forces.ravel()])
    return np.array(columns).T


_GEOMETRIES: list[Geometry] = []  # of a worker


def _start_worker(found: list[Geometry]) -> None:
    _GEOMETRIES[:] = found


@lru_cache(maxsize=1)
def _tables(x: bytes, free: tuple[Parameter, ...], derivatives: bool) -> list[Table]:
    steps = np.frombuffer(x)
    found = [moved(start(), free, steps)]
    if derivatives:
        found += [moved(start(), free, steps + step) for step in DIFFERENCE * np.eye(len(steps))]
    return found


def _evaluate(task: tuple[int, bytes, tuple[Parameter, ...], bool]) -> np.ndarray | None:
    """Return energy and forces (1, 1 + 3N), eV and eV/Å, of a geometry, followed by rows of their
    derivatives (P, 1 + 3N) per step; None if a field does not converge.
    """
    from tblite.interface import Calculator

    number, x, free, derivatives = task
    geometry, last, found = _GEOMETRIES[number], None, []
    for table in _tables(x, free, derivatives):
        try:
            calculator = Calculator(table, geometry.z.astype(int), geometry.pos / BOHR)
            for key, value in (("verbosity", 0), ("accuracy", ACCURACY), ("max-iter", MAX_CYCLES)):
                calculator.set(key, value)
            result, energy, forces = single_point(calculator, last)
        except (RuntimeError, NotConverged):
            return None
        last = last or result
        found.append([energy, *forces.ravel()])
    rows = np.array(found)
    rows[1:] = (rows[1:] - rows[0]) / DIFFERENCE
    return rows


@dataclass(frozen=True)
class Evaluator:
    """Energies and forces of geometries, and their derivatives; from `evaluator`."""

    pool: ProcessPoolExecutor
    free: tuple[Parameter, ...]
    count: int

    def __call__(self, x: np.ndarray, derivatives: bool = False) -> list[np.ndarray | None]:
        """Return `_evaluate` for each geometry at x (P,) steps."""
        tasks = [(n, x.tobytes(), self.free, derivatives) for n in range(self.count)]
        found = self.pool.map(_evaluate, tasks, chunksize=4)
        return list(progress_bar(found, total=self.count, unit="geometries"))


@contextmanager
def evaluator(
    found: list[Geometry], free: tuple[Parameter, ...], cores: int
) -> Iterator[Evaluator]:
    """Yield an evaluator of geometries that computes on several cores."""
    context = get_context("forkserver")
    with ProcessPoolExecutor(cores, context, _start_worker, (found,)) as pool:
        yield Evaluator(pool, free, len(found))


def anchored_rows(rows: np.ndarray, minimum_rows: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return the anchored energies above the minimum and forces (R, 1 + 3N), for rows of both.

    `matrix` is the `anchor_matrix`; rows may be derivatives, as all is linear.
    """
    change = minimum_rows[:, 1:] @ matrix.T
    change[:, 0] -= minimum_rows[:, 0]
    return rows + change


def _residuals(
    geometry: Geometry, rows: np.ndarray, minimum_rows: np.ndarray, matrix: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return residuals (K,) in expected deviations and their rows of derivatives (P, K)."""
    forces = np.asarray(geometry.forces).ravel()
    if matrix is None:  # a minimum
        known = np.concatenate([[geometry.energy], forces])
        sigma = np.array([ISOMER_SIGMA] + [MINIMUM_SIGMA] * len(forces))
        found = rows
    else:
        anchored = anchored_rows(rows, minimum_rows, matrix)
        known = np.concatenate([[geometry.energy], forces, forces])
        sigma = np.repeat(
            [ANCHORED_ENERGY_SIGMA, ANCHORED_SIGMA, PLAIN_SIGMA], [1, len(forces), len(forces)]
        )
        found = np.concatenate([anchored, rows[:, 1:]], 1)
    return (known - found[0]) / sigma, found[1:] / sigma


class Refit:
    """State of a refit: the steps `x` (P,) of the parameters and derivatives near them.

    `prior` is lambda, of all parameters or (P,). Geometries whose places are in `held_out` have no
    part in the loss.
    """

    def __init__(
        self,
        found: Sequence[Geometry],
        free: Sequence[Parameter],
        dimers: Sequence[Dimer] = (),
        prior: float | np.ndarray = PRIOR,
        held_out: Collection[int] = (),
    ) -> None:
        self.geometries, self.free, self.dimers = list(found), tuple(free), list(dimers)
        self.prior, self.held_out = np.broadcast_to(prior, len(free)), held_out
        self.matrices = [
            None if g.minimum in (n, None) else anchor_matrix(found[g.minimum].pos, g.pos)
            for n, g in enumerate(found)
        ]
        self.minima = [n for n, g in enumerate(found) if g.minimum == n and n not in held_out]
        self.atoms = np.array([[(g.z == z).sum() for z in QM9_ELEMENTS] for g in found])
        self.x = np.zeros(len(free))
        self.rows: list[np.ndarray | None] = []

    def solve(
        self, x: np.ndarray, values: Sequence[np.ndarray | None], damping: float
    ) -> tuple[float, np.ndarray]:
        """Return the loss at x (P,) and the damped step from there (P,).

        `values` are energies and forces of each geometry; derivatives are the ones in `rows`.
        """
        size, elements = len(x), len(QM9_ELEMENTS)
        normal, right = np.zeros((size + elements,) * 2), np.zeros(size + elements)
        normal[:size, :size] = np.diag(self.prior + damping)
        right[:size] = -self.prior * x
        normal[size:, size:] = 1e-9 * np.eye(elements)
        lost = sum(
            rows is not None and v is None for rows, v in zip(self.rows, values, strict=True)
        )
        loss = self.prior @ x**2 + LOST * lost
        atomic = self._atomic_energies(values)
        for residual, slopes in self._terms(values, atomic):
            weight = 1 / np.sqrt(1 + (residual / HUBER) ** 2)
            loss += 2 * HUBER**2 * (1 / weight - 1).sum()
            normal += (slopes * weight) @ slopes.T
            right += (slopes * weight) @ residual
        return loss, np.linalg.solve(normal, right)[:size]

    def _atomic_energies(self, values: Sequence[np.ndarray | None]) -> np.ndarray:
        """Return the energies (elements,) eV per atom that QM9's minima have beyond `values`."""
        found = {n: value[0, 0] for n in self.minima if (value := values[n]) is not None}
        above = [self.geometries[n].energy - energy for n, energy in found.items()]
        return np.linalg.lstsq(self.atoms[list(found)], np.array(above))[0]

    def _terms(
        self, values: Sequence[np.ndarray | None], atomic: np.ndarray
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield residuals (K,) in expected deviations and derivatives (P + elements, K)."""
        for n, geometry in enumerate(self.geometries):
            if geometry.minimum is None or n in self.held_out:
                continue
            here, there = self._at(values, n), self._at(values, geometry.minimum)
            if here is None or there is None:
                continue
            residual, slopes = _residuals(geometry, here, there, self.matrices[n])
            columns = np.zeros((len(atomic), len(residual)))
            if geometry.minimum == n:
                columns[:, 0] = self.atoms[n] / ISOMER_SIGMA
                residual = residual - atomic @ columns
            yield residual, np.concatenate([slopes, columns])
        for dimer in self.dimers:
            parts = [rows[:, 0] for n in dimer.places if (rows := self._at(values, n)) is not None]
            if len(parts) < 3:
                continue
            whole, first, second = parts
            energy = (whole - first - second)[:, None] / DIMER_SIGMA
            slopes = np.concatenate([energy[1:], np.zeros((len(atomic), 1))])
            yield dimer.energy / DIMER_SIGMA - energy[0], slopes

    def _at(self, values: Sequence[np.ndarray | None], n: int) -> np.ndarray | None:
        """Return `values` of a geometry with the derivatives in `rows`, or None without them."""
        rows, value = self.rows[n], values[n]
        return None if rows is None or value is None else np.concatenate([value[:1], rows[1:]])

    def descend(
        self, values: Sequence[np.ndarray | None], evaluate: Evaluator, trials: int
    ) -> float:
        """Move x to a smaller loss with the derivatives in `rows`; return the loss.

        `values` are energies and forces of each geometry at x. A trial that raises the
        loss is taken back, and the next one is damped more.
        """
        damping, kept = 1.0, values
        loss, step = self.solve(self.x, kept, damping)
        for _ in range(trials):
            trial = self.x + step * min(1.0, LARGEST_STEP / np.abs(step).max())
            values = evaluate(trial)
            trial_loss, trial_step = self.solve(trial, values, damping)
            if trial_loss < loss:
                self.x, kept, loss, step = trial, values, trial_loss, trial_step
                damping /= 2
            else:
                damping *= 8
                _, step = self.solve(self.x, kept, damping)
        return loss

    def run(self, rounds: int, trials: int, cores: int) -> Iterator[float]:
        """Yield the loss after each of the `rounds`, which compute derivatives once."""
        with evaluator(self.geometries, self.free, cores) as evaluate:
            for _ in range(rounds):
                self.rows = evaluate(self.x, derivatives=True)
                yield self.descend(self.rows, evaluate, trials)


def fit_teacher(
    frames: Sequence[Atoms], molecules: Molecules, cores: int
) -> tuple[Table, dict[str, Any]]:
    """Return the parameters of the teacher, as tblite's tables, and their provenance.

    `frames`: see `geometries`. Takes minutes on each core.
    """
    found = geometries(frames, molecules)
    parts, dimers = s22x5(len(found))
    refit = Refit([*found, *parts], free_parameters(start()), dimers)
    for number, loss in enumerate(refit.run(ROUNDS, TRIALS, cores), 1):
        log.info("round %d of %d: loss %.0f", number, ROUNDS, loss)
    table = moved(start(), refit.free, refit.x)
    table["meta"] = table["meta"] | {"name": "GFN2-xTB refitted by nnpipe"}
    return table, {
        "frames": sum("qm9" in frame.info for frame in frames),
        "molecules": len(refit.minima),
        "dimers": len(dimers),
        "parameters": len(refit.free),
        "largest_change_steps": float(np.abs(refit.x).max()),
    }
