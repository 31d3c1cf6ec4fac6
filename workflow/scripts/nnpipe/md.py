"""Molecular dynamics into extended xyz, and whether it held."""

import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io.extxyz import write_extxyz
from ase.md.langevin import Langevin
from ase.md.md import MolecularDynamics
from ase.md.velocitydistribution import Stationary, ZeroRotation, thermalize_momenta
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS
from tqdm import tqdm

from .geometry import bond_lengths, bonds, check_timestep
from .store import atomic

log = logging.getLogger(__name__)
EXPLOSION_K = 10_000.0  # above the target, https://arxiv.org/abs/2511.20487 calls it an explosion


@dataclass(frozen=True)
class Settings:
    """How a molecule is simulated; config.yaml says what each number means."""

    ensemble: str = "nvt"
    temperature_k: float = 300.0
    timestep_fs: float = 0.5
    length_ps: float = 10.0
    friction_per_ps: float = 10.0
    frame_fs: float = 10.0
    max_bond_deviation_a: float = 0.5
    relax_fmax: float = 0.01
    seed: int = 0


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
    ms_per_step: float
    mean_temperature_k: float  # without a last frame that broke the run
    atoms: int
    relaxed: bool
    ended: str  # "complete", or why it stopped


def relax(atoms: Atoms, settings: Settings, steps: int = 500) -> tuple[Atoms, bool]:
    """The nearest minimum of the calculator's surface, and whether it was found intact.

    If a bond changes by more than the stability rule allows, the geometry comes back unrelaxed.
    """
    pairs = bonds(atoms)
    before = bond_lengths(atoms, pairs)
    moved = atoms.copy()
    moved.calc = atoms.calc
    with BFGS(moved, logfile=None) as optimizer:
        for _ in optimizer.irun(settings.relax_fmax, steps):
            change = np.abs(bond_lengths(moved, pairs) - before).max(initial=0)
            if not change <= settings.max_bond_deviation_a:
                log.warning("relaxation changes a bond by %.2f Å: starting unrelaxed", change)
                return atoms, False
    converged = bool(np.linalg.norm(moved.get_forces(), axis=1).max() <= settings.relax_fmax)
    return moved, converged


def integrator(atoms: Atoms, settings: Settings) -> MolecularDynamics:
    """Langevin dynamics for nvt, velocity Verlet for nve."""
    timestep = settings.timestep_fs * units.fs
    if settings.ensemble == "nve":
        return VelocityVerlet(atoms, timestep)
    return Langevin(
        atoms,
        timestep,
        temperature_K=settings.temperature_k,
        friction=settings.friction_per_ps / (1000 * units.fs),
        fixcm=False,
        rng=np.random.default_rng(settings.seed + 1),
    )


def frames(atoms: Atoms, settings: Settings) -> Iterator[tuple[Atoms, str]]:
    """Frames of a run every `frame_fs`, from 0 on, and after the last one why it stopped, or "".

    Each has energy, forces and momenta, and in `info` time_fs, temperature_k, total_energy and
    max_bond_deviation_a. `atoms` is moved. A frame that breaks the run is given too, if finite.
    """
    rng = np.random.default_rng(settings.seed)
    # of twice the kinetic energy, half goes into the potential when a minimum is left
    start_k = settings.temperature_k * (2 if settings.ensemble == "nve" else 1)
    thermalize_momenta(atoms, start_k, rng=rng)
    Stationary(atoms)
    if not atoms.pbc.any():
        ZeroRotation(atoms)
    pairs = bonds(atoms)
    reference = bond_lengths(atoms, pairs)
    every = max(1, round(settings.frame_fs / settings.timestep_fs))
    dynamics = integrator(atoms, settings)
    for step in range(round(1000 * settings.length_ps / settings.timestep_fs) + 1):
        if step:
            dynamics.run(1)
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        temperature = atoms.get_temperature()
        deviation = np.abs(bond_lengths(atoms, pairs) - reference).max(initial=0)
        reason = ""
        if not (math.isfinite(energy) and np.isfinite(forces).all()):
            reason = "energy or forces are not finite"
        elif temperature > settings.temperature_k + EXPLOSION_K:
            reason = f"temperature of {temperature:.0f} K"
        elif deviation > settings.max_bond_deviation_a:
            a, b = pairs[np.abs(bond_lengths(atoms, pairs) - reference).argmax()]
            names = atoms.get_chemical_symbols()
            reason = f"bond {names[a]}{a}-{names[b]}{b} is off by {deviation:.2f} Å"
        if step % every == 0 or reason:
            frame = atoms.copy()
            frame.calc = SinglePointCalculator(frame, energy=energy, forces=forces)
            frame.info = {
                "time_fs": step * settings.timestep_fs,
                "temperature_k": temperature,
                "total_energy": energy + atoms.get_kinetic_energy(),
                "max_bond_deviation_a": deviation,
            }
            yield frame, reason
        if reason:
            return


def simulate(
    atoms: Atoms,
    calculator: Calculator,
    settings: Settings,
    path: str | Path,
    model: str = "model",
    molecule: str = "molecule",
) -> Summary:
    """Relax, run and write the trajectory to `path`; a run that breaks ends there and says why.

    Raises InputError for a timestep or an element that cannot be.
    """
    check_timestep(atoms.numbers, settings.timestep_fs)
    atoms = atoms.copy()
    atoms.calc = calculator
    atoms, relaxed = relax(atoms, settings)
    times, totals, temperatures, deviations, reason = [], [], [], [], ""
    started = time.monotonic()
    with atomic(path) as temporary, open(temporary, "w") as file:
        total = settings.length_ps
        with tqdm(
            total=total, unit=" ps", disable=None, mininterval=1, desc=f"{model} {molecule}"
        ) as bar:
            for frame, ended in frames(atoms, settings):
                reason = ended
                if np.isfinite(frame.positions).all():
                    write_extxyz(file, [frame])
                times.append(frame.info["time_fs"] / 1000)
                totals.append(frame.info["total_energy"])
                temperatures.append(frame.info["temperature_k"])
                deviations.append(frame.info["max_bond_deviation_a"])
                bar.update(times[-1] - bar.n)
                bar.set_postfix_str(f"{temperatures[-1]:.0f} K")
    seconds = time.monotonic() - started
    if reason:
        log.warning("%s %s: stopped at %.4f ps: %s", model, molecule, times[-1], reason)
    steps = max(1, round(1000 * times[-1] / settings.timestep_fs))
    slope = (
        np.polyfit(times, totals, 1)[0]
        if len(times) > 2 and settings.ensemble == "nve"
        else math.nan
    )
    return Summary(
        model=model,
        molecule=molecule,
        ensemble=settings.ensemble,
        temperature_k=settings.temperature_k,
        timestep_fs=settings.timestep_fs,
        length_ps=settings.length_ps,
        stable_ps=times[-1],
        max_bond_deviation_a=float(np.max(deviations)),
        drift_mev_per_atom_per_ps=float(1000 * slope / len(atoms)),
        ms_per_step=1000 * seconds / steps,
        mean_temperature_k=float(np.mean(temperatures[: -1 if reason else None] or temperatures)),
        atoms=len(atoms),
        relaxed=relaxed,
        ended=reason or "complete",
    )
