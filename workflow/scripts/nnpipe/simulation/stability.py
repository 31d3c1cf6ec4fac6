"""Whether a trajectory held: its record, its drift and its summary."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from ase import Atoms

from ..structures.bonds import bonded_pairs
from .settings import Settings

HYDROGEN_LOST_A = 2.5  # Å, https://arxiv.org/abs/2511.20487
BLOCKS = 20  # of a trajectory, whose means count as independent


@dataclass(frozen=True)
class Summary:
    """One row of the MD table."""

    model: str
    molecule: str
    ensemble: str
    temperature_k: float
    timestep_fs: float
    length_ps: float  # asked for
    stable_ps: float
    max_bond_deviation_a: float
    drift_mev_per_atom_per_ps: float  # slope of the total energy in NVE, else nan
    ms_per_step: float  # of one system; several are faster together
    replica: int
    drift_ci95_mev_per_atom_per_ps: float  # half the width of the slope's 95 % confidence interval
    hydrogen_lost: bool  # a hydrogen ended 2.5 Å or more from the atom it was bonded to
    mean_temperature_k: float  # without a last frame that broke the run
    atoms: int
    relaxed: bool
    ended: str  # "complete", or why it stopped


def degrees_of_freedom(atoms: Atoms, ensemble: str) -> int:
    """Those that hold kinetic energy, 1 at least: all in nvt, in nve none of the whole's motion."""
    if ensemble == "nvt":
        return 3 * len(atoms)
    centred = atoms.positions - atoms.positions.mean(0)
    rotations = 0 if atoms.pbc.any() else (0, 2, 3, 3)[np.linalg.matrix_rank(centred, tol=0.01)]
    return max(1, 3 * len(atoms) - 3 - rotations)


def drift(time_ps: Sequence[float], total_ev: Sequence[float]) -> tuple[float, float]:
    """Slope of the total energy (eV/ps) and half its 95 % confidence interval, by least squares on
    the means of blocks, which vibrations do not correlate as they do frames.

    What wanders slowly still correlates them: the interval is that of as many independent blocks as
    the autocorrelation r of the residuals leaves, n (1 - r) / (1 + r), as Santer et al. have it,
    https://doi.org/10.1029/1999JD901105; infinite if that is no more than two.
    """
    import scipy.stats  # takes a second, and most runs need none of it

    blocks = min(BLOCKS, len(time_ps) // 2)
    if blocks < 3:
        return math.nan, math.nan
    time, total = (
        np.array([block.mean() for block in np.array_split(np.asarray(values), blocks)])
        for values in (time_ps, total_ev)
    )
    line = scipy.stats.linregress(time, total)
    rest = total - line.intercept - line.slope * time
    square = rest @ rest
    r = max(0.0, rest[1:] @ rest[:-1] / square) if square else 0.0
    free = blocks * (1 - r) / (1 + r) - 2
    if free <= 0:
        return line.slope, math.inf
    wider = math.sqrt((blocks - 2) / free)
    return line.slope, line.stderr * wider * scipy.stats.t.ppf(0.975, free)


@dataclass
class Record:
    """What the summary of a system is made of."""

    times: list[float] = field(default_factory=list)  # ps
    totals: list[float] = field(default_factory=list)  # eV
    temperatures: list[float] = field(default_factory=list)  # K
    deviations: list[float] = field(default_factory=list)  # Å
    hydrogen_lost: bool = False
    reason: str = ""


def _heavy_of_hydrogens(atoms: Atoms) -> np.ndarray:
    """(P, 2) bonds of hydrogen."""
    pairs = bonded_pairs(atoms)
    return pairs[(atoms.numbers[pairs] == 1).any(1)]


def _summary(
    model: str,
    molecule: str,
    replica: int,
    settings: Settings,
    record: Record,
    ms_per_step: float,
    atoms: int,
    relaxed: bool,
) -> Summary:
    slope, half = (
        drift(record.times, record.totals) if settings.ensemble == "nve" else (math.nan, math.nan)
    )
    intact = record.temperatures[: -1 if record.reason else None] or record.temperatures
    return Summary(
        model=model,
        molecule=molecule,
        ensemble=settings.ensemble,
        temperature_k=settings.temperature_k,
        timestep_fs=settings.timestep_fs,
        length_ps=settings.length_ps,
        stable_ps=record.times[-1],
        max_bond_deviation_a=float(np.max(record.deviations)),
        drift_mev_per_atom_per_ps=float(1000 * slope / atoms),
        ms_per_step=ms_per_step,
        replica=replica,
        drift_ci95_mev_per_atom_per_ps=float(1000 * half / atoms),
        hydrogen_lost=record.hydrogen_lost,
        mean_temperature_k=float(np.mean(intact)),
        atoms=atoms,
        relaxed=relaxed,
        ended=record.reason or "complete",
    )
