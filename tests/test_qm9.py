"""QM9 in both of its published formats."""

import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from conftest import DATA
from nnpipe import units
from nnpipe.data import qm9, store
from nnpipe.data.molecules import Molecules, read_molecules, write_molecules
from nnpipe.data.qm9 import UNITS, read_archive, read_qm9pack, read_uncharacterized
from nnpipe.errors import InputError


def of(molecules: Molecules, index: int) -> int:
    (row,) = np.flatnonzero(molecules.index == index)
    return int(row)


def test_qm9_formats_give_the_same_table_bit_for_bit(tmp_path):
    with tarfile.open(DATA / "qm9.tar.bz2") as tar:
        assert b"*^-6" in tar.extractfile("dsgdb9nsd_002693.xyz").read()
    paths = tmp_path / "archive", tmp_path / "mirror"
    write_molecules(read_archive(DATA / "qm9.tar.bz2"), paths[0], UNITS, {})
    write_molecules(read_qm9pack(DATA / "qm9pack.zip"), paths[1], UNITS, {})
    (first, _), (second, _) = (store.read(path, "molecules") for path in paths)
    assert first.keys() == second.keys()
    for name in first:
        assert first[name].tobytes() == second[name].tobytes(), name


def test_qm9_methane_has_published_values(molecules):
    assert molecules.index[0] == 1
    assert molecules.smiles[0] == "C"
    assert molecules.z[:5].tolist() == [6, 1, 1, 1, 1]
    assert molecules.targets["u0"][0] == pytest.approx(-1101.48780, abs=5e-6)
    atoms = sum(qm9.ATOM_U0_HARTREE[z] for z in molecules.z[:5].tolist()) * units.HARTREE
    assert molecules.targets["u0"][0] - atoms == pytest.approx(-17.17218, abs=5e-6)
    assert molecules.targets["energy"][0] == pytest.approx(-1101.48780 - 1.217682, abs=1e-5)
    assert molecules.targets["alpha"][0] == pytest.approx(13.21 * 0.148184711, rel=1e-6)
    assert molecules.pos[0].tolist() == [-0.0126981359, 1.0858041578, 0.0080009958]
    bonds = np.linalg.norm(molecules.pos[1:5] - molecules.pos[0], axis=1)
    np.testing.assert_allclose(bonds, 1.0919, atol=1e-3)


def test_qm9_reads_exponents_of_mathematica(molecules):
    first = molecules.ptr[of(molecules, 2693)]
    assert molecules.pos[first + 1, 0] == -8.7796e-6


@pytest.mark.parametrize(("index", "modes"), [(4, 7), (5, 4), (24, 10), (1, 9)])
def test_qm9_linear_molecules_have_one_more_mode(molecules, index, modes):
    row = of(molecules, index)
    assert np.diff(molecules.frequency_ptr)[row] == modes


def test_qm9_zero_point_energy_is_half_the_sum_of_frequencies(molecules):
    """QM9 lists two sets of frequencies for 334 molecules; the second is the set at the minimum."""
    for row in range(len(molecules)):
        frequencies = molecules.frequencies[slice(*molecules.frequency_ptr[row : row + 2])]
        zpve = 0.5 * frequencies[frequencies > 0].sum() * units.INVERSE_CM
        if molecules.index[row] not in qm9.SADDLE_POINTS:
            assert zpve == pytest.approx(molecules.targets["zpve"][row], abs=2e-5), row
    row = of(molecules, 29)
    assert molecules.frequencies[molecules.frequency_ptr[row]] == 23.6091


def test_qm9_excludes_uncharacterized_molecules(tmp_path, molecules):
    listed = tmp_path / "uncharacterized.txt"
    listed.write_text(
        "==========\n Index  SMILES\n2 of the table\n----------\n"
        "     2   N     InChI=1S/H3N/h1H3\n   118   CC#CCO   x\n==========\n    2 molecules\n"
    )
    # a line of the header that starts with a number counts, but its number occurs once
    assert read_uncharacterized(listed) == {2, 118}
    kept = np.concatenate([c.index for c in read_archive(DATA / "qm9.tar.bz2", {2, 118})])
    assert kept.tolist() == [i for i in molecules.index.tolist() if i not in (2, 118)]


def repack(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:bz2") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture(scope="module")
def members() -> dict[str, bytes]:
    with tarfile.open(DATA / "qm9.tar.bz2") as tar:
        return {m.name: tar.extractfile(m).read() for m in tar.getmembers()[:4]}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"gdb 3\t", b"gdb\t", "not in QM9's xyz format"),
        (b"O\t", b"Si\t", "element 'Si' is not one of H C N O F"),
        (b"1671.4222\t", b"", "frequencies for 3 atoms"),
        (b"-76.404702", b"nan", "a number is missing"),
        (b"gdb 3\t", b"gdb 1\t", "tar --sort=name"),
    ],
)
def test_qm9_error_names_the_damaged_member(tmp_path, members, old, new, message):
    name = "dsgdb9nsd_000003.xyz"
    assert old in members[name]
    path = repack(tmp_path / "x.tar.bz2", members | {name: members[name].replace(old, new, 1)})
    with pytest.raises(InputError, match=message) as caught:
        list(read_archive(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_qm9_truncated_archive_writes_nothing(tmp_path):
    path = tmp_path / "cut.tar.bz2"
    path.write_bytes((DATA / "qm9.tar.bz2").read_bytes()[:100_000])
    with pytest.raises(InputError, match=r"cut\.tar\.bz2: damaged or not complete"):
        write_molecules(read_archive(path), tmp_path / "out", UNITS, {})
    assert {p.name for p in tmp_path.iterdir()} == {"cut.tar.bz2"}


def test_molecules_table_reads_back(tables, molecules):
    table, header = read_molecules(tables[0])
    assert len(table) == 400
    assert table.smiles[:4] == ["C", "N", "O", "C#C"]
    assert header["units"]["energy"] == "eV"
    assert set(table.targets) == set(UNITS)


def test_qm9_refuses_invalid_numbers(tmp_path):
    """Coordinates that are not finite, and texts that are not numbers."""
    for bad in ("nan", "abc"):
        folder = tmp_path / bad
        with tarfile.open(DATA / "qm9.tar.bz2") as whole, pytest.raises(InputError) as caught:
            text = whole.extractfile(whole.next()).read().decode()
            lines = text.splitlines()
            atom = lines[2].split()
            lines[2] = " ".join([atom[0], bad, *atom[2:]])
            folder.mkdir()
            (folder / "dsgdb9nsd_000001.xyz").write_text("\n".join(lines))
            with tarfile.open(folder / "q.tar", "w") as tar:
                tar.add(folder / "dsgdb9nsd_000001.xyz", "dsgdb9nsd_000001.xyz")
            list(read_archive(folder / "q.tar"))
        assert "a number is missing" in str(caught.value)


def test_qm9pack_error_tells_another_wheel_from_an_unknown_element(tmp_path):
    """An unknown element is reported as such, and not as a damaged wheel."""
    other = tmp_path / "other.whl"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("some.txt", "text")
    with pytest.raises(InputError, match="not the wheel of qm9pack"):
        list(read_qm9pack(other))
    changed = tmp_path / "changed.whl"
    with zipfile.ZipFile(DATA / "qm9pack.zip") as whole, zipfile.ZipFile(changed, "w") as archive:
        for name in whole.namelist():
            archive.writestr(name, whole.read(name).replace(b"'C'", b"'Xx'"))
    with pytest.raises(InputError, match="element 'Xx' is not one of") as caught:
        list(read_qm9pack(changed))
    assert "damaged" not in str(caught.value)
