"""Dynamics in one call, and the run that it returns."""

import inspect
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.io import read

from ..errors import InputError
from ..models.names import readable_name
from ..schema_errors import did_you_mean
from ..simulation.calculator import load_calculator, worth_compiling
from ..simulation.md import number_of_steps, write_trajectory
from ..simulation.settings import Settings
from ..simulation.stability import Summary
from ..structures.file_names import is_structure_file, stem_of
from ..structures.load import load_structure
from ..viewer.player import fragment
from .progress import notebook_bar
from .threads import torch_threads

Molecule = str | Path | Atoms
KEPT = "a calculator keeps its parameters; give them to load_calculator, or name the model"


@dataclass(frozen=True, eq=False, repr=False)
class Run:
    """Dynamics of one or several systems. A notebook draws it: the moving molecule and a table.

    `frames` have energy (eV), forces (eV/Å) and momenta, and in `info` time_fs, temperature_k,
    total_energy (eV) and max_bond_deviation_a; of several systems, also molecule and replica.
    `summaries` has one entry for each system. `path` is the trajectory's file, if it is kept.
    """

    frames: list[Atoms]
    summaries: list[Summary]
    path: Path | None = None

    @property
    def summary(self) -> Summary:
        """The summary of the only system. Raises InputError if there are several."""
        if len(self.summaries) > 1:
            raise InputError(
                f"summary: the run has {len(self.summaries)} systems; take summaries, or one of"
                " systems()"
            )
        return self.summaries[0]

    def systems(self) -> "list[Run]":
        """Return one run for each system."""
        if len(self.summaries) == 1:
            return [self]
        parts: dict[tuple[str, int], list[Atoms]] = {
            (one.molecule, one.replica): [] for one in self.summaries
        }
        for frame in self.frames:
            parts[str(frame.info["molecule"]), frame.info["replica"]].append(frame)
        return [
            Run(frames, [one], self.path)
            for frames, one in zip(parts.values(), self.summaries, strict=True)
        ]

    def spectrum(self) -> pd.DataFrame:
        """Return the vibrational density of states of the only system: wavenumber_cm1 and
        density_cm, of integral 1; see analysis/spectrum.py.

        Raises InputError if there are several systems, or too few frames.
        """
        from ..analysis.spectrum import vibrational_density

        ended = self.summary.ended != "complete"  # its last frame comes early
        frames = self.frames[:-1] if ended else self.frames
        if len(frames) < 3:
            raise InputError(f"spectrum: {len(frames)} frames; simulate at least 1 ps")
        spacing_fs = frames[1].info["time_fs"] - frames[0].info["time_fs"]
        velocities = np.array([frame.get_velocities() for frame in frames])
        density = vibrational_density(velocities, frames[0].get_masses(), spacing_fs)
        return pd.DataFrame(dict(zip(("wavenumber_cm1", "density_cm"), density, strict=True)))

    def table(self) -> pd.DataFrame:
        """Return what people look at first: one row for each system, as text with units."""
        return pd.DataFrame([_row(summary) for summary in self.summaries]).fillna("")

    def __repr__(self) -> str:
        lines = [
            ", ".join(f"{name} {text}" for name, text in _row(s).items()) for s in self.summaries
        ]
        return "\n".join([f"Run of {len(self.frames)} frames", *lines])

    def _repr_html_(self) -> str:
        """Return the first system as a player, and the table, as HTML for a notebook."""
        first = self.systems()[0]
        player = fragment(first.frames, title=first.summary.molecule)
        return player + self.table().to_html(index=False, border=0, justify="left")


def _row(summary: Summary) -> dict[str, str]:
    """Return column and text with unit of what people look at first."""
    replica = f", replica {summary.replica}" if summary.replica else ""
    row = {
        "molecule": summary.molecule + replica,
        "model": readable_name(summary.model),
        "simulated": f"{summary.stable_ps:g} of {summary.length_ps:g} ps",
        "ended": summary.ended,
        "mean temperature": f"{summary.mean_temperature_k:.0f} K",
        "largest bond deviation": f"{summary.max_bond_deviation_a:.2f} Å",
    }
    if np.isfinite(drift := summary.drift_mev_per_atom_per_ps):
        row["energy drift"] = f"{drift:.3f} meV/atom/ps"
    if np.isfinite(expected := summary.forces_uncertainty_mev_per_a):
        row["expected force error"] = f"{expected:.0f} meV/Å"
    return row


def simulate(
    molecule: Molecule | Sequence[Molecule] | Mapping[str, Molecule],
    model: str | Path | Calculator = "gnn",
    settings: Settings | None = None,
    path: str | Path | None = None,
    *,
    replicas: int = 1,
    checkpoint: str | Path | None = None,
    dtype: str | None = None,
    device: str | None = None,
    compiled: bool | None = None,
    threads: int = 1,
    **changes: Any,
) -> Run:
    """Relax a molecule, run dynamics, and return the run: `frames`, `summary`, `spectrum()`.

    molecule: a SMILES, the path of a structure file or Atoms; or several of them, as a list or with
        their names as keys. They run together.
    model: the name of a shipped model, the folder of a trained one, or any calculator of ASE.
    settings, changes: every setting of dynamics is a keyword, such as temperature_k=300 (K) and
        length_ps=10 (ps); see nnpipe.simulation.settings.Settings. `changes` replace values of
        `settings`.
    path: a file for the trajectory, extended xyz. Without it, no file is kept.
    replicas: runs of each molecule, with different initial velocities.
    checkpoint: a path that ends in .safetensors, from which an interrupted run goes on; see
        `write_trajectory`.
    dtype, device, compiled: see `load_calculator`. By default, float32 on a GPU if there is one,
        and compiled if the run is long enough.
    threads: threads of PyTorch during the run.

    Raises InputError, before any step, for a setting, molecule or model that cannot be used.
    """
    settings = _settings(settings, changes)
    if replicas < 1:
        raise InputError(f"replicas: {replicas} is below the minimum of 1")
    if path and Path(path).is_dir():
        raise InputError(f"path: {path} is a folder; give a file, such as {Path(path) / 'run.xyz'}")
    named = _named_systems(molecule, settings.seed)
    given = {"dtype": dtype, "device": device, "compiled": compiled}
    options: dict[str, Any] = {name: one for name, one in given.items() if one is not None}
    calculator: Calculator
    if isinstance(model, Calculator):
        if options:
            raise InputError(f"{', '.join(options)}: {KEPT}")
        calculator, label = model, _label(model)
    else:
        options.setdefault("compiled", worth_compiling(number_of_steps(settings)))
        calculator, label = load_calculator(model, **options), Path(model).name
    names = [name for name, _ in named for _ in range(replicas)]
    systems = [system for _, system in named for _ in range(replicas)]
    with tempfile.TemporaryDirectory() as folder, torch_threads(threads):
        file = Path(path) if path else Path(folder) / "trajectory.xyz"
        summaries = write_trajectory(
            systems, calculator, settings, file, label, names,
            checkpoint=checkpoint, progress=notebook_bar,
        )  # fmt: skip
        frames: Any = read(file, ":", format="extxyz")
        return Run(frames, summaries, file if path else None)


def _show_settings_in_signature() -> None:
    """Make the settings appear where a notebook shows and completes the arguments of `simulate`."""
    shown = inspect.signature(simulate)
    keyword = inspect.Parameter.KEYWORD_ONLY
    own = [one for one in shown.parameters.values() if one.kind != inspect.Parameter.VAR_KEYWORD]
    made = [
        inspect.Parameter(
            one.name, keyword, default=getattr(Settings(), one.name), annotation=one.type
        )
        for one in fields(Settings)
    ]
    simulate.__signature__ = shown.replace(parameters=own + made)  # type: ignore[attr-defined]


_show_settings_in_signature()


def _settings(settings: Settings | None, changes: dict[str, Any]) -> Settings:
    """Return the settings with changes. Raises InputError for a name or value that is not valid."""
    if settings is not None and not isinstance(settings, Settings):
        found = type(settings).__name__
        raise InputError(f"settings: {found} is not Settings; write length_ps=10 as a keyword")
    known = inspect.signature(simulate).parameters
    for name in changes:
        if name not in known:
            raise InputError(f"{name}: not a setting of simulate; {did_you_mean(name, known)}")
    return replace(settings or Settings(), **changes)


def _named_systems(
    molecule: Molecule | Sequence[Molecule] | Mapping[str, Molecule], seed: int
) -> list[tuple[str, Atoms]]:
    """Return names and structures; what is given twice is one object, and different molecules have
    different names.
    """
    if isinstance(molecule, Mapping):
        return [(str(name), _structure(one, seed)) for name, one in molecule.items()]
    found: dict[int | str, tuple[str, Atoms]] = {}
    given = molecule if isinstance(molecule, list | tuple) else [molecule]
    keys = [id(one) if isinstance(one, Atoms) else str(one) for one in given]
    for key, one in zip(keys, given, strict=True):
        if key not in found:
            atoms, name = _structure(one, seed), _name(one)
            if name in (known for known, _ in found.values()):
                name += f" ({len(found) + 1})"
            found[key] = name, atoms
    return [found[key] for key in keys]


def _structure(molecule: Molecule, seed: int) -> Atoms:
    """Return the structure of a SMILES, a file or Atoms. Raises InputError for anything else."""
    if isinstance(molecule, Atoms):
        return molecule
    if isinstance(molecule, str | Path):
        return load_structure(str(molecule), seed)
    found = type(molecule).__name__
    raise InputError(f"molecule: {found} is not a SMILES, a path or Atoms; give one of them")


def _name(molecule: Molecule) -> str:
    """Return the SMILES, the file's name without suffixes, or the formula."""
    if isinstance(molecule, Atoms):
        return molecule.get_chemical_formula()
    if is_structure_file(molecule):
        return stem_of(molecule)
    return str(molecule)


def _label(calculator: Calculator) -> str:
    """Return the name of the model of a calculator, or of its class."""
    folder = calculator.parameters.get("model")
    return Path(folder).name if isinstance(folder, str) else type(calculator).__name__
