"""Tight binding by tblite: GFN2-xTB, and the teacher with parameters fitted to DFT (refit.py).

The file of the teacher is TOML in the format of tblite's parameter files, so that
`tblite run --param FILE` reads it, too. Its table `provenance` says what it was fitted to.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
from ase.data import chemical_symbols

from ..data.sources import QM9_ELEMENTS
from ..errors import InputError
from ..runtime.files import atomic
from ..structures.vibrations import ForceFunction
from ..units import BOHR, HARTREE
from .scf import Method, NotConverged

Table = dict[str, Any]
ELEMENTS = [chemical_symbols[z] for z in QM9_ELEMENTS]
TABLES = ("hamiltonian", "dispersion", "repulsion", "charge", "thirdorder", "multipole")


def tight_binding(parameters: str | dict[str, Any]) -> Method:
    """Return the tight-binding method of tblite with these parameters: a name or tblite's tables.

    A function that the method returns starts each call from the self-consistent field of the last
    one. It raises NotConverged. https://doi.org/10.1021/acs.jctc.8b01176
    """
    from tblite.interface import Calculator

    def method(z: np.ndarray) -> ForceFunction:
        calculator, last = None, None

        def energy_and_forces(pos: np.ndarray) -> tuple[float, np.ndarray]:
            nonlocal calculator, last
            if calculator is None:
                calculator = Calculator(parameters, z.astype(int), pos / BOHR)
                calculator.set("verbosity", 0)
            calculator.update(pos / BOHR)
            before, last = last, None
            last, energy, forces = single_point(calculator, before)
            return energy, forces

        return energy_and_forces

    return method


def single_point(calculator: Any, last: Any = None) -> tuple[Any, float, np.ndarray]:
    """Return tblite's result, the energy (eV) and the forces (N, 3) eV/Å of a calculator of tblite.

    The self-consistent field starts from the one of the result `last`. Raises NotConverged.
    """
    try:
        result = calculator.singlepoint(last)
    except RuntimeError as error:
        raise NotConverged(str(error)) from error
    energy, gradient = result.get("energy").item(), result.get("gradient")
    if not np.isfinite(energy) or not np.isfinite(gradient).all():
        raise NotConverged("energy or forces are not finite")
    return result, energy * HARTREE, gradient * (-HARTREE / BOHR)


def gfn2(z: np.ndarray) -> ForceFunction:
    """Return energies and forces of GFN2-xTB for a neutral molecule z (N,)."""
    return tight_binding("GFN2-xTB")(z)


def gfn2_parameters() -> Table:
    """Return the parameters of GFN2-xTB for the elements of QM9, as tblite's tables."""
    from tblite import library

    parameters, table = library.new_param(), library.new_table()
    library.export_gfn2_param(parameters)
    library.dump_param(parameters, table)
    found = library.table_to_dict(table)
    return found | {"element": {symbol: found["element"][symbol] for symbol in ELEMENTS}}


def write_parameters(parameters: Table, provenance: Mapping[str, Any], path: str | Path) -> None:
    """Write tblite's tables of parameters and what they were fitted to."""
    with atomic(path) as temporary:
        temporary.write_text(tomli_w.dumps(parameters | {"provenance": dict(provenance)}))


def read_parameters(path: str | Path) -> Table:
    """Return the tables of the file `path`, with `provenance`.

    Raises InputError if it is not TOML or lacks a table or an element of QM9.
    """
    where, remedy = f"labels.teacher: {path}", "correct the file, or write fit to fit it again"
    try:
        found = tomllib.loads(Path(path).read_text())
    except (ValueError, OSError) as error:
        raise InputError(f"{where}: {error}; {remedy}") from None
    missing = [name for name in (*TABLES, "element") if name not in found]
    missing = missing or [f"element.{name}" for name in ELEMENTS if name not in found["element"]]
    if missing:
        raise InputError(f"{where}: no table [{missing[0]}]; {remedy}")
    return found


def refitted(path: str | Path) -> Method:
    """Return tight binding with the parameters in the file `path`, see `write_parameters`."""
    found = read_parameters(path)
    return tight_binding({name: found[name] for name in found if name != "provenance"})
