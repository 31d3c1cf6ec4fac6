"""Tables of frames in memory, for a training."""

import json
from collections.abc import Sequence
from pathlib import Path

from ase import Atoms
from ase.io import write

from ..runtime.files import sha256
from .extxyz import convert_extxyz
from .molecules import read_molecules
from .neighbour_table import write_neighbours


def write_tables(frames: Sequence[Atoms], cutoff: float, folder: Path) -> tuple[Path, Path]:
    """Write tables of molecules and of neighbours within `cutoff` Å to `folder`; return the paths.

    The frames have energies (eV) and forces (eV/Å) of a calculator and are not periodic. The index
    of a molecule is the number of its frame. Raises InputError as `convert_extxyz`.
    """
    file, manifest = folder / "frames.xyz", folder / "raw.json"
    write(file, list(frames), format="extxyz")
    manifest.write_text(json.dumps({"files": [{"path": str(file), "sha256": sha256(file)}]}))
    molecules, neighbours = folder / "molecules", folder / "pairs"
    convert_extxyz(manifest, molecules)
    table, header = read_molecules(molecules)
    write_neighbours(table, cutoff, neighbours, {"molecules": header["digest"]})
    return molecules, neighbours
