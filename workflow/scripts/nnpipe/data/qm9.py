"""QM9 (https://doi.org/10.1038/sdata.2014.22): one table of molecules from either of its formats.

`read_archive` reads the original dsgdb9nsd.xyz.tar.bz2 (https://doi.org/10.6084/m9.figshare.978904),
`read_qm9pack` the CSV files in the wheel of the Python package qm9pack. Both give the same bits.
They do not unpack the archive, and they yield chunks, so that memory does not grow with the data.
"""

import json
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Set
from pathlib import Path

import numpy as np
import pandas as pd

from .. import units
from ..errors import InputError
from ..runtime.files import sha256
from .molecules import CHUNK_MOLECULES, Molecules, row_ends, write_molecules
from .sources import ATOMIC_NUMBERS

# name: (column of qm9pack, factor to the unit, unit), in the order of the original files
PROPERTIES = {
    "rotational_a": ("RotA_GHz", 1.0, "GHz"),
    "rotational_b": ("RotB_GHz", 1.0, "GHz"),
    "rotational_c": ("RotC_GHz", 1.0, "GHz"),
    "mu": ("Dipole_debye", units.DEBYE, "e Å"),
    "alpha": ("Polarizability_bohr3", units.BOHR**3, "Å^3"),
    "homo": ("HOMO_au", units.HARTREE, "eV"),
    "lumo": ("LUMO_au", units.HARTREE, "eV"),
    "gap": ("HOMO_LUMO_gap_au", units.HARTREE, "eV"),
    "r2": ("R2_bohr2", units.BOHR**2, "Å^2"),
    "zpve": ("ZPVE_au", units.HARTREE, "eV"),
    "u0": ("InternalEnergy_0K_au", units.HARTREE, "eV"),
    "u": ("InternalEnergy_298K_au", units.HARTREE, "eV"),
    "h": ("Enthalphy_298K_au", units.HARTREE, "eV"),
    "g": ("GibbsFreeEnergy_298K_au", units.HARTREE, "eV"),
    "cv": ("Heatcapacity_Cv_cal_mol_K", units.CAL_PER_MOL, "eV/K"),
}
# "energy" is U0 - ZPVE: the electronic energy, on whose potential energy surface the nuclei move
UNITS = {name: unit for name, (_, _, unit) in PROPERTIES.items()} | {"energy": "eV"}
# U0 of isolated atoms, B3LYP/6-31G(2df,p) (atomref.txt of the figshare article)
ATOM_U0_HARTREE = {1: -0.500273, 6: -37.846772, 7: -54.583861, 8: -75.064579, 9: -99.718730}
N_MOLECULES = 130_831  # 133,885 less 3,054 uncharacterised ones
SADDLE_POINTS = (6620, 59818)  # indices of geometries that are not minima


def convert_qm9(manifest: str | Path, path: str | Path) -> None:
    """Write the table of molecules `path` from the files in a manifest of `download`.

    Raises InputError if a file differs from the manifest, is damaged, or QM9 is incomplete.
    """
    content = read_manifest(manifest)
    number = write_molecules(read_qm9(content), path, UNITS, content)
    if not number or (content["canonical"] and number != N_MOLECULES):
        Path(path).unlink()
        raise InputError(
            f"{manifest}: {number} molecules, QM9 has {N_MOLECULES}; download it again"
        )


def read_manifest(path: str | Path) -> dict:
    """Return the manifest. Raises InputError if it is damaged, or a file is missing or changed."""
    try:
        manifest = json.loads(Path(path).read_text())
        files = [(Path(file["path"]), file["sha256"]) for file in manifest["files"]]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: damaged ({error!r}); delete it and run again") from None
    for where, expected in files:
        got = sha256(where) if where.is_file() else "no file"
        if got != expected:
            raise InputError(
                f"{where}: expected SHA-256 {expected}, got {got};"
                f" delete {path} and run again to download it"
            )
    return manifest


def read_qm9(manifest: dict) -> Iterator[Molecules]:
    """Yield chunks of the files in a manifest, in either format.

    Raises InputError if the file has neither format.
    """
    path, *others = [Path(file["path"]) for file in manifest["files"]]
    if zipfile.is_zipfile(path):
        yield from read_qm9pack(path)
    elif tarfile.is_tarfile(path):
        yield from read_archive(path, read_uncharacterized(others[0]) if others else set())
    else:
        raise InputError(
            f"{path}: neither QM9's tar archive nor the qm9pack wheel; correct data.sources"
        )


def _numbers(texts: Iterable[str]) -> np.ndarray:
    """Return all numbers in comma- or blank-separated texts, or none if one of them is invalid.

    Brackets are ignored; the exponent `*^` is the one of Mathematica.
    """
    text = ",".join(texts).replace("*^", "e").translate({91: None, 93: None})
    try:
        return np.fromstring(text, sep=",")
    except ValueError:
        return np.zeros(0)  # the check of the size in _table fails


def _table(
    where: str,
    index: np.ndarray,
    elements: list[str],
    pos: Iterable[str],
    charges: Iterable[str],
    frequencies: list[str],
    smiles: list[str],
    properties: np.ndarray,
) -> Molecules:
    """Return a chunk from texts, one per molecule, with comma-separated lists.

    `properties` (M, 15) are in the units of the file.
    """
    counts = np.array([text.count(",") + 1 for text in elements])
    symbols = ",".join(elements).split(",")
    try:
        z = np.array([ATOMIC_NUMBERS[symbol] for symbol in symbols], np.uint8)
    except KeyError as error:
        raise InputError(
            f"{where}: element {error} is not one of {' '.join(ATOMIC_NUMBERS)}"
        ) from None
    coordinates, charge = _numbers(pos), _numbers(charges)
    frequency, modes = _numbers(frequencies), np.array([t.count(",") + 1 for t in frequencies])
    # Gaussian's opt=calcall lists the frequencies of its first and of its last geometry in 334
    # molecules; the last list is the one whose half sum is the ZPVE (to its last digit).
    doubled = (modes == 2 * (3 * counts - 6)) | (modes == 2 * (3 * counts - 5))
    first = np.repeat(row_ends(modes)[:-1] + np.where(doubled, modes // 2, 0), modes)
    frequency = frequency[np.arange(len(frequency)) >= first]
    modes = np.where(doubled, modes // 2, modes)
    bad = np.flatnonzero((modes != 3 * counts - 6) & (modes != 3 * counts - 5))
    if len(bad):
        m = bad[0]
        raise InputError(
            f"{where}: molecule {index[m]}: {modes[m]} frequencies for {counts[m]} atoms;"
            " download it again"
        )
    whole = coordinates.size == 3 * len(z) and charge.size == len(z)
    if not whole or not np.isfinite(properties).all() or not np.isfinite(coordinates).all():
        raise InputError(
            f"{where}: molecules {index[0]} to {index[-1]}: a number is missing or invalid;"
            " download it again"
        )
    targets = {
        name: properties[:, column] * factor
        for column, (name, (_, factor, _)) in enumerate(PROPERTIES.items())
    }
    targets["energy"] = targets["u0"] - targets["zpve"]
    return Molecules(
        index.astype(np.int32), row_ends(counts), z, coordinates.reshape(-1, 3), charge,
        row_ends(modes), frequency, smiles, targets,
    )  # fmt: skip


def read_qm9pack(wheel: str | Path) -> Iterator[Molecules]:
    """Yield chunks of the three CSV files in the wheel, which is not installed.

    Raises InputError if the wheel is damaged or another one.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            for part in (1, 2, 3):
                name = f"qm9pack/data/qm9_part{part}.csv"
                with archive.open(name) as file:
                    for rows in pd.read_csv(file, chunksize=CHUNK_MOLECULES, dtype=str):
                        drop = str.maketrans("", "", "[]' ")
                        columns = [rows[column] for column, _, _ in PROPERTIES.values()]
                        yield _table(
                            f"{wheel}: {name}",
                            rows["Index"].to_numpy(np.int32),
                            [text.translate(drop) for text in rows["Elements"]],
                            rows["XYZ_Ang"],
                            rows["Mulliken_pop"],
                            list(rows["Harmonic_Freq_cmi"]),
                            list(rows["SMILES"]),
                            np.stack([_numbers(column) for column in columns], 1),
                        )
    except InputError:
        raise
    except (KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{wheel}: not the wheel of qm9pack 1.0.3, or damaged ({reason})"
        ) from error


def read_uncharacterized(path: str | Path) -> set[int]:
    """Return the QM9 indices of molecules that failed the consistency check.

    They are the lines' first words, if these are numbers that exceed all numbers before.
    """
    last, numbers = 0, set()
    for line in Path(path).read_text().splitlines():
        word = re.match(r"\s*(\d+)\s", line)
        if word and int(word[1]) > last:
            last = int(word[1])
            numbers.add(last)
    return numbers


def read_archive(archive: str | Path, exclude: Set[int] = frozenset()) -> Iterator[Molecules]:
    """Yield chunks of an archive in the original format, without the indices in `exclude`.

    Raises InputError if the archive is damaged, incomplete or not in the order of the indices.
    """
    rows: list[tuple] = []
    last = 0
    try:
        with tarfile.open(archive, "r|*") as tar:
            for member in tar:
                if not member.isfile() or not member.name.endswith(".xyz"):
                    continue
                file = tar.extractfile(member)
                row = _row(
                    f"{archive}: {member.name}",
                    file.read().decode(errors="replace") if file else "",
                )
                if row[0] <= last:
                    raise InputError(
                        f"{archive}: {member.name}: not in order; pack it with tar --sort=name"
                    )
                last = row[0]
                if last not in exclude:
                    rows.append(row)
                if len(rows) == CHUNK_MOLECULES:
                    yield _chunk(archive, rows)
                    rows = []
    except (tarfile.TarError, EOFError, OSError) as error:
        raise InputError(
            f"{archive}: damaged or not complete ({error}); download it again"
        ) from error
    if rows:
        yield _chunk(archive, rows)


def _row(where: str, text: str) -> tuple:
    """Return the index and the comma-separated texts for `_table` of one molecule."""
    try:
        lines = text.splitlines()
        count, head = int(lines[0]), lines[1].split()
        atoms = [line.split() for line in lines[2 : 2 + count]]
        if len(atoms) != count or len(head) < 17:
            raise ValueError
        return (
            int(head[1]),
            ",".join(atom[0] for atom in atoms),
            ",".join(",".join(atom[1:4]) for atom in atoms),
            ",".join(atom[4] for atom in atoms),
            ",".join(lines[2 + count].split()),
            lines[3 + count].split()[0],
            ",".join(head[2:17]),
        )
    except (ValueError, IndexError):
        raise InputError(f"{where}: not in QM9's xyz format; is the file complete?") from None


def _chunk(archive: str | Path, rows: list[tuple]) -> Molecules:
    index, elements, pos, charges, frequencies, smiles, properties = zip(*rows, strict=True)
    return _table(
        str(archive), np.array(index), list(elements), pos, charges, list(frequencies),
        list(smiles), _numbers(properties).reshape(len(rows), -1),
    )  # fmt: skip
