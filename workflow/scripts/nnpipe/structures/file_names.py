"""Names of structure files: their format, and what tells a path from a SMILES.

This module uses the standard library only: a host with Snakemake alone reads names, not structures.
"""

import os
import re
from pathlib import Path

# formats that `formats.read_structure` reads: a suffix, or POSCAR within the name
FORMATS = (
    ".xyz", ".extxyz", ".pdb", ".ent", ".cif", ".sdf", ".mol", ".mol2", ".gro", ".vasp", ".poscar",
    "POSCAR",
)  # fmt: skip
COMPRESSED = (".gz", ".bz2", ".xz")
# what a SMILES consists of; a name with a separator or suffix and other characters is a path
SMILES = re.compile(r"(\[[^][]+\]|Cl|Br|[BCNOPSFIbcnops*()=#$:/\\.~@+\-\d>]|%\d\d)+")


def is_structure_file(source: str | Path) -> bool:
    """Return whether `source` is the path of a structure file, and not a SMILES.

    The file need not exist: a path has a known suffix, or it is not made of the symbols of SMILES
    and has a separator or any suffix. A file that is named like a SMILES needs a separator.
    """
    text = str(source)
    if format_of(text) in FORMATS:
        return True
    # os.path, because Path raises for a SMILES that is too long for a name
    is_file, separated = os.path.isfile(text), "/" in text or os.sep in text  # noqa: PTH113
    if SMILES.fullmatch(text):
        return is_file and separated
    return is_file or separated or bool(Path(text).suffix) or os.path.isdir(text)  # noqa: PTH112


def format_of(path: str | Path) -> str:
    """Return the format by the name of the file: a suffix in lower case, or POSCAR."""
    name = _uncompressed(path)
    suffix = name.suffix.lower()
    if suffix not in FORMATS and re.search("POSCAR|CONTCAR", name.name, re.IGNORECASE):
        return "POSCAR"
    return suffix


def stem_of(path: str | Path) -> str:
    """Return the name of a structure file without its folder and its suffixes."""
    return _uncompressed(path).stem


def _uncompressed(path: str | Path) -> Path:
    return Path(path).with_suffix("") if Path(path).suffix.lower() in COMPRESSED else Path(path)
