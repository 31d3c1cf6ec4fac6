"""Structure files as users have them: read with all that they state, or refused in one line."""

import bz2
import gzip
import logging
import re
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.constraints import FixAtoms
from ase.io import read, write
from rdkit import Chem
from rdkit.Chem import rdDistGeom

from nnpipe.errors import InputError
from nnpipe.structures.file_names import is_structure_file
from nnpipe.structures.formats import read_structure
from nnpipe.structures.load import load_structure
from nnpipe.units import ASE_FS

ROWS = "O 0 0 0.119\nH 0 0.763 -0.477\nH 0 -0.763 -0.477\n"
WATER = f"3\n\n{ROWS}"
POSITIONS = np.array([[0, 0, 0.119], [0, 0.763, -0.477], [0, -0.763, -0.477]])


def extxyz(header: str, rows: str = ROWS) -> str:
    return f"3\n{header}\n{rows}"


def pdb(*names: str, element: bool = True, before: str = "", after: str = "END\n") -> str:
    """Records of water: `names` are the four columns of a name, or the columns 13 to 21."""
    rows = [
        f"HETATM{number:5d} {name:<5}{'HOH' if len(name) < 8 else '':<3} A   1    {x:8.3f}{y:8.3f}"
        f"{z:8.3f}  1.00  0.00          {name.strip(' 123')[0] if element else ' ':>2}\n"
        for number, (name, (x, y, z)) in enumerate(zip(names, POSITIONS, strict=True), 1)
    ]
    return before + "".join(rows) + after


def mol(header: str = "3D", rows: str = ROWS, properties: str = "") -> str:
    lines = [
        "{1:>10}{2:>10}{3:>10} {0:<3} 0  0\n".format(*row.split()) for row in rows.splitlines()
    ]
    block = f"water\n  hand    11292026{header:>4}\n\n  3  2  0  0  0  0  0  0  0  0999 V2000\n"
    return f"{block}{''.join(lines)}  1  2  1  0\n  1  3  1  0\n{properties}M  END\n"


def cif(elements: str = "O H H", occupancy: str = "1 1 1", group: str = "P 1") -> str:
    cell = "".join(f"_cell_length_{a} 12\n" for a in "abc")
    cell += "".join(f"_cell_angle_{a} 90\n" for a in ("alpha", "beta", "gamma"))
    places = ("0.2 0.5 0.5099", "0.2 0.5636 0.4602", "0.2 0.4364 0.4602")
    rows = zip(elements.split(), places, occupancy.split(), strict=True)
    names = "label", "fract_x", "fract_y", "fract_z", "occupancy"
    loop = "loop_\n" + "".join(f"_atom_site_{name}\n" for name in names)
    return f"data_water\n{cell}_symmetry_space_group_name_H-M '{group}'\n{loop}" + "".join(
        f"{name}{number} {place} {filled}\n" for number, (name, place, filled) in enumerate(rows, 1)
    )


def gro(names: str = "OW HW1 HW2", box: str = "0 0 0", velocities: str = "") -> str:
    rows = "".join(
        f"    1SOL  {name:>5}{number:5d}{x:9.4f}{y:9.4f}{z:9.4f}{velocities}\n"
        for number, (name, (x, y, z)) in enumerate(
            zip(names.split(), POSITIONS / 10, strict=True), 1
        )
    )
    return f"water\n3\n{rows}{box}\n"


def poscar(names: str = "O H", flags: str = "", after: str = "") -> str:
    cell = "12 0 0\n0 12 0\n0 0 12"
    kind = "Selective dynamics\nCartesian" if flags else "Cartesian"
    rows = "".join(
        f"{x} {y} {z} {flag}\n"
        for (x, y, z), flag in zip(POSITIONS, flags.split("/") if flags else 3 * [""], strict=True)
    )
    return f"water\n1.0\n{cell}\n{names}\n1 2\n{kind}\n{rows}{after}"


MOL2 = "@<TRIPOS>MOLECULE\nwater\n3 2 1 0 0\nSMALL\nUSER_CHARGES\n\n@<TRIPOS>ATOM\n" + "".join(
    f"{number} {kind}{number} {x} {y} {z} {kind} 1 WAT 0.0\n"
    for number, (kind, (x, y, z)) in enumerate(zip(["O.3", "H", "H"], POSITIONS, strict=True), 1)
)
METHYL = Chem.AddHs(Chem.MolFromSmiles("[CH3]"))
rdDistGeom.EmbedMolecule(METHYL, randomSeed=1)
METHANOL = Chem.AddHs(Chem.MolFromSmiles("[2H]C([2H])([2H])O"))
rdDistGeom.EmbedMultipleConfs(METHANOL, 2, randomSeed=1)
CELL = 'Lattice="{0} 0 0 0 {0} 0 0 0 {0}"'

# name, content; all are the same water
READ = [
    ("plain.xyz", WATER),
    ("numbers.xyz", WATER.replace("O", "8").replace("H", "1")),
    ("labels.xyz", WATER.replace("O", "O1").replace("H", "H2")),
    ("lower.xyz", WATER.lower()),
    ("windows.xyz", "\ufeff" + WATER.replace("\n", "\r\n")),
    ("mac.xyz", WATER.replace("\n", "\r")),
    ("tabs.xyz", WATER.replace(" ", "\t")),
    ("latin.xyz", extxyz("léger").encode("latin-1")),
    ("comment.xyz", extxyz("E = -76.4 'Hartree")),
    ("upper.EXTXYZ", WATER),
    ("packed.xyz.gz", gzip.compress(WATER.encode())),
    ("packed.sdf.bz2", bz2.compress(mol().encode())),
    ("water@home.xyz", WATER),
    ("{a} b/ü'c {d}.xyz", WATER),
    ("columns.extxyz", extxyz("Properties=Z:I:1:pos:R:3",
                              ROWS.replace("O", "8").replace("H", "1"))),
    ("frames.xyz", WATER.replace("0.119", "0.2") + "\n" + WATER),
    ("model.pdb", pdb(" O  ", " H1 ", " H2 ", before="MODEL        1\n", after="ENDMDL\nEND\n")),
    ("names.pdb", pdb(" OH ", " HA ", "2HB ", element=False)),
    ("left.ent", pdb("O   ", "H1  ", "HG11", element=False)),
    ("placeholder.pdb", pdb(" O  ", " H1 ", " H2 ", before="CRYST1    1.000    1.000    1.000  90.00  90.00  90.00 P 1           1\n")),  # noqa: E501
    ("mol.mol", mol()),
    ("two.sdf", 2 * (mol() + "$$$$\n")),
    ("tripos.mol2", MOL2),
    ("zero.gro", gro()),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content"), READ, ids=[name for name, _ in READ])
def test_a_file_of_water_is_water(name, content, tmp_path):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert is_structure_file(str(path))
    atoms = read_structure(str(path))
    assert atoms.get_chemical_symbols() == ["O", "H", "H"]
    np.testing.assert_allclose(atoms.positions, POSITIONS, atol=6e-4)
    assert not atoms.pbc.any()
    assert not atoms.has("masses")
    assert not atoms.has("momenta")


@pytest.mark.parametrize(
    ("name", "content", "masses"),
    [
        ("d.xyz", WATER.replace("H", "D"), [15.999, 2.014, 2.014]),
        ("t.extxyz", extxyz("charge=0", ROWS.replace("H", "T")), [15.999, 3.016, 3.016]),
        ("isotopes.xyz", WATER.replace("O", "18O"), [17.999, 1.008, 1.008]),
        ("d.pdb", pdb(" O  ", " D1 ", " D2 "), [15.999, 2.014, 2.014]),
        ("d.cif", cif("O D H"), [15.999, 2.014, 1.008]),
        ("symmetry.cif", cif("O D T", group="P -1"), 2 * [15.999] + 2 * [2.014] + 2 * [3.016]),
        ("d.sdf", mol(rows=ROWS.replace("H", "D")), [15.999, 2.014, 2.014]),
        ("iso.sdf", mol(properties="M  ISO  1   2   3\n"), [15.999, 3.016, 1.008]),
        ("d.mol2", MOL2.replace(" H ", " D "), [15.999, 2.014, 2.014]),
        ("d.poscar", poscar("O D"), [15.999, 2.014, 2.014]),
        ("masses.extxyz", extxyz("Properties=species:S:1:pos:R:3:masses:R:1",
                                 ROWS.replace("\n", " 4.0\n")), 3 * [4.0]),
    ],
)  # fmt: skip
def test_masses_of_isotopes_are_kept(name, content, masses, tmp_path):
    (tmp_path / name).write_text(content)
    atoms = load_structure(str(tmp_path / name))
    np.testing.assert_allclose(atoms.get_masses(), masses, atol=1e-3)
    assert set(atoms.get_chemical_symbols()) == {"O", "H"}
    write(tmp_path / "start.xyz", atoms, format="extxyz")
    np.testing.assert_allclose(read(tmp_path / "start.xyz").get_masses(), masses, atol=1e-3)


def test_v3000_and_models_of_rdkit_are_read(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    (tmp_path / "v3000.mol").write_text(Chem.MolToV3KMolBlock(METHANOL, confId=1))
    (tmp_path / "models.pdb").write_text(Chem.MolToPDBBlock(METHANOL))
    for name in ("v3000.mol", "models.pdb"):
        atoms = read_structure(str(tmp_path / name))
        assert atoms.get_chemical_formula() == "CH4O"
        expected = METHANOL.GetConformer(1).GetPositions()
        np.testing.assert_allclose(atoms.positions, expected, atol=6e-4)
    assert caplog.messages == [f"{tmp_path}/models.pdb: the last of 2 frames is taken"]


@pytest.mark.parametrize("number", ["1,5", "1.5.2", "--1", "1 5", "1_0", "x"])
def test_mol_files_with_positions_that_are_not_numbers_are_refused(number, tmp_path):
    """RDKit reads the digits up to the first other character."""
    path = tmp_path / "a.mol"
    for text, old in (
        (Chem.MolToMolBlock(METHANOL, confId=1), r"(?<=\n) *-?\d+\.\d+(?= .*C  )"),
        (Chem.MolToV3KMolBlock(METHANOL, confId=1), r"(?<=V30 2 C )\S+"),
    ):
        path.write_text(re.sub(old, number.rjust(10), text, count=1))
        assert path.read_text() != text
        with pytest.raises(
            InputError, match=r"a\.mol: (atom 1: .* is not a number|molecule 1 is|.*no integer)"
        ):
            read_structure(path)


def test_cells_are_kept(tmp_path):
    for name, content in (
        ("a.cif", cif()),
        ("POSCAR", poscar()),
        ("CONTCAR.relaxed", poscar()),
        ("old.vasp", poscar("").replace("water\n", "O H\n").replace("\n\n", "\n")),
        ("a.gro", gro(box="1.2 1.2 1.2")),
        ("a.extxyz", extxyz(CELL.format(12))),
        ("a.pdb", pdb(" O  ", " H  ", " H  ", before="CRYST1   12.000   12.000   12.000  90.00  90.00  90.00 P 1\n")),  # noqa: E501
    ):  # fmt: skip
        (tmp_path / name).write_text(content)
        atoms = read_structure(str(tmp_path / name))
        assert atoms.get_chemical_formula() == "H2O"
        assert atoms.pbc.all()
        np.testing.assert_allclose(atoms.cell, 12 * np.eye(3), atol=1e-9)
        assert atoms.get_distance(0, 1) == pytest.approx(0.968, abs=2e-3)


def test_constraints_and_velocities_reach_the_starting_structure(tmp_path):
    water = Atoms("OHH", POSITIONS, constraint=FixAtoms([0]))
    water.set_momenta([[0, 0, 0], [0.1, 0, 0.2], [0, -0.3, 0]])
    water.info["comment"] = "not kept"
    write(tmp_path / "in.extxyz", water)
    write(tmp_path / "out.xyz", load_structure(str(tmp_path / "in.extxyz")), format="extxyz")
    start = read(tmp_path / "out.xyz")
    np.testing.assert_allclose(start.get_momenta(), water.get_momenta(), atol=1e-8)
    assert start.constraints[0].index.tolist() == [0]
    assert "comment" not in start.info
    rows = ROWS.replace("\n", " T T T\n").replace("T", "F", 3)
    mask = extxyz("Properties=species:S:1:pos:R:3:move_mask:L:3", rows)
    (tmp_path / "mask.extxyz").write_text(mask)
    fixed = read_structure(str(tmp_path / "mask.extxyz")).constraints
    assert [constraint.index.tolist() for constraint in fixed] == [[0]]
    # nm/ps of Gromacs and Å/fs of VASP
    (tmp_path / "a.gro").write_text(gro(velocities="  0.50000  0.00000  0.00000"))
    (tmp_path / "POSCAR").write_text(
        poscar(flags="F F F/T T T/T T T", after="\n" + 3 * "0.005 0 0\n")
    )
    for name, first in (("a.gro", 0.005 / ASE_FS), ("POSCAR", 0.0)):
        atoms = read_structure(str(tmp_path / name))
        velocities = atoms.get_velocities()
        np.testing.assert_allclose(velocities[:, 0], [first, 0.005 / ASE_FS, 0.005 / ASE_FS])
    assert atoms.constraints[0].index.tolist() == [0]


def test_charge_and_spin_are_kept(tmp_path):
    for name, content, charge, spin in (
        ("a.sdf", mol(properties="M  CHG  1   1  -1\n"), -1, None),
        ("b.mol", Chem.MolToMolBlock(METHYL), None, 2),
        ("c.xyz", extxyz("charge=1 spin=2"), 1, 2),
        ("d.xyz", extxyz("charge 1"), None, None),
        ("e.mol2", MOL2.replace("0.0\n", "0.333\n"), 1, None),
        ("f.pdb", pdb(" O  ", " H  ", " H  ").replace(" O\n", " O1-\n"), -1, None),
    ):
        (tmp_path / name).write_text(content)
        atoms = read_structure(str(tmp_path / name))
        assert (atoms.info.get("charge"), atoms.info.get("spin")) == (charge, spin), name


def test_elements_of_labels(tmp_path):
    for row, element in (
        ("HETATM    1 CA    CA A   1", "Ca"),
        ("ATOM      1  CA  GLY A   1", "C"),
        ("ATOM      1 CA   GLY A   1", "C"),
        ("HETATM    1 FE   HEM A   1", "Fe"),
        ("HETATM    1 HO5' LIG A   1", "H"),
        ("HETATM    1 CL1  LIG A   1", "Cl"),
    ):
        (tmp_path / "a.pdb").write_text(f"{row}       0.000   0.000   0.000\n")
        assert str(read_structure(str(tmp_path / "a.pdb")).symbols) == element
    for label, residue, element in (
        ("CA", "GLY", "C"), ("CA", "CA", "Ca"), ("NA", "NA+", "Na"), ("CL1", "LIG", "Cl"),
        ("SD", "MET", "S"), ("HG", "SER", "H"), ("Cl", "LIG", "Cl"),
    ):  # fmt: skip
        (tmp_path / "a.gro").write_text(
            f"\n1\n    1{residue:<5}{label:>5}    1   0.000   0.000   0.000\n0 0 0\n"
        )
        assert str(read_structure(str(tmp_path / "a.gro")).symbols) == element


def test_one_alternate_location_is_taken(tmp_path, caplog):
    rows = pdb(" O  ", " H1 ", " H2 ", after="").splitlines()
    lower = [row[:16] + "A" + row[17:54] + "  0.40" + row[60:] for row in rows[1:]]
    higher = [row[:16] + "B" + row[17:54] + "  0.60" + row[60:] for row in rows[1:]]
    moved = [row[:30] + "   1.000" + row[38:] for row in lower]
    path = tmp_path / "a.pdb"
    path.write_text("\n".join([rows[0], *moved, *higher]))
    np.testing.assert_allclose(read_structure(str(path)).positions, POSITIONS)
    assert "B in residue A   1 is taken" in caplog.text.replace("A 1", "A   1")
    path.write_text("\n".join([rows[0], *lower]).replace(" 1A", " 1 "))
    assert len(read_structure(str(path))) == 3


# name, content, message
REFUSED = [
    ("a.txt", WATER, r"unknown format; known: \.xyz \.extxyz \.pdb .* POSCAR \.gz \.bz2 \.xz"),
    ("water", WATER, "unknown format; known"),
    ("empty.xyz", "\n \n", "the file is empty"),
    ("binary.xyz", bytes(range(256)), "binary data, or text in UTF-16"),
    ("binary.sdf", bytes(range(1, 256)), "molecule 1 is empty, cut, or not a mol block"),
    ("not.xyz.gz", WATER, r"not readable as \.xyz \(Not a gzipped file"),
    ("cut.xyz.gz", gzip.compress(WATER.encode())[:-9], "Compressed file ended"),
    ("page.xyz", "<!DOCTYPE html>\n", "line 1: '<!DOCTYPE html>' is not a number of atoms"),
    ("cut.xyz", WATER[: WATER.rindex("H")].strip(), "line 1: 2 of 3 atoms follow; the file is cut"),
    ("line.xyz", WATER[:-8], "line 5: 3 of 4 columns"),
    ("none.xyz", "0\n\n", "line 1: a frame without atoms"),
    ("comma.xyz", WATER.replace(".", ","), "line 3: '0,119' is not a number; write a decimal"),
    ("dummy.xyz", WATER.replace("O", "X"), "'X' is not an element or isotope"),
    ("isotope.xyz", WATER.replace("H", "9H"), "'9H' is not an element or isotope"),
    ("far.xyz", WATER.replace("0.119", "1e300"), r"1e\+300 Å is above 10000 Å"),
    ("nan.xyz", WATER.replace("0.119", "nan"), "positions: a value is not finite"),
    ("huge.extxyz", extxyz(CELL.format("1e9")), r"1e\+09 Å is above 10000 Å"),
    ("nan.extxyz", extxyz(CELL.format("nan")), "cell: a value is not finite"),
    ("thin.extxyz", extxyz(CELL.format("0.01")), r"the cell is 0\.01 Å thin"),
    ("cell.extxyz", extxyz('pbc="T T T"'), "periodic, but no cell; give the cell"),
    ("mass.extxyz", extxyz("Properties=species:S:1:pos:R:3:masses:R:1",
                           ROWS.replace("\n", " 0\n")), "a mass of 0 amu"),
    ("velocity.extxyz", extxyz("Properties=species:S:1:pos:R:3:velo:R:3",
                               ROWS.replace("\n", " 0 0 1\n")), "'velo' has no unit; name it mom"),
    ("layout.extxyz", extxyz("Properties=species:S:1:pos:R"), "is not a list of name:type:number"),
    ("axis.extxyz", extxyz("Properties=species:S:1:pos:R:3:move_mask:L:3",
                           ROWS.replace("\n", " T T F\n")), "atom 0 is fixed along one or two"),
    ("atoms.gro", gro().replace("\n3\n", "\nx\n"), "line 2: 'x' is not a number of atoms"),
    ("two.xyz", WATER + "1\n\nHe 0 0 0\n", "frame 1 is H2O, frame 2 is He; write one of them"),
    ("two.sdf", mol() + "$$$$\n" + Chem.MolToMolBlock(METHYL), "frame 1 is H2O, frame 2 is CH3"),
    ("sketch.sdf", Chem.MolToMolBlock(Chem.MolFromSmiles("CCO")), "a drawing in two dimensions"),
    ("sketch.mol", mol("2D").replace("0.119", "0.000").replace("-0.477", "0.000 "), "a drawing"),
    ("cut.sdf", mol()[:200], "molecule 1 is empty, cut, or not a mol block"),
    ("free.pdb", "HETATM 1 O HOH 0 0 0\n", "columns 31-38 of .* is not a number"),
    ("none.pdb", "REMARK\nEND\n", "no ATOM or HETATM record"),
    ("half.pdb", pdb(" O  ", " H  ", " H  ").replace("1.00", "0.50", 1), "O   HOH A   1 has occup"),
    ("group.pdb", pdb(" O  ", " H  ", " H  ", before="CRYST1   12.000   12.000   12.000  90.00  90.00  90.00 P 21 21 21    4\n"),  # noqa: E501
     "space group P 21 21 21, of which the file holds a part only"),
    ("half.cif", cif(occupancy="1 0.5 0.5"), r"atom H2 has occupancy 0\.5; keep one set of atoms"),
    ("unknown.cif", cif().replace("0.5636", "?"), r"atom H2 has y = '\?'"),
    ("row.cif", cif().replace("0.5636", ""), "Wrong number"),
    ("cell.cif", cif().replace("_cell_length_a 12", ""), "fractional coordinates, but no cell"),
    ("mm.cif", "data_x\nloop_\n_atom_site.id\n1\n", "no loop of _atom_site; write mmCIF as PDB"),
    ("text.cif", "hello\n", r"not readable as \.cif \(unexpected text\)"),
    ("cut.mol2", MOL2.replace("3 2", "4 2", 1), "3 atoms follow @<TRIPOS>ATOM, .* says 4; correct"),
    ("one.cif", cif().replace("0.4364", "0.5636"), "atom H3 is at the place of another atom"),
    ("number.vasp", poscar().replace("0.0 0.763 -0.477", "3"), "position 2: '' is not a number"),
    ("more.vasp", poscar().replace("\n1 2\n", "\n1 1\n"), "more than 2 positions follow line 7"),
    ("gaff.mol2", MOL2.replace(" O.3 ", " oh "), "has no SYBYL atom type"),
    ("none.mol2", "water\n", "no section @<TRIPOS>ATOM"),
    ("site.gro", gro("OW HW1 MW"), "label 'MW' begins with no element"),
    ("cut.gro", gro()[:100], "the file is cut"),
    ("named.vasp", poscar("1 2"), "'water' is not an element|lines 6 and 7 are not elements"),
    ("scaled.vasp", poscar(flags="T T F/T T T/T T T"), "constraint FixScaled; only whole"),
    ("short.vasp", poscar()[:28], "lines 6 and 7 are not elements and their numbers"),
    ("cut.vasp", poscar()[:-20], "3 positions do not follow line 7; the file is cut"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "message"), REFUSED, ids=[row[0] for row in REFUSED])
def test_a_file_that_cannot_be_simulated_is_refused_in_one_line(name, content, message, tmp_path):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=message) as caught:
        load_structure(str(path))
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    assert len(text) < 400


def test_every_cut_of_a_file_is_read_or_refused(tmp_path):
    rng = np.random.default_rng(0)
    for name, content in (
        ("a.xyz", WATER), ("a.extxyz", extxyz(CELL.format(12))), ("a.pdb", pdb(*3 * [" O  "])),
        ("a.cif", cif()), ("a.sdf", mol()), ("a.mol2", MOL2), ("a.gro", gro()),
        ("POSCAR", poscar()),
    ):  # fmt: skip
        for _ in range(30):
            data = bytearray(content.encode()[: rng.integers(len(content))])
            if len(data):
                data[rng.integers(len(data))] = rng.integers(1, 256)
            (tmp_path / name).write_bytes(data)
            with suppress(InputError):
                load_structure(str(tmp_path / name))


def test_a_host_without_rdkit_leaves_the_file_to_the_rule(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rdkit", None)
    (tmp_path / "a.sdf").write_text(mol())
    with pytest.raises(ImportError):
        read_structure(tmp_path / "a.sdf")


def test_paths_are_told_from_smiles(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("CO").write_text(WATER)
    Path("C").mkdir()
    smiles = ["C/C=C/C", r"F/C=C\F", "N.N", "C[C@H](N)O", "[2H]O[2H]", "[13CH4].O", "C", "CC(", ""]
    for text in [*smiles, "CO", 300 * "C", "c1ccccc1.Br", "[Na+].[Cl-]"]:
        assert not is_structure_file(text), text
    paths = ["./CO", "a/b", "./C.xyz", "no.such", "~/a.xyz", "a b.sdf", "POSCAR", "run/CONTCAR"]
    for text in paths:
        assert is_structure_file(text), text
    Path("folder").mkdir()
    for text, message in (
        ("folder", "folder: a directory, not a structure file; name a file in it"),
        ("no.such", "no.such: no such structure file, and not a SMILES; correct the path"),
        ("~/no.xyz", "~/no.xyz: no such structure file; write ~ in full"),
        ("no.xyz", "no.xyz: no such structure file; correct the path"),
    ):
        with pytest.raises(InputError) as caught:
            load_structure(text)
        assert str(caught.value) == message
