"""Structure files, read into Atoms.

A reader takes the text of a file and returns the formula of every frame and the last frame.
"""

import bz2
import gzip
import logging
import lzma
import re
import warnings
from collections import defaultdict
from collections.abc import Callable
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.constraints import FixAtoms, FixCartesian
from ase.data import atomic_numbers
from ase.geometry import cellpar_to_cell, complete_cell
from ase.io.cif import CIFBlock, parse_cif
from ase.io.extxyz import read_xyz
from ase.io.vasp import read_vasp

from ..errors import InputError
from ..units import ASE_FS
from .elements import (
    HYDROGEN,
    Element,
    atoms_of,
    element,
    element_of_label,
    formula,
    set_masses,
)
from .file_names import format_of

log = logging.getLogger(__name__)
MAX_BYTES = 200_000_000
MAX_COORDINATE_A = 10_000.0  # larger systems overflow the integers of neighbour searches
MIN_CELL_A = 1.0  # between opposite faces; thinner cells hold no atom
RESIDUES = (
    "ALA ARG ASN ASP CYS GLN GLU GLY HIS ILE LEU LYS MET PHE PRO SER THR TRP TYR VAL ASH CYX GLH"
    " HID HIE HIP LYN ACE NME NH2 A C G U DA DC DG DT"
)
PLAIN_XYZ = "species:S:1:pos:R:3"
PARTLY = "atom {} has occupancy {:g}; keep one set of atoms, each with occupancy 1"
NM = 10.0  # Å
OPEN: dict[str, Callable] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}

Found = tuple[list[str], Atoms]


def read_structure(path: str | Path) -> Atoms:
    """Return the last structure in a file: positions Å, cell, pbc, masses amu, constraints and
    momenta. `info` has charge (e) and spin (2S + 1) if the file states them.

    Raises InputError for a file that is missing, not readable, or of an unknown format; for frames
    of different molecules; for positions, a cell or an occupancy that cannot be simulated.
    """
    kind, file = format_of(path), Path(path)
    if file.is_dir():
        raise InputError(f"{path}: a directory, not a structure file; name a file in it")
    if not file.is_file():
        also = "" if kind in READERS else ", and not a SMILES"
        remedy = "write ~ in full" if str(path).startswith("~") else "correct the path"
        raise InputError(f"{path}: no such structure file{also}; {remedy}")
    if kind not in READERS:
        known = " ".join([*READERS, *OPEN])
        raise InputError(f"{path}: unknown format; known: {known}")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            formulas, atoms = READERS[kind](_text(file))
            atoms = _clean(atoms)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except ImportError:  # a host without RDKit: rule starting_structure reads the file
        raise
    except Exception as error:  # readers raise anything
        reason = " ".join(str(error).split())[:200] or "unexpected text"
        raise InputError(f"{path}: not readable as {kind} ({reason}); is it cut?") from error
    for message in dict.fromkeys(" ".join(str(entry.message).split()) for entry in caught):
        log.warning("%s: %s", path, message)
    for number, found in enumerate(formulas, 1):
        if found != formulas[-1]:
            raise InputError(
                f"{path}: frame {number} is {found}, frame {len(formulas)} is {formulas[-1]}; write"
                " one of them to its own file"
            )
    if len(formulas) > 1:
        log.info("%s: the last of %d frames is taken", path, len(formulas))
    return atoms


def _text(file: Path) -> str:
    """Return the text of a file, with line ends of one character."""
    with OPEN.get(file.suffix.lower(), open)(file, "rb") as stream:
        data = stream.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise InputError(
            f"more than {MAX_BYTES // 10**6} MB; write one frame of it to its own file"
        )
    if b"\0" in data:
        raise InputError("binary data, or text in UTF-16; write it as text in UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")  # a comment in an old encoding
    if not text.strip():
        raise InputError("the file is empty; name another file")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _clean(atoms: Atoms) -> Atoms:
    """Return what dynamics uses of the atoms. Raises InputError if that cannot be simulated."""
    kept = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    kept.set_constraint(_fixed(atoms))
    kept.info = {key: float(atoms.info[key]) for key in ("charge", "spin") if key in atoms.info}
    for name in ("masses", "initial_charges", "initial_magmoms"):
        if atoms.has(name):
            kept.set_array(name, atoms.arrays[name], float)
    if atoms.has("momenta") and np.any(atoms.get_momenta()):
        kept.set_momenta(atoms.get_momenta())
    if not len(kept):
        raise InputError("no atoms; name another file")
    if 0 in kept.numbers:
        raise InputError(f"atom {np.argmin(kept.numbers)} has no element; remove it or name it")
    for name, values in {**kept.arrays, "cell": kept.cell.array}.items():
        if not np.isfinite(values).all():
            raise InputError(f"{name}: a value is not finite; correct the file")
    largest = max(np.abs(kept.positions).max(), np.abs(kept.cell.array).max())
    if largest > MAX_COORDINATE_A:
        raise InputError(
            f"a position or cell of {largest:g} Å is above {MAX_COORDINATE_A:g} Å; correct the file"
        )
    if not kept.get_masses().min() > 0:
        raise InputError(f"a mass of {kept.get_masses().min():g} amu; correct the file")
    if kept.pbc.any():
        _check_cell(kept)
    return kept


def _fixed(atoms: Atoms) -> list[FixAtoms]:
    """Return the constraint of fixed atoms. Raises InputError for any other constraint."""
    fixed = np.zeros((len(atoms), 3), bool)
    for constraint in atoms.constraints:
        if isinstance(constraint, FixAtoms):
            fixed[constraint.index] = True
        elif isinstance(constraint, FixCartesian):
            fixed[constraint.index] |= constraint.mask
        else:
            raise InputError(f"constraint {type(constraint).__name__}; only whole atoms are fixed")
    if (partly := fixed.any(1) & ~fixed.all(1)).any():
        raise InputError(f"atom {partly.argmax()} is fixed along one or two axes; fix all or none")
    return [FixAtoms(mask=fixed[:, 0])] if fixed.any() else []


def _check_cell(atoms: Atoms) -> None:
    """Raise InputError if the cell of periodic atoms is missing or too thin."""
    if not atoms.cell.lengths()[atoms.pbc].all():
        raise InputError("periodic, but no cell; give the cell (Lattice), or set pbc to F F F")
    cell = complete_cell(atoms.cell)
    areas = np.linalg.norm(np.cross(np.roll(cell, -1, 0), np.roll(cell, -2, 0)), axis=1)
    thickness = abs(np.linalg.det(cell)) / np.maximum(areas, np.finfo(float).tiny)
    if thickness[atoms.pbc].min() < MIN_CELL_A:
        raise InputError(
            f"the cell is {thickness[atoms.pbc].min():.2g} Å thin; correct or remove the cell"
        )


def _float(text: str, where: str) -> float:
    try:
        return float(text if text.isascii() and "_" not in text else "")  # 1_0 is 10 in Python
    except ValueError:
        remedy = "write a decimal point" if "," in text else "correct the file"
        raise InputError(f"{where}: {text!r} is not a number; {remedy}") from None


def _read_xyz(text: str) -> Found:
    """Read xyz and extended xyz: https://ase-lib.org/ase/io/formatoptions.html#extxyz."""
    lines, at, formulas = text.split("\n"), 0, []
    while at < len(lines):
        if not lines[at].strip():
            at += 1
            continue
        if not re.fullmatch(r"\s*\d+\s*", lines[at]):
            raise InputError(
                f"line {at + 1}: {lines[at].strip()[:40]!r} is not a number of atoms; correct it"
            )
        if not int(lines[at]):
            raise InputError(f"line {at + 1}: a frame without atoms; remove it")
        count, comment = int(lines[at]), "".join(lines[at + 1 : at + 2])
        column, width = _xyz_columns(comment)
        rows = [line.split() for line in lines[at + 2 : at + 2 + count]]
        for number, row in enumerate(rows, at + 3):
            if len(row) < width:
                raise InputError(f"line {number}: {len(row)} of {width} columns; correct the file")
        if len(rows) < count:
            raise InputError(f"line {at + 1}: {len(rows)} of {count} atoms follow; the file is cut")
        formulas.append(formula([element(row[column]) for row in rows]))
        last, at = at, at + 2 + count
    if not formulas:
        raise InputError("no frames; name another file")
    return formulas, _xyz_frame(comment, rows, column, last + 3)


def _xyz_columns(comment: str) -> tuple[int, int]:
    """Return the column of the element in a frame with this comment, and the number of columns."""
    layout = re.search(r"Properties=[\"']?([^\s\"']+)", comment)
    fields = (layout[1] if layout else PLAIN_XYZ).split(":")
    if len(fields) % 3 or not all(number.isdecimal() for number in fields[2::3]):
        raise InputError(f"Properties={layout and layout[1]} is not a list of name:type:number")
    columns, width = {}, 0
    for name, number in zip(fields[::3], fields[2::3], strict=True):
        columns[name], width = width, width + int(number)
    if not {"species", "Z"} & set(columns):
        raise InputError("Properties has neither species nor Z; add the elements")
    return columns.get("species", columns.get("Z", 0)), width


def _xyz_frame(comment: str, rows: list[list[str]], column: int, first_line: int) -> Atoms:
    """Return the atoms of a frame: its rows of text, and the column of the element."""
    elements = [element(row[column]) for row in rows]
    is_plain = "Properties=" not in comment
    for number, (row, one) in enumerate(zip(rows, elements, strict=True), first_line):
        if is_plain or not row[column].isdigit():
            row[column] = one.symbol
        for field in row[1:4] if is_plain else ():
            _float(field, f"line {number}")
    if is_plain and len(rows[0]) > 4:
        warnings.warn(f"columns 5 to {len(rows[0])} have no name and are not read", stacklevel=2)
    header = comment if "=" in comment else ""
    frame = "\n".join([str(len(rows)), header, *map(" ".join, rows), ""])
    atoms = next(read_xyz(StringIO(frame), 0))
    if "mass" in atoms.arrays:
        atoms.set_masses(atoms.arrays["mass"])
    if not atoms.has("masses"):
        set_masses(atoms, elements)
    if velocities := [name for name in atoms.arrays if name.lower().startswith("vel")]:
        raise InputError(
            f"{velocities[0]!r} has no unit; name it momenta, in ASE's units, or remove it"
        )
    info = {key.lower(): value for key, value in atoms.info.items() if value is not True}
    names = {"charge": "charge", "total_charge": "charge", "spin": "spin", "multiplicity": "spin"}
    atoms.info = {names[key]: value for key, value in info.items() if key in names}
    return atoms


def _read_pdb(text: str) -> Found:
    """Read PDB: https://www.wwpdb.org/documentation/file-format."""
    models: list[list[str]] = [[]]
    cell = None
    for line in text.split("\n"):
        record = line[:6].strip()
        if record in ("ATOM", "HETATM"):
            models[-1].append(line.ljust(80))
        elif record in ("ENDMDL", "END") and models[-1]:
            models.append([])
        elif record == "CRYST1":
            cell = _pdb_cell(line)
    models = [_one_location(rows) for rows in models if rows]
    if not models:
        raise InputError("no ATOM or HETATM record; name another file")
    elements = [_pdb_elements(rows) for rows in models]
    atoms = atoms_of(
        elements[-1],
        [
            [
                _float(row[i : i + 8], f"columns {i + 1}-{i + 8} of {row[:27]!r}")
                for i in (30, 38, 46)
            ]
            for row in models[-1]
        ],
        cell=cell,
        pbc=cell is not None,
    )
    charges = [re.fullmatch(r"(\d)([+-])", row[78:80]) for row in models[-1]]
    if charge := sum(int(found[2] + found[1]) for found in charges if found):
        atoms.info["charge"] = charge
    return [formula(model) for model in elements], atoms


def _pdb_cell(line: str) -> np.ndarray | None:
    """Return the cell (3, 3) Å of a CRYST1 record, or None for the placeholder 1 1 1."""
    ends = [6, 15, 24, 33, 40, 47, 54]
    parameters = [_float(line[i:j], "CRYST1") for i, j in pairwise(ends)]
    if max(parameters[:3]) <= 1:
        warnings.warn("CRYST1 is a placeholder for no cell; boundaries are open", stacklevel=2)
        return None
    if (group := line[55:66].strip()) not in ("", "P 1", "P1", "1"):
        raise InputError(
            f"CRYST1: space group {group}, of which the file holds a part only; write all atoms of"
            " the cell in P 1, or remove CRYST1"
        )
    return cellpar_to_cell(parameters)


def _one_location(rows: list[str]) -> list[str]:
    """Return the rows with the alternate location of highest occupancy of each residue."""
    weights: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for row in rows:
        occupancy = (
            _float(row[54:60], f"occupancy of {row[:27].strip()}") if row[54:60].strip() else 1.0
        )
        if row[16] != " ":
            weights[row[21:27]][row[16]] += occupancy
        elif 0 < occupancy < 1:
            raise InputError(PARTLY.format(row[12:27].strip(), occupancy))
    chosen = {residue: max(found, key=found.__getitem__) for residue, found in weights.items()}
    if chosen:
        names = ", ".join(
            f"{label} in residue {residue.strip()}" for residue, label in chosen.items()
        )
        warnings.warn(
            f"alternate locations: {names[:80]} is taken, the others are left out", stacklevel=2
        )
    return [row for row in rows if row[16] in (" ", chosen.get(row[21:27]))]


def _pdb_elements(rows: list[str]) -> list[Element]:
    """Return the elements: columns 77-78, or the name, whose element ends in column 14."""
    aligned = not any(re.match("[A-Z][^A-Za-z]", row[12:16]) for row in rows)
    elements = []
    for row in rows:
        name, residue, symbol = row[12:16], row[17:20].strip(), row[76:78].strip().capitalize()
        if symbol in HYDROGEN or atomic_numbers.get(symbol):
            elements.append(element(symbol))
        elif name[0] in " 0123456789":
            elements.append(element(name.lstrip(" 0123456789")[:1]))
        elif aligned and name[3] == " " and residue not in RESIDUES.split():
            elements.append(element(name[:2]))
        else:
            elements.append(element_of_label(name.strip(), residue))
    return elements


def _read_gro(text: str) -> Found:
    """Read Gromacs' format, in nm and nm/ps: https://manual.gromacs.org/current/reference-manual/file-formats.html#gro."""
    lines, at, formulas = text.split("\n"), 0, []
    while any(line.strip() for line in lines[at:]):
        number = "".join(lines[at + 1 : at + 2]).strip()
        if not number.isdecimal() or not int(number):
            raise InputError(f"line {at + 2}: {number!r} is not a number of atoms; correct it")
        count = int(number)
        rows, box = lines[at + 2 : at + 2 + count], "".join(lines[at + 2 + count : at + 3 + count])
        if len(rows) < count or not box.strip():
            raise InputError(
                f"line {at + 2}: {count} atoms and a box do not follow; the file is cut"
            )
        elements = [element_of_label(row[10:15].strip(), row[5:10].strip()) for row in rows]
        formulas.append(formula(elements))
        at += 3 + count
    dots = [match.start() for match in re.finditer(r"\.", rows[0][20:])]
    if len(dots) < 3:
        raise InputError(f"{rows[0]!r} has no three positions from column 21 on; correct the file")
    width = dots[1] - dots[0]  # the number of decimals is free
    numbers = [
        [_float(row[i : i + width], f"atom {n}") for i in range(20, len(row.rstrip()), width)]
        for n, row in enumerate(rows, 1)
    ]
    vectors = [_float(field, "box") for field in box.split()]
    cell = np.diag(vectors[:3])
    if len(vectors) == 9:
        cell.flat[[1, 2, 3, 5, 6, 7]] = vectors[3:]
    atoms = atoms_of(elements, [row[:3] for row in numbers], cell=cell, pbc=cell.any())
    atoms.set_positions(atoms.positions * NM)
    atoms.set_cell(cell * NM)
    if len(numbers[0]) == 6:
        atoms.set_velocities(np.array(numbers)[:, 3:] * NM / (1000 * ASE_FS))
    return formulas, atoms


def _read_sdf(text: str) -> Found:
    """Read V2000 and V3000: https://en.wikipedia.org/wiki/Chemical_table_file."""
    from rdkit import Chem, rdBase

    parts = re.split(r"^\$\$\$\$.*\n?", text, flags=re.MULTILINE)
    blocks = [part for part in parts if part.strip()] or [text]
    with rdBase.BlockLogs():
        molecules = [Chem.MolFromMolBlock(b, sanitize=False, removeHs=False) for b in blocks]
    for number, (molecule, block) in enumerate(zip(molecules, blocks, strict=True), 1):
        if molecule is None or not molecule.GetNumAtoms():
            raise InputError(
                f"molecule {number} is empty, cut, or not a mol block of V2000 or V3000; correct it"
            )
        _check_mol_positions(block)
    elements = [
        [Element(atom.GetAtomicNum(), atom.GetIsotope()) for atom in one.GetAtoms()]
        for one in molecules
    ]
    molecule, header = molecules[-1], blocks[-1].split("\n")[1]
    positions = molecule.GetConformer().GetPositions()
    crowded = any(atom.GetDegree() > 3 for atom in molecule.GetAtoms())
    if not positions[:, 2].any() and (re.search(r"\b2D\b", header) or crowded):
        raise InputError("a drawing in two dimensions; give a geometry, or the SMILES")
    atoms = atoms_of(elements[-1], positions)
    if charge := Chem.GetFormalCharge(molecule):
        atoms.info["charge"] = charge
    if unpaired := sum(atom.GetNumRadicalElectrons() for atom in molecule.GetAtoms()):
        atoms.info["spin"] = 1 + unpaired
    return [formula(one) for one in elements], atoms


def _check_mol_positions(block: str) -> None:
    """Raise InputError for a position that is not a number: RDKit reads 1,5 as 1."""
    lines = block.split("\n")
    if "V3000" in lines[3]:
        joined = re.sub(r"-\n *M  V30 ", "", block)  # continued lines
        rows = re.split("V30 (?:BEGIN|END) ATOM", joined)[1].split("\n")[1:-1]
        fields = [row.split()[4:7] for row in rows]
        if shifted := [row for row in rows if not row.split()[7].isdecimal()]:
            raise InputError(f"{shifted[0]!r}: no integer follows the position; correct the file")
    else:
        rows = lines[4 : 4 + int(lines[3][:3])]
        fields = [[row[start : start + 10] for start in (0, 10, 20)] for row in rows]
    for number, row in enumerate(fields):
        for field in row:
            _float(field, f"atom {number}")


def _read_mol2(text: str) -> Found:
    """Read Tripos mol2 with SYBYL's atom types: https://paulbourke.net/dataformats/mol2/."""
    frames: list[list[list[str]]] = []
    declared = ""
    for section in text.split("@<TRIPOS>"):
        if section.startswith("MOLECULE"):
            declared = "".join("".join(section.split("\n")[2:3]).split()[:1])
        if section.startswith("ATOM"):
            frames.append([line.split() for line in section.split("\n")[1:] if line.strip()])
            if declared != str(len(frames[-1])):
                raise InputError(
                    f"{len(frames[-1])} atoms follow @<TRIPOS>ATOM, @<TRIPOS>MOLECULE says"
                    f" {declared or 'nothing'}; correct the file"
                )
    elements = []
    for rows in frames:
        for row in rows:
            if len(row) < 6 or row[5][0].islower():  # GAFF has lower case: its ca is carbon
                raise InputError(f"{' '.join(row)!r} has no SYBYL atom type; correct the file")
        elements.append([element(row[5].split(".")[0]) for row in rows])
    if not elements:
        raise InputError("no section @<TRIPOS>ATOM; name another file")
    atoms = atoms_of(elements[-1], [row[2:5] for row in frames[-1]])
    if charge := round(sum(float(row[8]) for row in frames[-1] if len(row) > 8)):
        atoms.info["charge"] = charge
    return [formula(one) for one in elements], atoms


def _read_cif(text: str) -> Found:
    """Read CIF: https://www.iucr.org/resources/cif. Symmetry gives all atoms of the cell."""
    warnings.filterwarnings("error", "Wrong number")  # of values in a row, which ASE leaves out
    formulas = []
    for block in parse_cif(StringIO(text)):
        names = block.get("_atom_site_type_symbol", block.get("_atom_site_label"))
        if names is None:
            continue
        labels = block.get("_atom_site_label", names)
        for label, occupancy in zip(labels, block.get("_atom_site_occupancy", []), strict=False):
            if isinstance(occupancy, int | float) and occupancy < 1:
                raise InputError(PARTLY.format(label, occupancy))
        if block.get_cell().rank < 3 and "_atom_site_fract_x" in block:
            raise InputError(
                "fractional coordinates, but no cell; add _cell_length and _cell_angle"
            )
        for axis in "xyz":
            for label, place in zip(
                labels, block.get(f"_atom_site_fract_{axis}", []), strict=False
            ):
                if isinstance(place, str):
                    raise InputError(f"atom {label} has {axis} = {place!r}; correct or remove it")
        elements = [element(name) for name in names]
        tags: dict[str, Any] = {**block, "_atom_site_type_symbol": [e.symbol for e in elements]}
        atoms = CIFBlock(block.name, tags).get_atoms(fractional_occupancies=False)
        sites = atoms.arrays.get("spacegroup_kinds", range(len(atoms)))
        for site in sorted(set(range(len(elements))) - set(sites)):  # left out by ASE
            raise InputError(f"atom {labels[site]} is at the place of another atom; remove one")
        set_masses(atoms, [elements[site] for site in sites])
        formulas.append(atoms.get_chemical_formula())
    if not formulas:
        raise InputError("no loop of _atom_site; write mmCIF as PDB, or name another file")
    return formulas, atoms


def _read_poscar(text: str) -> Found:
    """Read POSCAR and CONTCAR: https://vasp.at/wiki/POSCAR."""
    lines = text.split("\n")
    if re.match(r"\s*\d", "".join(lines[5:6])):  # VASP 4 has the elements in the first line
        lines.insert(5, lines[0])
    names = [re.split("[_/]", name)[0] for name in "".join(lines[5:6]).split()]
    counts = [int(count) for count in re.findall(r"\d+", "".join(lines[6:7]).split("!")[0])]
    if not names or len(names) != len(counts):
        raise InputError("lines 6 and 7 are not elements and their numbers; add them")
    if len([line for line in lines[7:] if line.strip()]) <= sum(counts):
        raise InputError(f"{sum(counts)} positions do not follow line 7; the file is cut")
    start = 9 if lines[7].strip()[:1] in ("S", "s") else 8  # selective dynamics
    for number, line in enumerate(lines[start : start + sum(counts)], start + 1):
        for field in [*line.split(), "", "", ""][:3]:
            _float(field, f"position {number - start}")
    if re.match(r"\s*[-+.\d]", "".join(lines[start + sum(counts) :][:1])):
        raise InputError(f"more than {sum(counts)} positions follow line 7; correct the numbers")
    kinds = [element(name) for name in names]
    lines[5] = " ".join(one.symbol for one in kinds)
    atoms = read_vasp(StringIO("\n".join(lines)))
    set_masses(atoms, [one for one, n in zip(kinds, counts, strict=True) for _ in range(n)])
    return [atoms.get_chemical_formula()], atoms


READERS: dict[str, Callable[[str], Found]] = {
    ".xyz": _read_xyz,
    ".extxyz": _read_xyz,
    ".pdb": _read_pdb,
    ".ent": _read_pdb,
    ".cif": _read_cif,
    ".sdf": _read_sdf,
    ".mol": _read_sdf,
    ".mol2": _read_mol2,
    ".gro": _read_gro,
    ".vasp": _read_poscar,
    ".poscar": _read_poscar,
    "POSCAR": _read_poscar,
}
