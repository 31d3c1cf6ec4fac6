"""Molecular dynamics of one or several systems into extended xyz."""

import logging
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.md.velocitydistribution import Stationary, ZeroRotation, thermalize_momenta
from torch import Tensor
from tqdm import tqdm

from ..errors import InputError
from ..models.uncertainty import Uncertainty
from ..runtime.progress import progress_bar
from ..runtime.signals import STOP, signals_received
from ..structures.bonds import bond_lengths, bonded_pairs
from ..structures.checks import (
    check_geometry,
    check_supported,
    check_timestep,
    fixed_atoms,
    starts_with_velocities,
)
from ..units import ASE_BOLTZMANN
from .calculator import NeuralCalculator
from .propagate import make_propagators
from .relax import relax
from .resume import Checkpoint, new_trajectory, run_identity
from .settings import Settings
from .stability import Record, Summary, degrees_of_freedom

log = logging.getLogger(__name__)
MAX_RELAXATION_STEPS = 500
MAX_OUTSIDE_PERCENT = 5.0  # of the frames of a trajectory, without a warning
EXPLOSION_K = 10_000.0  # above the target temperature, https://arxiv.org/abs/2511.20487


def number_of_steps(settings: Settings) -> int:
    """Return the number of steps of a complete run."""
    return round(1000 * settings.length_ps / settings.timestep_fs)


def thermalize(atoms: Atoms, settings: Settings, seed: int) -> None:
    """Draw velocities in place; without translation and, unless periodic, rotation of the whole
    system if no atom is fixed.
    """
    # in nve, half of the kinetic energy at a minimum becomes potential energy
    nve = settings.ensemble == "nve"
    start_k = settings.temperature_k * (2 if nve else 1)
    thermalize_momenta(atoms, start_k, rng=np.random.default_rng(seed))
    if fixed_atoms(atoms).any():
        return
    preserve = not nve and len(atoms) > 1
    Stationary(atoms, preserve_temperature=preserve)
    if not atoms.pbc.any() and len(atoms) > 1:
        ZeroRotation(atoms, preserve_temperature=preserve)


class Dynamics:
    """Systems that start from `systems` and move step by step; `step` is the number of the next
    step, and `going` whether a system is left that has not ended early.
    """

    def __init__(
        self, systems: Sequence[Atoms], calculator: Calculator, settings: Settings
    ) -> None:
        self.systems, self.settings = [system.copy() for system in systems], settings
        for number, system in enumerate(self.systems):
            if not starts_with_velocities(system, settings.velocities):
                thermalize(system, settings, settings.seed + number)
        self.degrees = np.array([degrees_of_freedom(s, settings.ensemble) for s in self.systems])
        self.every = max(1, round(settings.frame_fs / settings.timestep_fs))
        self.propagators = make_propagators(self.systems, calculator, settings)
        self.worst, self.step = np.zeros(len(systems)), 0

    @property
    def going(self) -> bool:
        """Whether a system has not ended early."""
        return bool(self.propagators)

    def advance(self) -> list[tuple[int, Atoms, str]]:
        """Measure and take a step; return its frames, in the order of `frames`."""
        remaining, found = [], {}
        for part in self.propagators:
            energies, kinetic, deviations = part.step()
            ids = part.system_ids
            self.worst[ids] = np.maximum(self.worst[ids], deviations)
            temperatures = 2 * kinetic / (ASE_BOLTZMANN * self.degrees[ids])
            finite = np.isfinite(energies + kinetic)  # velocities contain the forces
            sound = finite & (temperatures <= self.settings.temperature_k + EXPLOSION_K)
            sound &= deviations <= self.settings.max_bond_deviation_a
            wanted = np.flatnonzero(~sound | (self.step % self.every == 0))
            for place, frame in zip(wanted, part.frames(wanted), strict=False):
                number, reason = int(ids[place]), ""
                if not finite[place]:
                    reason = "energy or forces are not finite"
                elif not temperatures[place] <= self.settings.temperature_k + EXPLOSION_K:
                    reason = f"temperature of {temperatures[place]:.0f} K"
                elif not sound[place]:
                    reason = _broken_bond(self.systems[number], frame)
                frame.info |= {
                    "time_fs": self.step * self.settings.timestep_fs,
                    "temperature_k": temperatures[place],
                    "total_energy": energies[place] + kinetic[place],
                    "max_bond_deviation_a": self.worst[number],
                }
                self.worst[number] = 0.0
                found[number] = frame, reason
            if sound.any():
                remaining.append(part if sound.all() else part.drop(~sound))
        self.propagators = remaining
        self.step += 1
        return [(number, *found[number]) for number in sorted(found)]

    def tensors(self) -> dict[str, Tensor]:
        """Return all that the next steps depend on, besides the arguments of the constructor."""
        found = {"worst": torch.from_numpy(self.worst)}
        for part in self.propagators:
            first = part.system_ids[0]
            found["generator"] = part.generator.get_state()
            found[f"{first}.systems"] = torch.from_numpy(part.system_ids)
            found |= {f"{first}.{name}": tensor for name, tensor in part.tensors().items()}
        return found

    def load(self, tensors: dict[str, Tensor], step: int, last_step: int) -> None:
        """Continue at `step` from what `tensors` returned, if steps up to `last_step` remain."""
        self.worst, self.step = tensors["worst"].numpy(), step
        left = [tensors[name].numpy() for name in tensors if name.endswith(".systems")]
        parts, self.propagators = self.propagators, []
        if not left or step > last_step:
            return
        for part in parts:
            part.step()  # compiles for the same sizes as in an uninterrupted run
            kept = np.isin(part.system_ids, np.concatenate(left))
            if kept.any():
                self.propagators.append(part if kept.all() else part.drop(~kept))
        for part in self.propagators:
            start = f"{part.system_ids[0]}."
            part.load({n.removeprefix(start): t for n, t in tensors.items() if n.startswith(start)})
            part.generator.set_state(tensors["generator"])


def frames(
    systems: Sequence[Atoms], calculator: Calculator, settings: Settings
) -> Iterator[tuple[int, Atoms, str]]:
    """Yield the frames of all systems every `frame_fs`, from 0 on: number of the system, frame, and
    "" or, with its last frame, the reason for an early end.

    A frame has energy, forces and momenta, and in `info` time_fs, temperature_k, total_energy (eV)
    and max_bond_deviation_a of all steps since the frame before. The frame of the step that ends a
    system early is yielded too; the other systems continue.
    """
    dynamics = Dynamics(systems, calculator, settings)
    while dynamics.going and dynamics.step <= number_of_steps(settings):
        yield from dynamics.advance()


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


def write_trajectory(
    systems: Atoms | Sequence[Atoms],
    calculator: Calculator,
    settings: Settings,
    path: str | Path,
    model: str = "model",
    names: Sequence[str] = (),
    clocks: Callable[[], tuple[float, float]] = clocks,
    checkpoint: str | Path | None = None,
    code: str = "",
    progress: Callable[..., tqdm] = progress_bar,
) -> list[Summary]:
    """Relax all systems, run them together, write the trajectory to `path`, and return a summary
    for each system.

    A system that becomes unstable ends early; its summary says why. `names` are the molecules, by
    default "molecule" for all; systems of the same name are replicas. If there are several systems,
    `info` of a frame contains molecule and replica. Atoms of a constraint FixAtoms stay where they
    are. A system with velocities starts with them and is not relaxed, see `settings.velocities`.

    With a `checkpoint` (a path that ends in .safetensors), the state is written to it every
    `checkpoint_seconds`, and the trajectory so far to the same name with .partial.xyz. After an
    interruption, or with a larger `length_ps`, the same call goes on from there and gives the same
    trajectory, bit for bit, as one run without interruption; the results of `calculator` must then
    depend on the atoms only. The run starts again if anything else differs, `code` included, which
    stands for the version of the code. `path` is written when the run is complete. `progress` is
    called as `progress_bar`.

    Raises InputError for a timestep that is too long, what `check_geometry` and `check_supported`
    refuse with a model, constraints other than FixAtoms, and replicas in nve that would all be the
    same; also if Ctrl-C, SIGTERM or SIGUSR1 stops a run with a checkpoint, which is written first.
    """
    systems = [systems] if isinstance(systems, Atoms) else list(systems)
    names = list(names) or ["molecule"] * len(systems)
    _check(systems, settings, names)
    replicas = [names[:number].count(name) for number, name in enumerate(names)]
    last_step, length, spent = number_of_steps(settings), 0, (0.0, 0.0)
    state = saved = None
    if checkpoint:
        identity = run_identity(systems, calculator, settings, names, code)
        state = Checkpoint(Path(checkpoint), identity)
        saved = state.load(last_step)
    if saved:
        records = _load_records(systems, *saved)
    else:
        records = [Record(*start) for start in _relax_all(systems, calculator, settings, names)]
    dynamics = Dynamics([record.start for record in records], calculator, settings)
    if saved:
        tensors, meta = saved
        dynamics.load(tensors, meta["step"], last_step)
        length, spent = meta["bytes"], meta["spent"]
    label = f"{model} {names[0]}" + (f" and {len(names) - 1} more" if len(names) > 1 else "")
    before, to_ps = dynamics.step, settings.timestep_fs / 1000
    if before:
        log.info("%s: %s goes on at %g ps", checkpoint, label, before * to_ps)
    with (
        state.open(Path(path), length) if state else new_trajectory(path) as trajectory,
        progress(
            total=settings.length_ps, unit="ps", label=label, initial=round(before * to_ps, 6)
        ) as bar,
    ):

        def take_step() -> None:
            for number, frame, reason in dynamics.advance():
                if len(systems) > 1:
                    frame.info |= {"molecule": names[number], "replica": replicas[number]}
                if np.isfinite(frame.positions).all():
                    trajectory.add(frame)
                records[number].add(frame, reason)
                status = f"{frame.info['temperature_k']:.0f} K"
                if steps := dynamics.step - 1 - before:
                    status = f"{1000 * (clocks()[0] - started[0]) / steps:.2f} ms/step, {status}"
                bar.set_postfix_str(status, refresh=False)
                bar.update(frame.info["time_fs"] / 1000 - bar.n)

        def time_spent() -> tuple[float, float]:
            wall, cpu = (now - then for now, then in zip(clocks(), started, strict=True))
            return spent[0] + wall, spent[1] + cpu

        started = clocks()
        if not before:
            take_step()  # compiles
            started = clocks()
        written = time.monotonic()
        with signals_received(
            [signal.SIGINT, *STOP] if state and _in_main_thread() else []
        ) as stop:
            while dynamics.going and dynamics.step <= last_step:
                take_step()
                due = time.monotonic() - written > settings.checkpoint_seconds
                if state and (stop or due):
                    state.save(trajectory, *_state(dynamics, records, time_spent()))
                    written = time.monotonic()
                if stop:
                    raise InputError(
                        f"{label}: stopped at {dynamics.step * to_ps:g} of"
                        f" {settings.length_ps:g} ps; the same command goes on from {checkpoint}"
                    )
        wall, cpu = time_spent()
        if state:
            state.save(trajectory, *_state(dynamics, records, (wall, cpu)))
    on_gpu = isinstance(calculator, NeuralCalculator) and calculator.device.type != "cpu"
    steps = sum(record.steps(settings.timestep_fs) for record in records)
    speed = 1000 * (wall if on_gpu else cpu) / steps, cpu / wall
    for record, name in zip(records, names, strict=True):
        if record.reason:
            end = record.times[-1]
            log.warning("%s %s: ended early at %.4f ps: %s", model, name, end, record.reason)
        if isinstance(calculator, NeuralCalculator) and calculator.potential.uncertainty:
            _log_uncertainty(f"{model} {name}", record, calculator.potential.uncertainty)
    return [
        record.summary(model, name, replica, settings, *speed)
        for record, name, replica in zip(records, names, replicas, strict=True)
    ]


def _log_uncertainty(label: str, record: Record, uncertainty: Uncertainty) -> None:
    """Log how large the errors of the forces are, with a warning if the run left the training
    domain.
    """
    outside = 100 * np.mean(record.outside)
    log.log(
        logging.WARNING if outside > MAX_OUTSIDE_PERCENT else logging.INFO,
        "%s: %s; %.3g %% of the frames are outside the training domain",
        label, uncertainty.describe(torch.tensor(record.mean_uncertainties)), outside,
    )  # fmt: skip


def _check(systems: list[Atoms], settings: Settings, names: list[str]) -> None:
    """Raise InputError for arguments of `write_trajectory` that cannot be simulated."""
    if not systems or not all(isinstance(system, Atoms) and len(system) for system in systems):
        raise InputError("systems: not Atoms with atoms, or a list of at least one; give Atoms")
    if not isinstance(settings, Settings):
        found = type(settings).__name__
        raise InputError(f"settings: {found} is not Settings; write Settings(length_ps=10.0)")
    if len(names) != len(systems):
        raise InputError(f"names: {len(names)} for {len(systems)} systems; give one for each")
    starts = [
        (name, system.positions.tobytes(), system.get_momenta().tobytes())
        for name, system in zip(names, systems, strict=True)
    ]
    copies = Counter(starts)
    for name, system, start in zip(names, systems, starts, strict=True):
        check_timestep(system.numbers, settings.timestep_fs)
        fixed_atoms(system)
        try:
            starts_with_velocities(system, settings.velocities, settings.ensemble, copies[start])
        except InputError as error:
            raise InputError(f"{name}: {error}") from error


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _state(
    dynamics: Dynamics, records: Sequence[Record], spent: tuple[float, float]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and the values of a checkpoint."""
    tensors, known = dynamics.tensors(), []
    for number, record in enumerate(records):
        tensors[f"start.{number}"] = torch.from_numpy(record.start.positions)
        tensors[f"record.{number}"] = torch.from_numpy(np.stack(record.columns()))
        known.append((record.relaxed, record.hydrogen_lost, record.reason))
    return tensors, {"step": dynamics.step, "spent": spent, "records": known}


def _load_records(
    systems: Sequence[Atoms], tensors: dict[str, Tensor], meta: dict[str, Any]
) -> list[Record]:
    """Return the records that `_state` received."""
    records = []
    for number, (system, (relaxed, lost, reason)) in enumerate(
        zip(systems, meta["records"], strict=True)
    ):
        start = system.copy()
        start.positions = tensors[f"start.{number}"].numpy()
        table = tensors[f"record.{number}"].numpy()
        record = Record(start, relaxed, hydrogen_lost=lost, reason=reason)
        for column, row in zip(record.columns(), table, strict=True):
            column.frombytes(row.tobytes())
        records.append(record)
    return records


def _relax_all(
    systems: Sequence[Atoms], calculator: Calculator, settings: Settings, names: Sequence[str]
) -> list[tuple[Atoms, bool]]:
    """Return the start of each system and whether it is relaxed; replicas that are one object are
    relaxed once.
    """
    eager = calculator.eager() if isinstance(calculator, NeuralCalculator) else calculator
    starts: dict[int, tuple[Atoms, bool]] = {}
    different = {id(system): (system, name) for system, name in zip(systems, names, strict=True)}
    if isinstance(calculator, NeuralCalculator):
        for system, name in different.values():
            try:
                check_geometry(system)
                check_supported(system, calculator.elements, calculator.closed_shells)
            except InputError as error:
                raise InputError(f"{name}: {error}") from None
    for system, name in different.values():
        if held := int(fixed_atoms(system).sum()):
            log.info("%s: %d of %d atoms are fixed", name, held, len(system))
        if starts_with_velocities(system, settings.velocities):
            log.info("%s starts with the velocities of its structure, which is not relaxed", name)
            starts[id(system)] = system, False
        else:
            limits = settings.relax_fmax, MAX_RELAXATION_STEPS, settings.max_bond_deviation_a
            starts[id(system)] = relax(system, eager, *limits)
    return [starts[id(system)] for system in systems]
