"""Molecular dynamics of one or several systems into extended xyz."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
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
from ..structures.checks import check_timestep
from ..units import ASE_BOLTZMANN
from .calculator import NeuralCalculator
from .propagate import make_propagators
from .relax import relax
from .settings import Settings
from .stability import Record, Summary, degrees_of_freedom

log = logging.getLogger(__name__)
MAX_RELAXATION_STEPS = 500
EXPLOSION_K = 10_000.0  # above the target temperature, https://arxiv.org/abs/2511.20487


def number_of_steps(settings: Settings) -> int:
    """Return the number of steps of a complete run."""
    return round(1000 * settings.length_ps / settings.timestep_fs)


def thermalize(atoms: Atoms, settings: Settings, seed: int) -> None:
    """Draw velocities in place, without translation and, unless periodic, rotation of the whole
    system.
    """
    # in nve, half of the kinetic energy at a minimum becomes potential energy
    nve = settings.ensemble == "nve"
    start_k = settings.temperature_k * (2 if nve else 1)
    thermalize_momenta(atoms, start_k, rng=np.random.default_rng(seed))
    preserve = not nve and len(atoms) > 1
    Stationary(atoms, preserve_temperature=preserve)
    if not atoms.pbc.any() and len(atoms) > 1:
        ZeroRotation(atoms, preserve_temperature=preserve)


def frames(
    systems: Sequence[Atoms], calculator: Calculator, settings: Settings
) -> Iterator[tuple[int, Atoms, str]]:
    """Yield the frames of all systems every `frame_fs`, from 0 on: number of the system, frame, and
    "" or, with its last frame, the reason for an early end.

    A frame has energy, forces and momenta, and in `info` time_fs, temperature_k, total_energy (eV)
    and max_bond_deviation_a of all steps since the frame before. The frame of the step that ends a
    system early is yielded too; the other systems continue.
    """
    systems = [system.copy() for system in systems]
    for number, system in enumerate(systems):
        thermalize(system, settings, settings.seed + number)
    degrees = np.array([degrees_of_freedom(system, settings.ensemble) for system in systems])
    every = max(1, round(settings.frame_fs / settings.timestep_fs))
    hottest = settings.temperature_k + EXPLOSION_K
    propagators, worst = make_propagators(systems, calculator, settings), np.zeros(len(systems))
    for step in range(number_of_steps(settings) + 1):
        remaining, found = [], {}
        for part in propagators:
            energies, kinetic, deviations = part.step()
            worst[part.system_ids] = np.maximum(worst[part.system_ids], deviations)
            temperatures = 2 * kinetic / (ASE_BOLTZMANN * degrees[part.system_ids])
            finite = np.isfinite(energies + kinetic)  # velocities contain the forces
            sound = finite & (temperatures <= hottest)
            sound &= deviations <= settings.max_bond_deviation_a
            wanted = np.flatnonzero(~sound | (step % every == 0))
            for place, frame in zip(wanted, part.frames(wanted), strict=False):
                number, reason = int(part.system_ids[place]), ""
                if not finite[place]:
                    reason = "energy or forces are not finite"
                elif not temperatures[place] <= hottest:
                    reason = f"temperature of {temperatures[place]:.0f} K"
                elif not sound[place]:
                    reason = _broken_bond(systems[number], frame)
                frame.info = {
                    "time_fs": step * settings.timestep_fs,
                    "temperature_k": temperatures[place],
                    "total_energy": energies[place] + kinetic[place],
                    "max_bond_deviation_a": worst[number],
                }
                worst[number] = 0.0
                found[number] = frame, reason
            if sound.any():
                remaining.append(part if sound.all() else part.drop(~sound))
        propagators = remaining
        for number in sorted(found):
            yield number, *found[number]


def _broken_bond(start: Atoms, now: Atoms) -> str:
    """Return a sentence about the bond that changed most."""
    pairs = bonded_pairs(start)
    change = np.abs(bond_lengths(now, pairs) - bond_lengths(start, pairs))
    a, b = pairs[change.argmax()]
    bond = f"{start[a].symbol}{a}-{start[b].symbol}{b}"
    return f"bond {bond} deviates by {change.max():.2f} Å"


def clocks() -> tuple[float, float]:
    """Return the wall time and the processor time of this thread, s."""
    return time.perf_counter(), time.thread_time()


def simulate(
    systems: Sequence[Atoms],
    calculator: Calculator,
    settings: Settings,
    path: str | Path,
    model: str = "model",
    names: Sequence[str] = (),
    clocks: Callable[[], tuple[float, float]] = clocks,
) -> list[Summary]:
    """Relax all systems, run them together, write the trajectory to `path`, and return a summary
    for each system.

    A system that becomes unstable ends early; its summary says why. `names` are the molecules, by
    default "molecule" for all; systems of the same name are replicas. If there are several systems,
    `info` of a frame contains molecule and replica. Raises InputError for a timestep that is too
    long, an element that the model was not trained on, and constraints.
    """
    names = names or ["molecule"] * len(systems)
    replicas = [list(names[:number]).count(name) for number, name in enumerate(names)]
    starts = _relax_all(systems, calculator, settings)
    records = [Record(start) for start, _ in starts]
    started: tuple[float, float] | None = None  # at the first frame, when all is compiled
    label = f"{model} {names[0]}" + (f" and {len(names) - 1} more" if len(names) > 1 else "")
    with (
        atomic(path) as temporary,
        open(temporary, "w") as file,
        progress_bar(total=settings.length_ps, unit="ps", label=label) as bar,
    ):
        for number, frame, reason in frames([start for start, _ in starts], calculator, settings):
            started = started or clocks()
            if len(systems) > 1:
                frame.info |= {"molecule": names[number], "replica": replicas[number]}
            if np.isfinite(frame.positions).all():
                write_extxyz(file, [frame])
            records[number].add(frame, reason)
            bar.update(frame.info["time_fs"] / 1000 - bar.n)
            bar.set_postfix_str(f"{frame.info['temperature_k']:.0f} K", refresh=False)
        assert started is not None
        wall, cpu = (end - start for end, start in zip(clocks(), started, strict=True))
    on_gpu = isinstance(calculator, NeuralCalculator) and calculator.device.type != "cpu"
    steps = sum(record.steps(settings.timestep_fs) for record in records)
    speed = 1000 * (wall if on_gpu else cpu) / steps, cpu / wall
    for record, name in zip(records, names, strict=True):
        if record.reason:
            end = record.times[-1]
            log.warning("%s %s: ended early at %.4f ps: %s", model, name, end, record.reason)
    return [
        record.summary(model, name, replica, settings, relaxed, *speed)
        for record, name, replica, (_, relaxed) in zip(
            records, names, replicas, starts, strict=True
        )
    ]


def _relax_all(
    systems: Sequence[Atoms], calculator: Calculator, settings: Settings
) -> list[tuple[Atoms, bool]]:
    """Return the start of each system and whether it is relaxed; replicas that are one object are
    relaxed once.
    """
    eager = calculator.eager() if isinstance(calculator, NeuralCalculator) else calculator
    starts: dict[int, tuple[Atoms, bool]] = {}
    for system in systems:
        check_timestep(system.numbers, settings.timestep_fs)
        if system.constraints:
            raise InputError("atoms have constraints, which dynamics ignores; remove them")
        if id(system) not in starts:
            limits = settings.relax_fmax, MAX_RELAXATION_STEPS, settings.max_bond_deviation_a
            starts[id(system)] = relax(system, eager, *limits)
    return [starts[id(system)] for system in systems]
