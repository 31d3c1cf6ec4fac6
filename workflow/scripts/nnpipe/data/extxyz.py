"""Data sets in extended xyz: molecules with energies and, if there are any, forces.

The format is that of ASE (https://ase-lib.org/ase/io/formatoptions.html#extxyz); frames are read
one after the other, so that memory is bounded by the chunk.
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
MIN_DISTANCE_A = 0.4  # Å between two atoms
TYPICAL_NEAREST_A = 0.7, 1.7  # Å from an atom to its nearest, in the median


def convert_extxyz(
    manifest: str | Path,
    path: str | Path,
    energy: str = "energy",
    forces: str = "forces",
    energy_unit: str = "eV",
    length_unit: str = "Ang",
) -> None:
    """Write the molecules store from the file that a manifest (see nnpipe.data.download) names.

    `energy` and `forces` are the keys that they have in the file. Raises InputError if the file is
    not what the manifest says, or for the first frame that cannot be.
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
    """Chunks of the frames of a file; those of its forces are None if it has none.

    Raises InputError for no frames, a frame without energy, with forces where the first has none or
    without where it has some, numbers that are not finite, atoms that lie on one another, cells,
    and for what comes after a blank line.
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
                    if (
                        np.isfinite(typical)
                        and not TYPICAL_NEAREST_A[0] < typical < TYPICAL_NEAREST_A[1]
                    ):
                        log.warning(
                            "%s: atoms are %.2f Å from their nearest: if that cannot be, say in"
                            " data.extxyz.length_unit what positions are in", where, typical,
                        )  # fmt: skip
                    if not has_forces:
                        log.warning("%s: no %r: models train on energies alone", where, forces)
                elif (row[2] is not None) != has_forces:
                    raise InputError(f"{where}: some frames have {forces!r} and some have none")
                rows.append(row)
                if len(rows) == CHUNK_MOLECULES:
                    yield _chunk(number, rows, per_energy, per_length)
                    rows = []
            if any(line.strip() for line in file):  # where ASE ends
                raise InputError(f"{path}: after frame {number}: a blank line; remove it")
    except InputError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: after frame {number}: not in extended xyz ({reason})") from error
    if not number:
        raise InputError(f"{path}: no frames")
    if rows:
        yield _chunk(number, rows, per_energy, per_length)


def _row(
    where: str, atoms: Atoms, energy: str, forces: str
) -> tuple[Atoms, float, np.ndarray | None]:
    """The frame, its energy and its forces in the file's units."""
    found = {**atoms.info, **atoms.arrays, **(atoms.calc.results if atoms.calc else {})}
    if energy not in found:
        keys = ", ".join(sorted(set(found) - {"numbers", "positions"})) or "nothing"
        raise InputError(f"{where}: no {energy!r}, it has {keys}; name it in data.extxyz.energy")
    if forces not in found and (others := [key for key in found if "force" in key.lower()]):
        raise InputError(
            f"{where}: no {forces!r}; is it {others[0]}? Name it in data.extxyz.forces"
        )
    if atoms.pbc.any():
        raise InputError(
            f"{where}: periodic; training reads molecules only: leave the frame out, or its Lattice"
        )
    value, force = found[energy], found.get(forces)
    if not len(atoms) or (atoms.numbers < 1).any():
        raise InputError(f"{where}: no atoms, or an atom that is no element")
    for name, numbers in (("positions", atoms.positions), (energy, value), (forces, force)):
        if numbers is not None and not np.isfinite(np.asarray(numbers, float)).all():
            raise InputError(f"{where}: {name} not finite; leave the frame out")
    if np.ndim(value) or (force is not None and np.shape(force) != (len(atoms), 3)):
        raise InputError(f"{where}: {energy!r} is not one number, or {forces!r} not 3 an atom")
    distances = _distances(atoms)
    if distances.min() < MIN_DISTANCE_A:
        a, b = sorted(np.unravel_index(distances.argmin(), distances.shape))
        raise InputError(
            f"{where}: atoms {a} and {b} are {distances.min():.2f} Å apart; leave the frame out, or"
            " say in data.extxyz.length_unit what positions are in"
        )
    return atoms, float(value), force


def _distances(atoms: Atoms) -> np.ndarray:
    """(N, N) Å, an atom's to itself infinite."""
    found = np.linalg.norm(atoms.positions[:, None] - atoms.positions, axis=-1)
    found[np.diag_indices(len(atoms))] = np.inf
    return found


def _chunk(
    last: int,
    rows: list[tuple[Atoms, float, np.ndarray | None]],
    per_energy: float,
    per_length: float,
) -> Molecules:
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
