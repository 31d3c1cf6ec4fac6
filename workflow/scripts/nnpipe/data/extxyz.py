"""Data sets in extended xyz: molecules with energies and, optionally, forces.

Format: https://ase-lib.org/ase/io/formatoptions.html#extxyz. Frames are read one by one, so that
memory does not grow with the file.
"""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import iread

from .. import units
from ..errors import InputError
from .molecules import CHUNK_MOLECULES, Molecules, row_ends, write_molecules
from .qm9 import read_manifest

log = logging.getLogger(__name__)
MIN_DISTANCE_A = 0.4  # of two atoms; less is an error
# usual range of the median distance of an atom to its nearest: outside, the unit may be wrong
TYPICAL_NEAREST_A = 0.7, 1.7


def convert_extxyz(
    manifest: str | Path,
    path: str | Path,
    energy: str = "energy",
    forces: str = "forces",
    energy_unit: str = "eV",
    length_unit: str = "Ang",
) -> None:
    """Write the table of molecules `path` from the file in a manifest of `download`.

    `energy` and `forces` are their keys in the file.

    Raises InputError if the file differs from the manifest, and for the first invalid frame, see
    `read_extxyz`.
    """
    content = read_manifest(manifest)
    chunks = read_extxyz(content["files"][0]["path"], energy, forces, energy_unit, length_unit)
    write_molecules(chunks, path, {"energy": "eV"}, content)


def read_extxyz(
    path: str | Path,
    energy: str = "energy",
    forces: str = "forces",
    energy_unit: str = "eV",
    length_unit: str = "Ang",
) -> Iterator[Molecules]:
    """Yield chunks of the frames of a file, in eV and Å. `forces` is None if the file has none.

    Raises InputError, with the number of the frame, for: a file without frames; a frame without
    energy; forces in some frames only; numbers that are not finite; atoms closer than 0.4 Å;
    periodic frames; a blank line before further frames, where ASE stops reading.
    """
    per_energy, per_length = units.ENERGY[energy_unit], units.LENGTH[length_unit]
    rows: list[tuple[Atoms, float, np.ndarray | None]] = []
    number = 0
    try:
        with open(path) as file:
            for number, atoms in enumerate(iread(file, ":", format="extxyz"), 1):
                where = f"{path}: frame {number}"
                atoms.positions *= per_length
                row = _row(where, atoms, energy, forces)
                if number == 1:
                    has_forces = row[2] is not None
                    typical = float(np.median(_distances(atoms).min(1)))
                    low, high = TYPICAL_NEAREST_A
                    if np.isfinite(typical) and not low < typical < high:
                        log.warning(
                            "%s: atoms are %.2f Å from their nearest neighbours; if this is wrong,"
                            " set data.extxyz.length_unit to the unit of the positions",
                            where, typical,
                        )  # fmt: skip
                    if not has_forces:
                        log.warning("%s: no %r: models train on energies only", where, forces)
                elif (row[2] is not None) != has_forces:
                    raise InputError(
                        f"{where}: some frames have {forces!r} and some have none;"
                        " add the missing forces, or remove all"
                    )
                rows.append(row)
                if len(rows) == CHUNK_MOLECULES:
                    yield _chunk(number, rows, per_energy, per_length)
                    rows = []
            if any(line.strip() for line in file):  # ASE stops at a blank line
                raise InputError(f"{path}: after frame {number}: a blank line; remove it")
    except InputError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{path}: after frame {number}: not in extended xyz ({reason}); correct the file"
        ) from error
    if not number:
        raise InputError(f"{path}: no frames; name another file in data.sources")
    if rows:
        yield _chunk(number, rows, per_energy, per_length)


def _row(
    where: str, atoms: Atoms, energy: str, forces: str
) -> tuple[Atoms, float, np.ndarray | None]:
    """Return the frame, its energy and its forces (N, 3) in the units of the file."""
    found = {**atoms.info, **atoms.arrays, **(atoms.calc.results if atoms.calc else {})}
    if energy not in found:
        keys = ", ".join(sorted(set(found) - {"numbers", "positions"})) or "nothing"
        raise InputError(f"{where}: no {energy!r}, it has {keys}; set data.extxyz.energy")
    if forces not in found and (others := [key for key in found if "force" in key.lower()]):
        raise InputError(f"{where}: no {forces!r}; if it is {others[0]}, set data.extxyz.forces")
    if atoms.pbc.any():
        raise InputError(
            f"{where}: periodic; training supports molecules only; remove the frame or its Lattice"
        )
    value, force = found[energy], found.get(forces)
    if not len(atoms) or (atoms.numbers < 1).any():
        raise InputError(f"{where}: no atoms, or an unknown element; remove the frame")
    for name, numbers in (("positions", atoms.positions), (energy, value), (forces, force)):
        if numbers is not None and not np.isfinite(np.asarray(numbers, float)).all():
            raise InputError(f"{where}: {name} not finite; remove the frame")
    if np.ndim(value) or (force is not None and np.shape(force) != (len(atoms), 3)):
        raise InputError(
            f"{where}: {energy!r} is not one number, or {forces!r} not 3 per atom; remove the frame"
        )
    distances = _distances(atoms)
    if distances.min() < MIN_DISTANCE_A:
        a, b = sorted(np.unravel_index(distances.argmin(), distances.shape))
        raise InputError(
            f"{where}: atoms {a} and {b} are {distances.min():.2f} Å apart; remove the frame, or"
            " set data.extxyz.length_unit to the unit of the positions"
        )
    return atoms, float(value), force


def _distances(atoms: Atoms) -> np.ndarray:
    """Return the distances (N, N) Å of all pairs; the diagonal is infinite."""
    found = np.linalg.norm(atoms.positions[:, None] - atoms.positions, axis=-1)
    found[np.diag_indices(len(atoms))] = np.inf
    return found


def _chunk(
    last: int,
    rows: list[tuple[Atoms, float, np.ndarray | None]],
    per_energy: float,
    per_length: float,
) -> Molecules:
    """Return a chunk whose last frame has the number `last`; convert its units."""
    frames, energies, forces = zip(*rows, strict=True)
    counts = np.array([len(atoms) for atoms in frames])
    return Molecules(
        index=np.arange(last - len(rows) + 1, last + 1, dtype=np.int32),
        ptr=row_ends(counts),
        z=np.concatenate([atoms.numbers for atoms in frames]).astype(np.uint8),
        pos=np.concatenate([atoms.positions for atoms in frames]),
        charges=np.full(counts.sum(), np.nan),
        frequency_ptr=np.zeros(len(rows) + 1, np.int64),
        frequencies=np.zeros(0),
        smiles=[""] * len(rows),
        targets={"energy": np.array(energies) * per_energy},
        forces=None if forces[0] is None else np.concatenate(forces) * (per_energy / per_length),
    )
