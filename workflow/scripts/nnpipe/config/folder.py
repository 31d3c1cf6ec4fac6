"""Molecules from a folder of structure files, without a line in config.yaml."""

import re
from pathlib import Path

from ..errors import InputError
from ..structures.file_names import COMPRESSED, FORMATS, format_of, stem_of
from .sections import NAME, Values

HINT = "rename the file"


def structure_files(folder: str | Path) -> dict[str, str]:
    """Return the path of each structure file of a folder, by the name of its molecule.

    The name is the name of the file without its suffixes. A README and hidden files are left out.

    Raises InputError for a folder in the folder, a file that is not a structure by its suffix, a
    name that no molecule can have, and two files of one name.
    """
    found: dict[str, str] = {}
    for path in sorted(Path(folder).iterdir()):
        if path.name.startswith((".", "README")):
            continue
        if path.is_dir():
            raise InputError(f"{path}: a folder, not a structure file; move its files to {folder}")
        if format_of(path) not in FORMATS:
            known = " ".join([*FORMATS, *COMPRESSED])
            raise InputError(f"{path}: not a structure file; move it elsewhere; known: {known}")
        name = stem_of(path)
        if not re.fullmatch(NAME, name):
            raise InputError(
                f"{path}: the name {name!r} must be letters, digits, _ or -, a letter first; {HINT}"
            )
        if name in found:
            raise InputError(f"{path}: {found[name]} makes a molecule {name!r}, too; {HINT}")
        found[name] = str(path)
    return found


def with_files(config: Values, folder: str | Path) -> Values:
    """Return a configuration with the structure files of a folder, if there is one, as molecules.

    A molecule that has settings of md alone gets its structure from the file of its name.

    Raises InputError as `structure_files`, and for a file of the name of another molecule.
    """
    files = structure_files(folder) if Path(folder).is_dir() else {}
    molecules = config.get("molecules", {})
    if not files or not isinstance(molecules, dict):
        return config
    molecules = dict(molecules)
    for name, path in files.items():
        entry = molecules.get(name, {})
        entry = entry if isinstance(entry, dict) else {"structure": entry}
        given = str(entry.get("structure", path))
        if not _same_file(given, path):
            raise InputError(
                f"{path}: the configuration has a molecule {name!r}, too, {given}; {HINT}"
            )
        molecules[name] = {"structure": path} | entry
    return config | {"molecules": molecules}


def _same_file(given: str, path: str) -> bool:
    try:
        return Path(given).resolve() == Path(path).resolve()
    except (OSError, ValueError):  # a SMILES that is too long for a name
        return False
