"""The teacher: GFN2-xTB with parameters that are fitted to DFT (refit.py).

Its file is TOML in the format of tblite's parameter files, so that `tblite run --param FILE` reads
it, too. The table `provenance` says what it was fitted to.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w
from ase.data import chemical_symbols

from ..data.sources import QM9_ELEMENTS
from ..errors import InputError
from ..runtime.files import atomic
from .methods import Method, tight_binding

Table = dict[str, Any]
ELEMENTS = [chemical_symbols[z] for z in QM9_ELEMENTS]
TABLES = ("hamiltonian", "dispersion", "repulsion", "charge", "thirdorder", "multipole")


def gfn2_parameters() -> Table:
    """Return the parameters of GFN2-xTB for the elements of QM9, as tblite's tables."""
    from tblite import library

    parameters, table = library.new_param(), library.new_table()
    library.export_gfn2_param(parameters)
    library.dump_param(parameters, table)
    found = library.table_to_dict(table)
    return found | {"element": {symbol: found["element"][symbol] for symbol in ELEMENTS}}


def write_teacher(parameters: Table, provenance: Mapping[str, Any], path: str | Path) -> None:
    """Write tblite's tables of parameters and what they were fitted to."""
    with atomic(path) as temporary:
        temporary.write_text(tomli_w.dumps(parameters | {"provenance": dict(provenance)}))


def read_teacher(path: str | Path) -> Table:
    """Return the tables of the file `path`, with `provenance`.

    Raises InputError if it is not TOML or lacks a table or an element of QM9.
    """
    try:
        found = tomllib.loads(Path(path).read_text())
    except (ValueError, OSError) as error:
        raise InputError(f"labels.teacher: {path}: {error}; correct it or write `fit`") from None
    if missing := [name for name in (*TABLES, "element") if name not in found]:
        raise InputError(f"labels.teacher: {path}: no table [{missing[0]}]; add it or write `fit`")
    if missing := [symbol for symbol in ELEMENTS if symbol not in found["element"]]:
        raise InputError(f"labels.teacher: {path}: no [element.{missing[0]}]; add it or write `fit`")
    return found


def teacher(path: str | Path) -> Method:
    """Return the tight-binding method with the parameters in the file `path`. See `read_teacher`."""
    found = read_teacher(path)
    return tight_binding({name: found[name] for name in found if name != "provenance"})
