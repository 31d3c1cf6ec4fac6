"""Mutated inputs: configuration files, values of --config, SMILES, structure files, own data sets.

Each case must run or end in one line (InputError). Everything else is bad: a traceback, several
lines, output on stderr, a crash, more than 20 s, or other atoms than the input has, as
read here by other code. `python tests/fuzz.py --count 1000 --seed 1` prints a table.
"""

import argparse
import contextlib
import logging
import multiprocessing
import os
import random
import re
import subprocess
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from io import StringIO
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from ase.build import molecule
from ase.data import chemical_symbols
from ase.io import write

ROOT = Path(__file__).parents[1]
SECONDS = 20
IMPORTS = ("nnpipe.config", "nnpipe.data.extxyz", "nnpipe.structures.load", "rdkit.Chem")
ELEMENTS = [1, 6, 7, 8, 9]
SMILES = (
    "C", "O", "N", "CCO", "C#N", "C=O", "O=C=O", "[C-]#[O+]", "C1CC1", "c1ccccc1", "c1cc[nH]c1",
    "FC(F)(F)F", "CC(=O)O", "NC(=O)N", "C1=CC2CC1C2", "OC1C2OC12", "N#CC(=O)C#C", "C[N+](=O)[O-]",
    "CC(=O)Oc1ccccc1C(=O)O", "CC(=O)Nc1ccc(O)cc1", "Cn1cnc2c1c(=O)n(C)c(=O)n2C", "CCO.O",
    "C[C@H](N)C(=O)O", "F/C=C/F", "[2H]C([2H])([2H])O", "[13CH4]", "C1CC2(C1)CC2", "[H][H]",
    "CC(C)Cc1ccc(cc1)[C@@H](C)C(=O)O", "C%12CCCCC%12", "[CH3:1][OH:2]", "[NH3+]CC(=O)[O-]",
)  # fmt: skip
# geometries off the minimum, with energies (eV) and forces (eV/Å) of a density functional
FRAMES = """3
Properties=species:S:1:pos:R:3:forces:R:3 energy=-2079.611880933978 pbc="F F F"
O -0.04608627 -0.02288629 0.13027176 -0.08585679 1.95968689 -0.28865228
H -0.05048091 0.75278022 -0.48500825 0.00600479 -1.15713989 0.92720777
H 0.02704228 -0.75250604 -0.45927836 0.07985200 -0.80254699 -0.63855549
5
Properties=species:S:1:pos:R:3:forces:R:3 energy=-1102.3110666956468 pbc="F F F"
C -0.03269143 -0.00648068 0.03919877 2.84796159 4.38323641 0.01133488
H 0.70378956 0.56616472 0.70481419 -1.12454104 -0.21545978 -0.61559742
H -0.56182423 -0.59005243 0.64234078 -2.85217245 -2.31758888 2.34809964
H 0.61342186 -0.55621697 -0.53110508 1.62188616 -1.92757595 -1.96114485
H -0.53903626 0.69487319 -0.61124898 -0.49313426 0.07738819 0.21730774
6
Properties=species:S:1:pos:R:3:forces:R:3 energy=-3148.577381130352 pbc="F F F"
C -0.07084765 0.56717575 -0.06538766 4.43606050 2.44849955 2.14188579
O 0.00721054 -0.76108120 -0.01415625 -5.03276781 -1.95913651 -0.28833506
H -1.01083242 0.90565254 -0.02928289 -4.08449773 1.25803980 -0.19933107
H 0.85490462 -1.01914114 -0.03317676 5.07662786 -1.67445509 -0.11303893
H 0.40647411 1.00011853 0.92823947 -0.42613706 -0.07455030 -1.33109722
H 0.47745197 1.05655716 -0.88360500 0.03071425 0.00160255 -0.21008350
"""
OVERRIDE = """# my molecules
molecules:
  ethanol: CCO
  acetonitrile: CC#N
  aspirin: {structure: "CC(=O)Oc1ccccc1C(=O)O", models: [gnn], length_ps: 1.0, temperature_k: 350}
md:
  length_ps: 2.5
  frame_fs: 2.0
  ensemble: nve
models:
  gnn: {pretrained: resources/models/gnn}
training: {stages: [{epochs: 3}], learning_rate: 1.0e-3}
split: {train: 500, validation: 100, test: 100}
evaluation: {frequency_molecules: 10}
"""


@cache
def structures() -> dict[str, str]:
    """Return {file name: text} of sound structures in all formats."""
    from rdkit import Chem
    from rdkit.Chem import rdDistGeom

    ethanol = Chem.AddHs(Chem.MolFromSmiles("CCO"))
    rdDistGeom.EmbedMolecule(ethanol, randomSeed=1)
    texts = {
        "v2000.sdf": Chem.MolToMolBlock(ethanol) + "$$$$\n",
        "two.sdf": 2 * (Chem.MolToMolBlock(ethanol) + "$$$$\n"),
        "v3000.mol": Chem.MolToV3KMolBlock(ethanol),
        "rdkit.pdb": Chem.MolToPDBBlock(ethanol),
        "plain.xyz": Chem.MolToXYZBlock(ethanol),
        "two.xyz": 2 * Chem.MolToXYZBlock(ethanol),
    }
    water = molecule("H2O", vacuum=5.0)
    water.pbc = True
    methanol = molecule("CH3OH", vacuum=6.0)
    for name, form, atoms in (
        ("box.extxyz", "extxyz", water),
        ("open.extxyz", "extxyz", molecule("CH3CH2OH")),
        ("box.cif", "cif", methanol),
        ("box.vasp", "vasp", water),
        ("POSCAR", "vasp", methanol),
        ("box.gro", "gromacs", water),
        ("box.pdb", "proteindatabank", water),
    ):
        file = tempfile.NamedTemporaryFile(suffix=name)  # noqa: SIM115
        with file:
            write(file.name, atoms, format=form)
            texts[name] = Path(file.name).read_text()
    rows = [
        f"{n} {a.symbol}{n} {a.x:.4f} {a.y:.4f} {a.z:.4f} {'O.3' if a.symbol == 'O' else 'H'} 1 WAT"
        for n, a in enumerate(molecule("H2O"), 1)
    ]
    head = "@<TRIPOS>MOLECULE\nwater\n3 2 1\nSMALL\nNO_CHARGES\n\n@<TRIPOS>ATOM\n"
    texts["water.mol2"] = f"{head}{chr(10).join(rows)}\n@<TRIPOS>BOND\n1 1 2 1\n2 1 3 1\n"
    return texts


# --- mutations -----------------------------------------------------------------------------------

NUMBER = re.compile(r"(?<![\w.])[-+]?\d+\.?\d*(?:[eE][-+]?\d+)?(?![\w.])")
NUMBERS = (
    "0", "-1", "1", "2", "7", "99", "1e9", "1e400", "-1e5", "nan", "inf", "-inf", "1,5",
    "1.5.2", "x",
    "", "1_0", "0x1F", "1e-3", "٣", "99999999999999999999", "0.0", "1.2e", "--1", "½",
)  # fmt: skip
VALUES = (
    None, True, False, "", "x", "NO", "1e-3", 0, -1, 1, 2, 10**30, 0.0, -0.5, 1e-300, 1e300, 1e9,
    float("nan"), float("inf"), [], {}, [1], [None], ["x", "x"], {"x": 1}, {"x": None}, {1: 2},
    [[]],
    "é", "a: b", "/", "../..", "C", "C C", "{x}", "%", "auto", "x" * 3000, "\t", "\n", "💥", "0",
)  # fmt: skip
SYMBOLS = (
    "H", "C", "N", "O", "F", "D", "T", "Cl", "CL", "Ca", "h", "c", "X", "Xx", "1", "6", "0", "-1",
    "119", "999", "*", "H1", "C12", "1H", "O2-", "N+", "Q", "Du", "", "Å", "LP", "R#", "CA", "HO",
)  # fmt: skip
SMILES_PARTS = (
    "[", "]", "(", ")", "=", "#", "$", ":", "-", "~", "/", "\\", ".", "..", "+", "@", "@@", "%",
    "%1",
    "%123", "1", "2", "0", "9", "C", "N", "O", "F", "H", "c", "n", "o", "Cl", "S", "[H]", "[H+]",
    "[OH-]", "[Na+].[Cl-]", "[13C]", "[2H]", "[3H]", "[99C]", "[CH2]", "[CH3:1]", "[*]", "*",
    "?", "!",
    "[#6]", "[C,N]", "[Xx]", "[nH]", "[O-]", "[N+]", "[CH-2]", "[C@TH1]", ">>", ">", "{-}", " ",
    "\t",
    " |$R$|", " name", "é", "🧪", "\u202e", "\0", "[U]", "[C:999]", "[CH5]", "[2H]O[2H]", "C1",
    "1CC1",
    "[O]", "O=O", "[N]=O", "[C]", "[HH]", "'", '"', ";", "&", "[0H]", "[H-]", "\u00a0", "−",
)  # fmt: skip


def _lines(edit: Callable[[random.Random, list[str]], None]) -> Callable[[random.Random, str], str]:
    def mutation(rng: random.Random, text: str) -> str:
        lines = text.split("\n")
        edit(rng, lines)
        return "\n".join(lines)

    return mutation


def _delete(rng: random.Random, lines: list[str]) -> None:
    start = rng.randrange(len(lines))
    del lines[start : start + rng.choice((1, 1, 1, 2, 5))]


def _repeat(rng: random.Random, lines: list[str]) -> None:
    line = rng.choice(lines)
    lines.insert(rng.randrange(len(lines) + 1), line)


def _swap(rng: random.Random, lines: list[str]) -> None:
    i, j = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[i], lines[j] = lines[j], lines[i]


def _insert(rng: random.Random, lines: list[str]) -> None:
    new = (
        "",
        " ",
        "#",
        "END",
        "M  END",
        "TER",
        "$$$$",
        "loop_",
        "H 0 0 0",
        "\f",
        "ENDMDL",
        "---",
        "3",
    )
    lines.insert(rng.randrange(len(lines) + 1), rng.choice(new))


def _indent(rng: random.Random, lines: list[str]) -> None:
    at = rng.randrange(len(lines))
    lines[at] = rng.choice((" ", "  ", "\t")) + lines[at] if rng.random() < 0.6 else lines[at][1:]


def _column(rng: random.Random, lines: list[str]) -> None:
    """Remove or repeat a word of a line."""
    at = rng.randrange(len(lines))
    words = re.split(r"(\s+)", lines[at])
    place = rng.randrange(len(words))
    words[place] = rng.choice(("", 2 * words[place], f"{words[place]} {words[place]}"))
    lines[at] = "".join(words)


def _number(rng: random.Random, text: str) -> str:
    found = list(NUMBER.finditer(text))
    if not found:
        return text
    # the first numbers of a file are counts and cells
    one = rng.choice(found[:8] if rng.random() < 0.4 else found)
    new = rng.choice(NUMBERS)
    if one[0].lstrip("-").isdigit() and rng.random() < 0.5:
        new = str(int(one[0]) + rng.choice((-1, 1)))
    if rng.random() < 0.5:  # columns stay aligned
        new = new[-len(one[0]) :].rjust(len(one[0]))
    return text[: one.start()] + new + text[one.end() :]


def _symbol(rng: random.Random, text: str) -> str:
    found = list(re.finditer(r"(?<![A-Za-z])(?:[HCNOF]\d?)(?![A-Za-z])", text))
    if not found:
        return text
    one, new = rng.choice(found), rng.choice(SYMBOLS)
    if rng.random() < 0.5:
        new = new[: len(one[0])].ljust(len(one[0]))
    return text[: one.start()] + new + text[one.end() :]


def _character(rng: random.Random, text: str) -> str:
    at = rng.randrange(len(text) + 1)
    new = rng.choice(" \t\n.,:;-+#0123456789'\"[]{}()=%&*!|<>@`~^\\/_$?éHCNOFxX\0\x1b\u2028")
    return text[:at] + rng.choice((new, "")) + text[at + rng.choice((0, 1)) :]


def _cut(rng: random.Random, text: str) -> str:
    return text[: rng.randrange(len(text) + 1)]


TEXT = [
    _cut, _number, _number, _number, _symbol, _symbol, _character, _character,
    *map(_lines, (_delete, _delete, _repeat, _swap, _insert, _indent, _column, _column)),
    lambda rng, text: text + text,
    lambda rng, text: text.upper() if rng.random() < 0.5 else text.lower(),
    lambda rng, text: text.replace(" ", rng.choice(("\t", "", "  "))),
]  # fmt: skip
ENCODINGS: list[Callable[[str], bytes]] = [
    lambda text: text.encode("utf-16"),
    lambda text: text.encode("utf-8-sig"),
    lambda text: text.replace("\n", "\r\n").encode(),
    lambda text: text.replace("\n", "\r").encode(),
    lambda text: ("é" + text).encode("latin-1", "replace"),
    lambda text: text.replace(" ", "\xa0").encode(),
    lambda text: text.rstrip().encode(),
    lambda text: b"\0" + text.encode(),
    lambda text: b"",
]


def _mutated(rng: random.Random, text: str) -> bytes:
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        text = rng.choice(TEXT)(rng, text)
    return rng.choice(ENCODINGS)(text) if rng.random() < 0.08 else text.encode("utf-8", "replace")


def _mutated_values(rng: random.Random, text: str) -> str:
    """Replace, remove or rename values at random places of a configuration."""
    config = yaml.safe_load(text)
    for _ in range(rng.choice((1, 1, 2))):
        node: Any = config
        while True:
            key = rng.choice(list(node) if isinstance(node, dict) else range(len(node)))
            if not (isinstance(node[key], dict | list) and node[key]) or rng.random() < 0.15:
                break
            node = node[key]
        action = rng.random()
        if action < 0.1:
            del node[key]
        elif action < 0.2 and isinstance(node, dict):
            node[rng.choice((f"{key}x", str(key).upper(), "", "a b", 3))] = node.pop(key)
        else:
            node[key] = rng.choice(VALUES)
        if not node:
            break
    return yaml.safe_dump(config, allow_unicode=True)


def _mutated_smiles(rng: random.Random) -> str:
    text = rng.choice(SMILES)
    if rng.random() < 0.03:
        return rng.choice(
            (60 * text, 2000 * "C", 300 * "(", 300 * "C(", 500 * "C1", "", " ", "C" * 60)
        )
    for _ in range(rng.choice((1, 1, 2, 3))):
        at, part = rng.randrange(len(text) + 1), rng.choice(SMILES_PARTS)
        kind = rng.random()
        if kind < 0.5:
            text = text[:at] + part + text[at:]
        elif kind < 0.7:
            text = text[:at] + text[at + 1 :]
        elif kind < 0.85:
            text = text[:at] + part + text[at + 1 :]
        else:
            text = text[:at] + rng.choice((".", "", ">>")) + rng.choice(SMILES) + text[at:]
    return text


KINDS = ("config", "command", "smiles", "structure", "data")
# values of --config, each with a place for a SMILES
ENTRIES = (
    "smiles=SMILES", "structure=SMILES", "molecules={mine: SMILES}", "molecules=mine: SMILES",
    "molecules={mine: 'SMILES', other: C}", "molecules={mine: {structure: SMILES, seed: 3}}",
)  # fmt: skip
SETTINGS = "md={temperature_k: 500, length_ps: 0.5, models: [gnn], ensemble: nve}"


@dataclass(frozen=True)
class Case:
    """An input: a file, or a SMILES as its content."""

    kind: str
    seed: int
    name: str
    content: bytes


def make_case(kind: str, seed: int) -> Case:
    """Return the case of a kind and a seed, the same in every process."""
    rng = random.Random(f"{kind} {seed}")
    if kind == "smiles":
        text = _mutated_smiles(rng)
        return Case(kind, seed, "SMILES", text.encode("utf-8", "replace"))
    if kind == "command":
        smiles = rng.choice(SMILES) if rng.random() < 0.5 else _mutated_smiles(rng)
        # no word of a command line has a null character
        entries = [rng.choice(ENTRIES).replace("SMILES", smiles.replace("\0", "")), SETTINGS]
        if rng.random() < 0.5:
            place = rng.randrange(2)
            key, _, text = entries[place].partition("=")
            text = _mutated(rng, text).decode("utf-8", "replace").replace("\0", "")
            entries[place] = f"{key}={text}"
        return Case(kind, seed, "--config", "\0".join(entries).encode("utf-8", "replace"))
    if kind == "config":
        name, text = rng.choice(
            (("config.yaml", (ROOT / "config.yaml").read_text()), ("mine.yaml", OVERRIDE))
        )
        if rng.random() < 0.6:
            return Case(kind, seed, name, _mutated_values(rng, text).encode("utf-8", "replace"))
    elif kind == "data":
        name, text = "mine.extxyz", FRAMES
    else:
        name, text = rng.choice(list(structures().items()))
    return Case(kind, seed, name, _mutated(rng, text))


# --- what other code reads -----------------------------------------------------------------------


class Inconsistent(Exception):
    """The file contradicts itself: it must be refused."""


Read = tuple[list[str | None], np.ndarray | None]  # symbols, None if not clear; positions Å or None


def _text(content: bytes) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _known(token: str) -> str | None:
    """Return the element that a label of H, C, N, O or F begins with, None if it is not clear."""
    if token.isdecimal() and token.isascii():
        return chemical_symbols[int(token)] if 0 < int(token) < 119 else None
    found = re.fullmatch(r"([HCNOFDT])[\d*'+-]*", token)
    return found[1].replace("D", "H").replace("T", "H") if found else None


def _numbers(fields: list[list[str]]) -> np.ndarray:
    """Return positions Å from text. Raises Inconsistent if one is not a number."""
    try:
        return np.array(fields, float)
    except ValueError as error:
        raise Inconsistent(error) from None


def _xyz_frames(text: str) -> Iterator[tuple[str, Read]]:
    lines = text.split("\n")
    while lines:
        if not lines[0].strip():
            lines.pop(0)
            continue
        try:
            count = int(lines[0])
        except ValueError:
            raise Inconsistent(f"{lines[0]!r} is not a count") from None
        rows = [line.split() for line in lines[2 : 2 + count]]
        if len(rows) < count or not all(rows):
            raise Inconsistent(f"{count} rows do not follow")
        comment = lines[1]
        if re.search("Properties", comment, re.IGNORECASE) and not re.search(
            r"Properties=species:S:1:pos:R:3(:|\s|$)", comment
        ):
            yield comment, ([None] * count, None)
        else:
            try:
                positions = np.array([row[1:4] for row in rows], float)
            except ValueError:
                positions = np.full((count, 3), np.nan)
            yield comment, ([_known(row[0]) for row in rows], positions)
        lines = lines[2 + count :]


def _sdf(text: str) -> Read:
    blocks = re.split(r"^\$\$\$\$.*\n?", text, flags=re.MULTILINE)
    lines = [block for block in blocks if block.strip()][-1].split("\n")
    if "V3000" in lines[3]:
        counts = re.search(r"M  V30 COUNTS +(\d+)", text)
        start = lines.index("M  V30 BEGIN ATOM")
        rows = [line.split() for line in lines[start + 1 : lines.index("M  V30 END ATOM")]]
        if not counts or len(rows) != int(counts[1]):
            raise Inconsistent("COUNTS")
        return [_known(row[3]) for row in rows], _numbers([row[4:7] for row in rows])
    count, bonds = int(lines[3][:3]), int(lines[3][3:6])
    rows, rest = lines[4 : 4 + count], lines[4 + count + bonds :]
    if len(rows) < count or not all(re.match(r"[MAVSG]  |\s*$|>", line) for line in rest[:1]):
        raise Inconsistent("counts")
    positions = _numbers([[row[i : i + 10] for i in (0, 10, 20)] for row in rows])
    return [_known(row[31:34].strip()) for row in rows], positions


def _pdb(text: str) -> Read:
    parts = [
        [line.ljust(80) for line in part.split("\n") if line.startswith(("ATOM  ", "HETATM"))]
        for part in re.split(r"^(?:MODEL|END)", text, flags=re.MULTILINE)
    ]
    rows = [part for part in parts if part][-1]
    if re.search(r"^(ATOM|HETATM).*\nMODEL", text, re.MULTILINE):
        raise LookupError("atoms outside of models")
    if any(row[16] != " " for row in rows):
        raise LookupError("alternate locations")
    positions = _numbers([[row[i : i + 8] for i in (30, 38, 46)] for row in rows])
    # a column without letters is of another kind: the name of the atom says what it is
    symbols = [row[76:78].strip() for row in rows]
    return [_known(one) if one.isalpha() else None for one in symbols], positions


def _gro(text: str) -> Read:
    lines = text.split("\n")
    count = int(lines[1])
    rows = lines[2 : 2 + count]
    if len(rows) < count or any(not row.strip() for row in rows):
        raise Inconsistent("count")
    return [_known(row[10:15].strip()) for row in rows], None


def _poscar(text: str) -> Read:
    lines = text.split("\n")
    if re.match(r"\s*\d", lines[5]):
        lines.insert(5, lines[0])
    counts = [int(word) for word in lines[6].split()]
    start = 9 if lines[7].strip()[:1] in ("s", "S") else 8
    rows, rest = lines[start : start + sum(counts)], lines[start + sum(counts) :]
    if len(rows) < sum(counts) or any(len(row.split()) < 3 for row in rows):
        raise Inconsistent("counts")
    if re.match(r"(\s*[-\d.]+){3}", "".join(rest[:1])):
        raise Inconsistent("another atom follows")
    names = lines[5].split()
    if len(names) != len(counts):
        raise Inconsistent("names and counts")
    return [_known(name) for name, n in zip(names, counts, strict=True) for _ in range(n)], None


def _mol2(text: str) -> Read:
    head = text.split("@<TRIPOS>MOLECULE")[-1].split("\n")
    section = re.split("@<TRIPOS>", text.split("@<TRIPOS>ATOM")[-1])[0]
    rows = [line.split() for line in section.split("\n") if line.strip()]
    if int(head[2].split()[0]) != len(rows):
        raise Inconsistent("count")
    return [_known(row[5].split(".")[0]) for row in rows], _numbers([row[2:5] for row in rows])


def _cif(text: str) -> Read:
    loop = [part for part in text.split("loop_") if "_atom_site_" in part][-1].split("\n")
    body = [line for line in loop if line.strip() and not line.startswith("#")]
    names = [line.strip() for line in takewhile(lambda line: line.strip()[:1] == "_", body)]
    rows = [line.split() for line in takewhile(lambda line: line[0] != "_", body[len(names) :])]
    if re.search(r"^\s*'?-?[xyz][^\n]*\n\s*'?-?[xyz]", text, re.MULTILINE) or len(set(names)) < len(
        names
    ):
        raise LookupError("symmetry")
    if any(len(row) != len(names) for row in rows):
        raise Inconsistent("columns")
    column = names.index("_atom_site_type_symbol")
    return [_known(row[column]) for row in rows], None


READERS: dict[str, Callable[[str], Read]] = {
    ".xyz": lambda text: list(_xyz_frames(text))[-1][1],
    ".extxyz": lambda text: list(_xyz_frames(text))[-1][1],
    ".sdf": _sdf, ".mol": _sdf, ".pdb": _pdb, ".gro": _gro, ".vasp": _poscar, "": _poscar,
    ".mol2": _mol2, ".cif": _cif,
}  # fmt: skip


def difference(found: Read, expected: Read) -> str:
    """Return how atoms differ, "" if they are the same as far as `expected` is clear."""
    (symbols, positions), (wanted, places) = found, expected
    if len(symbols) != len(wanted):
        return f"{len(symbols)} atoms, expected {len(wanted)}"
    if None not in wanted and Counter(symbols) != Counter(wanted):
        return f"{Counter(symbols)}, expected {Counter(wanted)}"
    if places is not None and not np.allclose(positions, places, atol=1e-4):
        return "other positions"
    return ""


def _smiles_difference(smiles: str, symbols: list[str]) -> str:
    """Compare with RDKit's formula, and with the heavy atoms that the text itself has."""
    from rdkit import Chem
    from rdkit.Chem import rdMolDescriptors

    plain = rdMolDescriptors.CalcMolFormula(Chem.AddHs(Chem.MolFromSmiles(smiles)))
    formula = {s: int(n or 1) for s, n in re.findall(r"([A-Z][a-z]?)(\d*)", plain)}
    if formula != dict(Counter(symbols)):
        return f"{Counter(symbols)}, expected {plain}"
    heavy = re.findall(r"\[[^]]*\]|Cl|Br|[BCNOPSFIbcnops]", smiles)
    written = sum(not re.fullmatch(r"\[\d*HH?\d*[+-]?(:\d+)?\]", one) for one in heavy)
    if written != sum(symbol != "H" for symbol in symbols):
        return f"{written} heavy atoms in the text, not in {Counter(symbols)}"
    return ""


# --- verdicts ------------------------------------------------------------------------------------


def run_smiles(case: Case, folder: Path) -> str:
    from nnpipe.structures.checks import check_supported, check_supported_elements
    from nnpipe.structures.load import atomic_numbers, load_structure

    smiles = case.content.decode()
    numbers = atomic_numbers(smiles)
    check_supported_elements(numbers, ELEMENTS)
    atoms = load_structure(smiles)
    check_supported(atoms, ELEMENTS)
    if sorted(atoms.numbers) != sorted(numbers):
        return "atomic_numbers and load_structure differ"
    return _smiles_difference(smiles, list(atoms.symbols))


def run_structure(case: Case, folder: Path) -> str:
    from nnpipe.structures.checks import check_supported
    from nnpipe.structures.load import load_structure

    path = folder / case.name
    path.write_bytes(case.content)
    atoms = load_structure(str(path))
    check_supported(atoms, ELEMENTS)
    try:
        expected = READERS[path.suffix](_text(case.content))
    except Inconsistent as error:
        return f"accepted, but inconsistent: {error}"
    except (ValueError, LookupError):
        return ""  # not clear
    return difference((list(atoms.symbols), atoms.positions), expected)


def run_data(case: Case, folder: Path) -> str:
    from nnpipe.data.extxyz import read_extxyz

    path = folder / case.name
    path.write_bytes(case.content)
    chunks = list(read_extxyz(path))
    found = [
        ([chemical_symbols[z] for z in chunk.z[a:b]], chunk.pos[a:b], chunk.targets["energy"][row])
        for chunk in chunks
        for row, (a, b) in enumerate(pairwise(chunk.ptr))
    ]
    try:
        expected = [one for one in _xyz_frames(_text(case.content)) if len(one[1][0]) > 1]
    except Inconsistent as error:
        return f"accepted, but inconsistent: {error}"
    if len(found) != len(expected):
        return f"{len(found)} frames, expected {len(expected)}"
    for (symbols, positions, energy), (comment, frame) in zip(found, expected, strict=True):
        if reason := difference((symbols, positions), frame):
            return reason
        given = re.findall(r"(?:^|\s)energy=\"?([^\s\"]+)", comment)
        with contextlib.suppress(ValueError):
            if len(given) == 1 and not np.isclose(float(given[0]), energy, rtol=1e-9):
                return f"energy {energy}, expected {given[0]}"
    return ""


def run_config(case: Case, folder: Path) -> str:
    from snakemake.common.configfile import load_configfile
    from snakemake.utils import update_config
    from snakemake_interface_common.exceptions import WorkflowError

    from nnpipe.config import check_files
    from nnpipe.config.source import places
    from nnpipe.errors import InputError

    path = folder / case.name
    path.write_bytes(case.content)
    places(path)
    try:
        given = load_configfile(str(path))
    except WorkflowError as error:
        raise InputError(str(error)) from None
    config: dict[str, Any] = {}
    files = [path] if case.name == "config.yaml" else [ROOT / "config.yaml", path]
    if case.name != "config.yaml":
        config = load_configfile(str(files[0]))
        update_config(config, given)
    else:
        config = given
    check_files(config, files)
    for name, entry in config["molecules"].items():
        line = re.search(
            rf"^  {re.escape(name)}: ([^\s'\"&*!|>{{].*)$", _text(case.content), re.MULTILINE
        )
        if (
            line
            and isinstance(entry, str)
            and entry != (text := re.sub(r"\s+# .*", "", line[1]).strip())
        ):
            return f"molecules.{name} is {entry!r}, expected {text!r}"
    return ""


def run_command(case: Case, folder: Path) -> str:
    from snakemake.cli import parse_config
    from snakemake.common.configfile import load_configfile
    from snakemake.utils import update_config

    from nnpipe.config import check_files
    from nnpipe.config.command_line import as_typed
    from nnpipe.errors import InputError

    entries = case.content.decode().split("\0")
    try:
        given = parse_config(entries)
    except AssertionError:  # of Snakemake, for a text that YAML reads as a comment
        raise InputError("refused by Snakemake") from None
    config = load_configfile(str(ROOT / "config.yaml"))
    update_config(config, given)
    config = as_typed(config, entries)
    check_files(config, [ROOT / "config.yaml"], entries)
    for entry in entries:
        key, _, text = entry.partition("=")
        if key in ("smiles", "structure") and (
            config[key] != re.sub(r"\\+", r"\\", text.strip("'\""))
        ):
            return f"{key} is {config[key]!r}, expected {text!r}"
    # what a job gets: Snakemake passes the repr of an entry through a shell
    passed = [
        subprocess.run(["sh", "-c", f"printf %s {entry!r}"], capture_output=True, text=True).stdout
        for entry in entries
    ]
    again = load_configfile(str(ROOT / "config.yaml"))
    update_config(again, parse_config(passed))
    again = as_typed(again, passed)
    for key in ("smiles", "structure", "molecules", "md"):
        if again.get(key) != config.get(key):
            return f"a job gets {again.get(key)!r}, expected {config.get(key)!r}"
    return ""


JUDGES = {
    "config": run_config,
    "command": run_command,
    "smiles": run_smiles,
    "structure": run_structure,
    "data": run_data,
}


@contextlib.contextmanager
def _stderr_of_all(file: Any) -> Iterator[None]:
    """Write what this process writes on stdout and stderr, C++ code included, to a file."""
    kept = [os.dup(1), os.dup(2)]
    for target in (1, 2):
        os.dup2(file.fileno(), target)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for target, old in zip((1, 2), kept, strict=True):
            os.dup2(old, target)
            os.close(old)


def judge(case: Case) -> tuple[str, str]:
    """Return the verdict (ran, one line, bad) and its reason."""
    from nnpipe.errors import InputError

    records = StringIO()
    logging.basicConfig(stream=records, format="%(message)s", force=True)
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as output:
        try:
            with _stderr_of_all(output):
                reason = JUDGES[case.kind](case, Path(folder))
            verdict = ("bad", reason) if reason else ("ran", records.getvalue().strip())
        except InputError as error:
            message = str(error)
            bad = (
                "\n" in message
                or not message.strip()
                or len(message) > 1000 + 2 * len(case.content)
            )
            verdict = ("bad", f"several lines: {message}") if bad else ("one line", message)
        except Exception:
            verdict = "bad", traceback.format_exc(limit=-4)
        output.seek(0)
        if verdict[0] != "bad" and (noise := output.read().strip()):
            verdict = "bad", f"prints {noise[-400:]!r}"
    return verdict


def _work(
    connection: Any, judge: Callable[[Case], tuple[str, str]], imports: Sequence[str]
) -> None:
    for name in imports:
        import_module(name)
    connection.send("ready")
    while case := connection.recv():
        connection.send(judge(case))


def verdicts(
    cases: list[Case],
    judge: Callable[[Case], tuple[str, str]] = judge,
    seconds: float = SECONDS,
    imports: Sequence[str] = IMPORTS,
) -> Iterator[tuple[Case, str, str]]:
    """Yield each case with its verdict. A process of its own judges them: it may crash or hang."""
    context = multiprocessing.get_context("spawn")
    process = None
    for case in cases:
        if process is None:
            here, there = context.Pipe()
            process = context.Process(target=_work, args=(there, judge, imports), daemon=True)
            process.start()
            there.close()
            here.recv()
        here.send(case)
        try:
            if here.poll(seconds):
                yield case, *here.recv()
                continue
            reason = f"more than {seconds} s"
        except EOFError:
            process.join()
            reason = f"crash, exit code {process.exitcode}"
        process.kill()
        process.join()
        process = None
        yield case, "bad", reason
    if process:
        here.send(None)
        process.join()


def main() -> None:
    """Judge cases and print a table; write the bad ones to a folder."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=1000, help="number of cases of all kinds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS)
    parser.add_argument("--verbose", action="store_true", help="print every case")
    options = parser.parse_args()
    table: dict[str, Counter] = {kind: Counter() for kind in options.kinds}
    for kind in options.kinds:
        number = options.count // len(options.kinds)
        cases = [make_case(kind, 1_000_000 * options.seed + n) for n in range(number)]
        for case, verdict, reason in verdicts(cases):
            table[kind][verdict] += 1
            if verdict == "bad" or options.verbose:
                print(
                    f"{verdict}: {kind} {case.seed} {case.name}: {reason}\n  {case.content[:1500]}"
                )
                sys.stdout.flush()
    print("kind | cases | ran | one line | bad\n--- | --- | --- | --- | ---")
    for kind, counts in table.items():
        print(
            " | ".join(
                map(str, (kind, counts.total(), *(counts[v] for v in ("ran", "one line", "bad"))))
            )
        )


if __name__ == "__main__":
    main()
