"""Stability of a trajectory: its record, its drift and its summary."""

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field, fields

import numpy as np
from ase import Atoms

from ..structures.bonds import bond_lengths, bonded_pairs
from ..structures.checks import fixed_atoms
from .settings import Settings

HYDROGEN_LOST_A = 2.5  # Å, https://arxiv.org/abs/2511.20487
BLOCKS = 20  # of a trajectory, whose mean energies the drift is fitted to


@dataclass(frozen=True)
class Summary:
    """One row of the MD table.

    `ms_per_step` is the processor time of the thread that takes the steps, per step of one system
    (systems that run together are faster). On an idle machine it equals the wall time. Other jobs
    on the same cores lengthen the wall time and hardly change the processor time. On a GPU, which
    computes on its own, it is the wall time. `cpu_share` is processor time divided by wall time:
    well below 1, other jobs used the cores, and a step took ms_per_step / cpu_share of wall time.
    """

    model: str
    molecule: str
    ensemble: str
    temperature_k: float
    timestep_fs: float
    length_ps: float  # requested
    stable_ps: float
    max_bond_deviation_a: float
    drift_mev_per_atom_per_ps: float  # slope of the total energy in NVE, else nan
    ms_per_step: float
    replica: int
    drift_ci95_mev_per_atom_per_ps: float  # half the width of the slope's 95 % confidence interval
    hydrogen_lost: bool  # a hydrogen moved HYDROGEN_LOST_A or more from its bonded atom
    mean_temperature_k: float  # without a last frame that ended the run
    atoms: int
    relaxed: bool
    ended: str  # "complete", or the reason for the early end
    cpu_share: float
    forces_uncertainty_mev_per_a: float  # mean over atoms and frames; nan without an uncertainty
    max_forces_uncertainty_mev_per_a: float  # largest of an atom in a frame
    outside_training_fraction: float  # of the frames


def degrees_of_freedom(atoms: Atoms, ensemble: str) -> int:
    """Return how many degrees of freedom hold kinetic energy, at least 1: 3 for each atom that is
    not fixed; in nve, if no atom is fixed, without translation and, unless periodic, rotation of
    the whole system.
    """
    fixed = fixed_atoms(atoms)
    if ensemble == "nvt" or fixed.any():
        return 3 * int((~fixed).sum())
    centred = atoms.positions - atoms.positions.mean(0)
    rotations = 0 if atoms.pbc.any() else (0, 2, 3, 3)[np.linalg.matrix_rank(centred, tol=0.01)]
    return max(1, 3 * len(atoms) - 3 - rotations)


def drift(time_ps: Sequence[float], total_ev: Sequence[float]) -> tuple[float, float]:
    """Return the slope of the total energy (eV/ps) and half its 95 % confidence interval.

    Least squares on the means of blocks, as vibrations correlate single frames. Slow fluctuations
    correlate blocks too. The interval therefore counts only n (1 - r) / (1 + r) of n blocks, with
    the autocorrelation r of the residuals (Santer et al., https://doi.org/10.1029/1999JD901105);
    it is infinite if at most two remain. Both values are nan for fewer than six frames.
    """
    import scipy.stats  # takes a second to import

    blocks = min(BLOCKS, len(time_ps) // 2)
    if blocks < 3:
        return math.nan, math.nan
    time, total = (
        np.array([block.mean() for block in np.array_split(np.asarray(values), blocks)])
        for values in (time_ps, total_ev)
    )
    line = scipy.stats.linregress(time, total)
    residuals = total - line.intercept - line.slope * time
    square = residuals @ residuals
    r = max(0.0, residuals[1:] @ residuals[:-1] / square) if square else 0.0
    degrees = blocks * (1 - r) / (1 + r) - 2
    if degrees <= 0:
        return line.slope, math.inf
    widening = math.sqrt((blocks - 2) / degrees)
    return line.slope, line.stderr * widening * scipy.stats.t.ppf(0.975, degrees)


def _numbers() -> "array[float]":
    return array("d")


@dataclass
class Record:
    """History of one system that starts from `start`, relaxed or not, frame by frame."""

    start: Atoms
    relaxed: bool = False
    times: "array[float]" = field(default_factory=_numbers)  # ps
    totals: "array[float]" = field(default_factory=_numbers)  # eV
    temperatures: "array[float]" = field(default_factory=_numbers)  # K
    deviations: "array[float]" = field(default_factory=_numbers)  # Å
    mean_uncertainties: "array[float]" = field(default_factory=_numbers)  # eV/Å, of the forces
    max_uncertainties: "array[float]" = field(default_factory=_numbers)  # eV/Å
    outside: "array[float]" = field(default_factory=_numbers)  # 1 outside the training domain
    hydrogen_lost: bool = False
    reason: str = ""  # for an early end

    def __post_init__(self) -> None:
        pairs = bonded_pairs(self.start)
        self.bonds_of_hydrogen = pairs[(self.start.numbers[pairs] == 1).any(1)]

    def add(self, frame: Atoms, reason: str) -> None:
        """Add a frame; `reason` is "" unless the run ended early with it."""
        lengths = bond_lengths(frame, self.bonds_of_hydrogen)
        self.hydrogen_lost |= bool(lengths.max(initial=0) >= HYDROGEN_LOST_A)
        self.times.append(frame.info["time_fs"] / 1000)
        self.totals.append(frame.info["total_energy"])
        self.temperatures.append(frame.info["temperature_k"])
        self.deviations.append(frame.info["max_bond_deviation_a"])
        uncertainty = frame.arrays.get("forces_uncertainty", np.array([math.nan]))
        self.mean_uncertainties.append(uncertainty.mean())
        self.max_uncertainties.append(uncertainty.max())
        self.outside.append(frame.info.get("outside_training", math.nan))
        self.reason = reason

    def columns(self) -> "list[array[float]]":
        """Return the arrays of the values of all frames."""
        values = (getattr(self, one.name) for one in fields(self))
        return [value for value in values if isinstance(value, array)]

    def steps(self, timestep_fs: float) -> float:
        """Return the number of steps taken, at least 1."""
        return max(1.0, 1000 * self.times[-1] / timestep_fs)

    def summary(
        self,
        model: str,
        molecule: str,
        replica: int,
        settings: Settings,
        ms_per_step: float,
        cpu_share: float,
    ) -> Summary:
        """Return the row of the MD table."""
        nve, atoms = settings.ensemble == "nve", len(self.start)
        slope, half_width = drift(self.times, self.totals) if nve else (math.nan, math.nan)
        intact = self.temperatures[: -1 if self.reason else None] or self.temperatures
        return Summary(
            model=model,
            molecule=molecule,
            ensemble=settings.ensemble,
            temperature_k=settings.temperature_k,
            timestep_fs=settings.timestep_fs,
            length_ps=settings.length_ps,
            stable_ps=self.times[-1],
            max_bond_deviation_a=float(np.max(self.deviations)),
            drift_mev_per_atom_per_ps=float(1000 * slope / atoms),
            ms_per_step=ms_per_step,
            replica=replica,
            drift_ci95_mev_per_atom_per_ps=float(1000 * half_width / atoms),
            hydrogen_lost=self.hydrogen_lost,
            mean_temperature_k=float(np.mean(intact)),
            atoms=atoms,
            relaxed=self.relaxed,
            ended=self.reason or "complete",
            cpu_share=cpu_share,
            forces_uncertainty_mev_per_a=float(1000 * np.mean(self.mean_uncertainties)),
            max_forces_uncertainty_mev_per_a=float(1000 * np.max(self.max_uncertainties)),
            outside_training_fraction=float(np.mean(self.outside)),
        )
