"""Molecular dynamics into extended xyz, and whether it held; many systems at once if wanted."""

import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.io.extxyz import write_extxyz
from ase.md.velocitydistribution import Stationary, ZeroRotation, thermalize_momenta

from ..errors import InputError
from ..runtime.files import atomic
from ..runtime.progress import progress_bar
from ..structures.bonds import bond_lengths, bonded_pairs
from ..structures.load import check_timestep
from ..units import ASE_BOLTZMANN
from .calculator import NeuralCalculator
from .propagate import make_propagators
from .relax import relax
from .settings import Settings
from .stability import (
    HYDROGEN_LOST_A,
    Record,
    Summary,
    _heavy_of_hydrogens,
    _summary,
    degrees_of_freedom,
)

log = logging.getLogger(__name__)
MAX_STEPS = 500  # of a relaxation
EXPLOSION_K = 10_000.0  # above the target, https://arxiv.org/abs/2511.20487 calls it an explosion


def number_of_steps(settings: Settings) -> int:
    """Return the number of steps of a whole run."""
    return round(1000 * settings.length_ps / settings.timestep_fs)


def thermalize(atoms: Atoms, settings: Settings, seed: int) -> None:
    """Draw velocities, without translation and, unless periodic, rotation of the whole."""
    # of twice the kinetic energy, half goes into the potential when a minimum is left
    nve = settings.ensemble == "nve"
    start_k = settings.temperature_k * (2 if nve else 1)
    thermalize_momenta(atoms, start_k, rng=np.random.default_rng(seed))
    warm = not nve and len(atoms) > 1  # what was in the whole's motion goes to the rest
    Stationary(atoms, preserve_temperature=warm)
    if not atoms.pbc.any() and len(atoms) > 1:
        ZeroRotation(atoms, preserve_temperature=warm)


def frames(
    systems: Sequence[Atoms], calculator: Calculator, settings: Settings
) -> Iterator[tuple[int, Atoms, str]]:
    """Frames of all systems every `frame_fs`, from 0 on: number of the system, frame, and with its
    last one why it stopped, or "".

    Each has energy, forces and momenta, and in `info` time_fs, temperature_k, total_energy and
    max_bond_deviation_a, of all steps since the frame before. A frame that breaks a run is given
    too; the others go on.
    """
    systems = [system.copy() for system in systems]
    for number, system in enumerate(systems):
        thermalize(system, settings, settings.seed + number)
    free = np.array([degrees_of_freedom(system, settings.ensemble) for system in systems])
    every = max(1, round(settings.frame_fs / settings.timestep_fs))
    hottest = settings.temperature_k + EXPLOSION_K
    parts, worst = make_propagators(systems, calculator, settings), np.zeros(len(systems))
    for step in range(number_of_steps(settings) + 1):
        going, found = [], {}
        for part in parts:
            energies, kinetic, deviations = part.step()
            worst[part.system_ids] = np.maximum(worst[part.system_ids], deviations)
            temperatures = 2 * kinetic / (ASE_BOLTZMANN * free[part.system_ids])
            finite = np.isfinite(energies + kinetic)  # velocities have the forces in them
            sound = finite & (temperatures <= hottest)
            sound &= deviations <= settings.max_bond_deviation_a
            wanted = np.flatnonzero(~sound | (step % every == 0))
            for one, frame in zip(wanted, part.frames(wanted), strict=False):
                number, reason = int(part.system_ids[one]), ""
                if not finite[one]:
                    reason = "energy or forces are not finite"
                elif not temperatures[one] <= hottest:
                    reason = f"temperature of {temperatures[one]:.0f} K"
                elif not sound[one]:
                    reason = _broken_bond(systems[number], frame)
                frame.info = {
                    "time_fs": step * settings.timestep_fs,
                    "temperature_k": temperatures[one],
                    "total_energy": energies[one] + kinetic[one],
                    "max_bond_deviation_a": worst[number],
                }
                worst[number] = 0.0
                found[number] = frame, reason
            if sound.any():
                going.append(part if sound.all() else part.drop(~sound))
        parts = going
        for number in sorted(found):
            yield number, *found[number]


def _broken_bond(start: Atoms, now: Atoms) -> str:
    """Which bond changed most."""
    pairs = bonded_pairs(start)
    off = np.abs(bond_lengths(now, pairs) - bond_lengths(start, pairs))
    a, b = pairs[off.argmax()]
    return f"bond {start[a].symbol}{a}-{start[b].symbol}{b} is off by {off.max():.2f} Å"


def simulate(
    systems: Sequence[Atoms],
    calculator: Calculator,
    settings: Settings,
    path: str | Path,
    model: str = "model",
    names: Sequence[str] = (),
) -> list[Summary]:
    """Relax all systems, run them together and write the trajectory to `path`.

    One that breaks ends there and says why. `names` are the molecules, the same one for replicas
    of it, by default "molecule" for all; a frame's `info` says its molecule and replica where there
    are several systems. Raises InputError for a timestep or an element that cannot be, and for
    constraints.
    """
    names = names or ["molecule"] * len(systems)
    started_from, relaxed = [], []
    gentle = calculator.eager() if isinstance(calculator, NeuralCalculator) else calculator
    done: dict[int, tuple[Atoms, bool]] = {}
    for system in systems:
        check_timestep(system.numbers, settings.timestep_fs)
        if system.constraints:
            raise InputError("atoms have constraints; dynamics here move all, so take them off")
        if id(system) not in done:
            done[id(system)] = relax(
                system, gentle, settings.relax_fmax, MAX_STEPS, settings.max_bond_deviation_a
            )
        started_from.append(done[id(system)][0])
        relaxed.append(done[id(system)][1])
    heavy = [_heavy_of_hydrogens(atoms) for atoms in started_from]
    replicas = [list(names[:number]).count(name) for number, name in enumerate(names)]
    records = [Record() for _ in systems]
    started = 0.0  # with the first frame, once all is compiled
    with atomic(path) as temporary, open(temporary, "w") as file:
        label = f"{model} {names[0]}" + (f" and {len(names) - 1} more" if len(names) > 1 else "")
        with progress_bar(total=settings.length_ps, unit="ps", label=label) as bar:
            for number, frame, reason in frames(started_from, calculator, settings):
                started = started or time.monotonic()
                record = records[number]
                record.reason = reason
                if len(systems) > 1:
                    frame.info |= {"molecule": names[number], "replica": replicas[number]}
                if np.isfinite(frame.positions).all():
                    write_extxyz(file, [frame])
                far = bond_lengths(frame, heavy[number]).max(initial=0) >= HYDROGEN_LOST_A
                record.hydrogen_lost |= bool(far)
                record.times.append(frame.info["time_fs"] / 1000)
                record.totals.append(frame.info["total_energy"])
                record.temperatures.append(frame.info["temperature_k"])
                record.deviations.append(frame.info["max_bond_deviation_a"])
                bar.update(record.times[-1] - bar.n)
                bar.set_postfix_str(f"{record.temperatures[-1]:.0f} K")
    seconds = time.monotonic() - started
    steps = sum(max(1.0, 1000 * record.times[-1] / settings.timestep_fs) for record in records)
    for record, name in zip(records, names, strict=True):
        if record.reason:
            log.warning(
                "%s %s: stopped at %.4f ps: %s", model, name, record.times[-1], record.reason
            )
    return [
        _summary(model, name, replica, settings, record, 1000 * seconds / steps, len(atoms), found)
        for name, replica, record, atoms, found in zip(
            names, replicas, records, started_from, relaxed, strict=True
        )
    ]
