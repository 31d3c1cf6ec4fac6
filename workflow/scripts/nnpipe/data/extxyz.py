"""Own data sets: molecules with energies and, optionally, forces.

Formats: extended xyz, https://ase-lib.org/ase/io/formatoptions.html#extxyz, and ASE's database.
Frames are read one by one, so that memory does not grow with the file.
"""

import gzip
import logging
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.db import connect
from ase.io.extxyz import read_xyz

from .. import units
from ..errors import InputError
from .force_check import ForceCheck
from .molecules import CHUNK_MOLECULES, PART_CODES, Molecules, row_ends, write_molecules
from .qm9 import read_manifest

log = logging.getLogger(__name__)
MIN_DISTANCE_A = 0.4  # of two atoms; less is an error
# usual range of the median distance of an atom to its nearest: outside, the unit may be wrong
TYPICAL_NEAREST_A = 0.7, 1.7
NAMED_FRAMES = 10  # in one message
SAME_ENERGY_EV = 1e-3  # of an isolated atom in two frames
Row = tuple[int, Atoms, float, np.ndarray | None]  # number, geometry Å, eV, (N, 3) eV/Å


def convert_extxyz(
    manifest: str | Path,
    path: str | Path,
    energy: str = "energy",
    forces: str = "forces",
    energy_unit: str = "eV",
    length_unit: str = "Ang",
    force_unit: str = "",
) -> None:
    """Write the table of molecules `path` from the files in a manifest of `download`.

    See `read_extxyz`. Molecules of further files, for validation and test, are numbered on.

    Raises InputError if a file differs from the manifest, for invalid frames, and if only some of
    the files have forces.
    """
    content = read_manifest(manifest)
    keys = (energy, forces, energy_unit, length_unit, force_unit)

    def chunks() -> Iterator[Molecules]:
        last, has_forces = 0, None
        for file in content["files"]:
            for chunk in read_extxyz(file["path"], *keys):
                has_forces = chunk.forces is not None if has_forces is None else has_forces
                if has_forces != (chunk.forces is not None):
                    raise InputError(
                        f"{file['path']}: forces in only some of data.sources,"
                        " data.extxyz.validation and data.extxyz.test; add the missing forces, or"
                        " set data.extxyz.forces to '' to read none"
                    )
                part = np.full(len(chunk), PART_CODES[file.get("part", "")], np.uint8)
                index = chunk.index + np.int32(last)
                yield replace(chunk, index=index, part=part)
            last = int(index[-1])

    write_molecules(chunks(), path, {"energy": "eV"}, content)


def read_extxyz(
    path: str | Path,
    energy: str = "energy",
    forces: str = "forces",
    energy_unit: str = "eV",
    length_unit: str = "Ang",
    force_unit: str = "",
) -> Iterator[Molecules]:
    """Yield chunks of the molecules of a file, in eV and Å; `index` is the number of the frame.

    `energy` and `forces` are their keys in the file; with forces "", none are read. `force_unit` is
    energy_unit / length_unit unless it is given. A frame with one atom is not a molecule:
    `isolated_atoms` of the last chunk has its energy.

    Warns if lengths are unusual, if forces contradict energies, and of charges and odd numbers of
    electrons.

    Raises InputError, with the numbers of all such frames, for: a file without molecules; frames
    without energy; forces of another name, or in some frames only; numbers that are not finite;
    atoms closer than 0.4 Å; periodic frames; two energies of an isolated atom; a blank line before
    further frames.
    """
    per_energy, per_length = units.ENERGY[energy_unit], units.LENGTH[length_unit]
    force_unit = force_unit or f"{energy_unit}/{length_unit}"
    per_force, check = units.force_factor(force_unit), ForceCheck(force_unit)
    rows: list[Row] = []
    errors: dict[str, tuple[str, list[int]]] = {}  # kind: text for the first frame, all frames
    isolated: dict[int, float] = {}
    charged: list[int] = []
    has_forces, number = None, 0
    for number, atoms in enumerate(_frames(path), 1):
        atoms.positions *= per_length
        found = {**atoms.info, **atoms.arrays, **(atoms.calc.results if atoms.calc else {})}
        error = _error(atoms, found, energy, forces)
        if error:
            errors.setdefault(error[0], (error[1], []))[1].append(number)
            continue
        value = float(np.asarray(found[energy]).item()) * per_energy
        if len(atoms) == 1:
            element = int(atoms.numbers[0])
            if abs(isolated.setdefault(element, value) - value) > SAME_ENERGY_EV:
                text = f"another energy of the atom {atoms.symbols[0]} than before; keep one"
                errors.setdefault(f"atom {element}", (text, []))[1].append(number)
            continue
        force = found.get(forces)
        if has_forces is None:
            has_forces = force is not None
            _warn_of_first(f"{path}: frame {number}", atoms, forces, has_forces)
        if has_forces != (force is not None):
            text = f"{'no ' if has_forces else ''}{forces!r}, unlike the frames before"
            text += "; add the missing forces, or set data.extxyz.forces to '' to read none"
            errors.setdefault("some forces", (text, []))[1].append(number)
            continue
        charge = int(np.rint(found.get("charge", 0)))
        if charge or (int(atoms.numbers.sum()) - charge) % 2:
            charged.append(number)
        if force is not None:
            force = np.asarray(force, float) * per_force
            check.add(atoms.numbers, atoms.positions, value, force)
        if len(rows) == CHUNK_MOLECULES:
            yield _chunk(rows)
            rows = []
        rows.append((number, atoms, value, force))
    if errors:
        lines = (f"{_listed(frames, number)}: {text}" for text, frames in errors.values())
        raise InputError(f"{path}: {'. '.join(lines)}")
    if not rows:
        raise InputError(f"{path}: no frames with molecules; name another file in data.sources")
    if charged:
        log.warning(
            "%s: %s: a charge or an odd number of electrons, which the models do not see",
            path, _listed(charged, number),
        )  # fmt: skip
    if contradiction := check.contradiction():
        log.warning("%s: %s", path, contradiction)
    yield replace(_chunk(rows), isolated_atoms=isolated)


# a number of columns in Properties that no line has
COLUMNS = re.compile(r":[SIRL]:0*[1-9]\d{3,}", re.IGNORECASE)


def _frames(path: str | Path) -> Iterator[Atoms]:
    """Yield the frames of a file. Raises InputError if it cannot be read to its end."""
    number, name = 0, str(path).lower()
    try:
        if name.endswith(".db"):
            for row in connect(path).select():
                atoms = row.toatoms()
                atoms.info |= row.key_value_pairs | row.data
                number += 1
                yield atoms
            return
        with gzip.open(path, "rt") if name.endswith(".gz") else open(path) as file:
            while (line := file.readline()).strip():
                count = int(line)
                rows = list(islice(file, min(count + 1, sys.maxsize)))  # with the comment
                if len(rows) <= count:
                    raise ValueError(f"{max(len(rows) - 1, 0)} of {count} atoms follow")
                if wide := COLUMNS.search(rows[0]):  # ASE would make as many columns
                    raise ValueError(f"Properties: {wide[0][3:]} columns")
                atoms = next(read_xyz(StringIO(line + "".join(rows)), 0))
                number += 1
                yield atoms
            rest = any(line.strip() for line in file)
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        kind = "an ASE database" if name.endswith(".db") else "in extended xyz"
        raise InputError(
            f"{path}: after frame {number}: not {kind} ({reason}); correct the file"
        ) from error
    if rest:
        raise InputError(f"{path}: after frame {number}: a blank line; remove it")


def _error(atoms: Atoms, found: dict[str, Any], energy: str, forces: str) -> tuple[str, str] | None:
    """Return the kind of error of a frame and its text, or None. `found` are its keys."""
    if not len(atoms) or (atoms.numbers < 1).any():
        return "atoms", "no atoms, or an unknown element; remove the frame"
    others = sorted(set(found) - {"numbers", "positions"})
    if energy not in found:
        bare = [key for key in others if found[key] is True and _is_number(key)]
        if bare:
            return "energy", f"the comment is a bare number; write {energy}={bare[0]} in its place"
        alike = [key for key in others if np.size(found[key]) == 1 and _is_number(found[key])]
        text = f"no {energy!r}, but {', '.join(alike)}; set data.extxyz.energy to the key of the"
        text += " energies, or remove the frame"
        return "energy", text if alike else f"no {energy!r}; add {energy}=... to the comment line"
    value, force = found[energy], found.get(forces)
    if np.size(value) != 1 or not _is_number(value):
        return "energy", f"{energy!r} is not one number; correct the frame"
    if len(atoms) == 1:
        force = None
    elif atoms.pbc.any() and atoms.cell.rank:
        text = "periodic; training supports molecules only; remove the frame or its Lattice"
        return "periodic", text
    elif force is None and forces:
        alike = [key for key in others if np.shape(found[key]) == (len(atoms), 3)]
        alike += [key for key in others if "force" in key.lower() and key not in alike]
        if alike:
            return "forces", (
                f"no {forces!r}, but {', '.join(alike)}; set data.extxyz.forces to the key of the"
                " forces, or to '' to read none"
            )
    elif force is not None and np.shape(force) != (len(atoms), 3):
        return "forces", f"{forces!r} is not 3 numbers per atom; correct the frame"
    for name, numbers in (("positions", atoms.positions), (energy, value), (forces, force)):
        if numbers is not None and not np.isfinite(np.asarray(numbers, float)).all():
            return f"finite {name}", f"{name} not finite; remove the frame"
    distances = _distances(atoms)
    if distances.min() < MIN_DISTANCE_A:
        a, b = sorted(np.unravel_index(distances.argmin(), distances.shape))
        return "overlap", (
            f"atoms {a} and {b} are {distances.min():.2f} Å apart; remove the frame, or"
            " set data.extxyz.length_unit to the unit of the positions"
        )
    return None


def _is_number(value: Any) -> bool:
    """Whether a text or an array of one value is a number, and not a truth value."""
    try:
        float(np.asarray(value).item())
    except (TypeError, ValueError):
        return False
    return not isinstance(np.asarray(value).item(), bool)


def _listed(numbers: list[int], total: int) -> str:
    """Return numbers of frames as text; of many, the first ten."""
    if len(numbers) == total > 1:
        return f"all {total} frames"
    if len(numbers) == 1:
        return f"frame {numbers[0]} of {total}"
    named = [str(number) for number in numbers[:NAMED_FRAMES]]
    last = f"{len(numbers) - NAMED_FRAMES} more" if len(numbers) > NAMED_FRAMES else named.pop()
    return f"frames {', '.join(named)} and {last} of {total}"


def _warn_of_first(where: str, atoms: Atoms, forces: str, has_forces: bool) -> None:
    """Warn of unusual distances in the first molecule, and if it has no forces."""
    typical = float(np.median(_distances(atoms).min(1)))
    low, high = TYPICAL_NEAREST_A
    if not low < typical < high:
        log.warning(
            "%s: atoms are %.2f Å from their nearest neighbours; if this is wrong,"
            " set data.extxyz.length_unit to the unit of the positions",
            where, typical,
        )  # fmt: skip
    if forces and not has_forces:
        log.warning("%s: no %r: models train on energies only", where, forces)


def _distances(atoms: Atoms) -> np.ndarray:
    """Return the distances (N, N) Å of all pairs; the diagonal is infinite."""
    found = np.linalg.norm(atoms.positions[:, None] - atoms.positions, axis=-1)
    found[np.diag_indices(len(atoms))] = np.inf
    return found


def _chunk(rows: list[Row]) -> Molecules:
    """Return the molecules of `rows`."""
    numbers, frames, energies, forces = zip(*rows, strict=True)
    counts = np.array([len(atoms) for atoms in frames])
    return Molecules(
        index=np.array(numbers, np.int32),
        ptr=row_ends(counts),
        z=np.concatenate([atoms.numbers for atoms in frames]).astype(np.uint8),
        pos=np.concatenate([atoms.positions for atoms in frames]),
        charges=np.full(counts.sum(), np.nan),
        frequency_ptr=np.zeros(len(rows) + 1, np.int64),
        frequencies=np.zeros(0),
        smiles=[""] * len(rows),
        targets={"energy": np.array(energies)},
        forces=None if forces[0] is None else np.concatenate(forces),
    )
