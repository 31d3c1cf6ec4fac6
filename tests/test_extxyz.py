"""Data sets in extended xyz: what is read, what is refused, and a run of the workflow."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from ase import Atoms
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write

from conftest import distorted
from helpers import ROOT, copy_to, snakemake
from nnpipe.config import check
from nnpipe.data.extxyz import convert_extxyz, read_extxyz
from nnpipe.data.molecules import read_molecules
from nnpipe.data.neighbour_table import write_neighbours
from nnpipe.data.qm9 import read_manifest
from nnpipe.data.sources import is_extxyz
from nnpipe.data.splits import (
    check_training_elements,
    read_split,
    smallest_molecules,
    warn_of_duplicates,
    write_split,
)
from nnpipe.errors import InputError
from nnpipe.graphs.dataset import load_dataset
from nnpipe.runtime.files import sha256
from nnpipe.training.atomic_references import atomic_references


def manifest(tmp_path, frames) -> tuple:
    path = tmp_path / "mine.extxyz"
    write(path, frames, format="extxyz")
    content = {"canonical": False, "files": [{"path": str(path), "sha256": sha256(path)}]}
    (tmp_path / "raw.json").write_text(json.dumps(content))
    return tmp_path / "raw.json", tmp_path / "mine.safetensors"


def test_extxyz_keeps_the_order_of_frames(tmp_path):
    frames = [*distorted("CCO", 2), *distorted("O", 1)]
    convert_extxyz(*manifest(tmp_path, frames))
    table, header = read_molecules(tmp_path / "mine.safetensors")
    assert header["units"] == {"energy": "eV"}
    np.testing.assert_array_equal(table.index, [1, 2, 3])
    np.testing.assert_array_equal(table.ptr, [0, 9, 18, 21])
    known = [frame.get_potential_energy() for frame in frames]
    np.testing.assert_allclose(table.targets["energy"], known)
    forces = np.concatenate([frame.get_forces() for frame in frames])
    np.testing.assert_allclose(table.forces, forces, atol=1e-7)
    write_neighbours(table, 5.0, tmp_path / "pairs", {"molecules": header["digest"]})
    data = load_dataset(tmp_path / "mine.safetensors", tmp_path / "pairs", [2, 0], "energy", 4.0)
    expected = np.concatenate([forces[18:], forces[:9]])
    np.testing.assert_allclose(data.force_labels(torch.arange(2)), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("energy", "length", "ev", "angstrom"),
    [
        ("Hartree", "Bohr", 27.211386, 0.529177),
        ("kcal/mol", "Ang", 0.0433641, 1.0),
        ("kJ/mol", "Ang", 0.01036427, 1.0),
    ],
)
def test_extxyz_converts_units(tmp_path, energy, length, ev, angstrom):
    water = molecule("H2O")
    water.positions /= angstrom
    water.calc = SinglePointCalculator(water, energy=-76.0, forces=np.full((3, 3), 0.1))
    convert_extxyz(*manifest(tmp_path, [water]), energy_unit=energy, length_unit=length)
    table, _ = read_molecules(tmp_path / "mine.safetensors")
    np.testing.assert_allclose(table.pos, molecule("H2O").positions, atol=1e-6)
    assert table.targets["energy"][0] == pytest.approx(-76 * ev, rel=1e-6)
    np.testing.assert_allclose(table.forces, 0.1 * ev / angstrom, rtol=1e-5)


def test_extxyz_reads_other_keys_and_energies_without_forces(tmp_path):
    water = molecule("H2O")
    water.info["REF_energy"] = -14.0
    convert_extxyz(*manifest(tmp_path, [water]), energy="REF_energy")
    table, _ = read_molecules(tmp_path / "mine.safetensors")
    assert table.targets["energy"].tolist() == [-14.0]
    assert table.forces is None


def test_extxyz_warns_of_a_wrong_length_unit(tmp_path, caplog):
    path, out = manifest(tmp_path, distorted("CCO", 2))
    convert_extxyz(path, out)
    assert not caplog.messages
    convert_extxyz(path, out, length_unit="Bohr")
    assert "frame 1: atoms are 0.5" in caplog.messages[0]


def broken(kind: str) -> list[Atoms]:
    frames = distorted("CO", 2)
    last = frames[1]
    if kind == "no energy":
        last.calc = None
    elif kind == "no forces":
        last.calc = SinglePointCalculator(last, energy=1.0)
    elif kind == "nan":
        last.calc = SinglePointCalculator(last, energy=np.nan, forces=np.zeros((6, 3)))
    elif kind == "crystal":
        last.cell, last.pbc = np.eye(3) * 9, True
    elif kind == "overlap":
        last.positions[5] = last.positions[4] + [0.1, 0, 0]
    elif kind == "Bohr":
        for frame in frames:
            frame.positions *= 0.3
    elif kind == "forces of another name":
        for frame in frames:
            frame.info["energy"] = 1.0
            frame.set_array("REF_forces", frame.get_forces())
            frame.calc = None
    elif kind in ("energy of another name", "bare energy"):
        for frame in frames[kind == "bare energy" :]:
            frame.info["dft_energy" if kind[0] == "e" else "-154.5"] = kind[0] == "b" or -154.5
            frame.calc = None
    elif kind == "two errors":
        frames[0].calc = SinglePointCalculator(frames[0], energy=np.nan, forces=np.zeros((6, 3)))
        last.positions[5] = last.positions[4] + [0.1, 0, 0]
    elif kind == "empty":
        return []
    return frames


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("no energy", "frame 2 of 2: no 'energy'; add energy=... to the comment line"),
        (
            "no forces",
            "frame 2 of 2: no 'forces', unlike the frames before; add the missing forces",
        ),
        (
            "forces of another name",
            "all 2 frames: no 'forces', but REF_forces; set data.extxyz.forces to the key",
        ),
        ("energy of another name", "all 2 frames: no 'energy', but dft_energy; set data.extxyz.en"),
        ("bare energy", "frame 2 of 2: the comment is a bare number; write energy=-154.5 in its"),
        ("nan", "frame 2 of 2: energy not finite; remove the frame"),
        ("crystal", "frame 2 of 2: periodic; training supports molecules only"),
        ("overlap", "frame 2 of 2: atoms 4 and 5 are 0.10 Å apart; remove the frame"),
        ("two errors", "frame 1 of 2: energy not finite; remove the frame. frame 2 of 2: atoms 4"),
        ("Bohr", "set data.extxyz.length_unit to the unit of the positions"),
        ("empty", "mine.extxyz: no frames"),
    ],
)
def test_extxyz_error_names_file_and_frame(tmp_path, kind, message):
    with pytest.raises(InputError) as caught:
        convert_extxyz(*manifest(tmp_path, broken(kind)))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "mine.safetensors").exists()


def test_extxyz_refuses_a_torn_file(tmp_path):
    path = tmp_path / "torn.extxyz"
    write(path, distorted("CO", 3), format="extxyz")
    path.write_text(path.read_text()[:-150])
    with pytest.raises(InputError, match=r"torn\.extxyz: after frame 2: not in extended xyz"):
        list(read_extxyz(path))


@pytest.mark.parametrize("count", ["9", "99999999999999999999", "-1", "x"])
def test_extxyz_refuses_a_wrong_number_of_atoms(tmp_path, count):
    path = tmp_path / "wrong.extxyz"
    write(path, distorted("CO", 1), format="extxyz")
    path.write_text(count + path.read_text()[1:])
    with pytest.raises(InputError, match=r"wrong\.extxyz: after frame 0: not in extended xyz"):
        list(read_extxyz(path))


def labelled(frames: list[Atoms], energy: float, forces: float) -> list[Atoms]:
    """Copies of frames with energies and forces times factors."""
    copies = []
    for frame in frames:
        values = {"energy": frame.get_potential_energy(), "forces": frame.get_forces()}
        copied = frame.copy()
        copied.calc = SinglePointCalculator(
            copied, energy=energy * values["energy"], forces=forces * values["forces"]
        )
        copies.append(copied)
    return copies


@pytest.mark.parametrize(
    ("energy", "forces", "settings", "remedy"),
    [
        (1, 1, {}, None),
        (
            1,
            -1,
            {},
            "as gradients would; if energy_unit is right, set data.extxyz.force_unit to -eV/Ang",
        ),
        (1, -1, {"force_unit": "-eV/Ang"}, None),
        (
            1,
            23.06,
            {},
            "kcal/mol/Ang would; if energy_unit is right, set data.extxyz.force_unit to kcal/mol",
        ),
        (1, -1 / 27.211, {}, "set data.extxyz.force_unit to -Hartree/Ang"),
        (1, 8.0, {}, "check data.extxyz.energy_unit, length_unit and force_unit"),
        (1 / 27.211, 0.5292 / 27.211, {"energy_unit": "Hartree"}, "force_unit to Hartree/Bohr"),
        (1 / 27.211, 0.5292 / 27.211, {"energy_unit": "Ha", "force_unit": "Hartree/Bohr"}, None),
    ],
)
def test_forces_that_contradict_energies(tmp_path, caplog, energy, forces, settings, remedy):
    """Differences of energies between near geometries are forces times displacements."""
    frames = labelled([*distorted("O", 8), *distorted("CO", 8)], energy, forces)
    path, out = manifest(tmp_path, frames)
    convert_extxyz(path, out, **settings)
    assert [remedy in line for line in caplog.messages] == ([] if remedy is None else [True])


def test_forces_are_not_judged_where_geometries_are_far_apart(tmp_path, caplog):
    """Isomers have the same atoms in the same order."""
    frames = labelled([*distorted("CCO", 1), *distorted("COC", 1)] * 4, 1, -1)
    for number, frame in enumerate(frames):
        frame.rotate(40 * number, "z")
    convert_extxyz(*manifest(tmp_path, frames))
    assert not caplog.messages


def test_all_bad_frames_are_named(tmp_path):
    frames = distorted("O", 30)
    for number in range(3, 27, 2):
        frame = frames[number - 1]
        frame.calc = SinglePointCalculator(frame, energy=np.nan, forces=np.zeros((3, 3)))
    line = r"frames 3, 5, 7, 9, 11, 13, 15, 17, 19, 21 and 2 more of 30: energy not finite"
    with pytest.raises(InputError, match=line):
        convert_extxyz(*manifest(tmp_path, frames))


def test_charges_and_odd_electrons_are_warned_of(tmp_path, caplog):
    frames = distorted("O", 3)
    frames[1].info["charge"] = 1
    convert_extxyz(*manifest(tmp_path, frames))
    assert "frame 2 of 3: a charge or an odd number of electrons" in caplog.text


@pytest.mark.parametrize("forces", [True, False])
def test_isolated_atoms_are_references_and_not_molecules(tmp_path, forces):
    """In data of one formula, least squares alone would give an atom of H the energy of C."""
    atoms = []
    for symbol, energy in (("H", -13.6), ("C", -1030.0), ("O", -2040.0)):
        atom = Atoms(symbol, info={"config_type": "IsolatedAtom"})
        known = {"forces": np.zeros((1, 3))} if forces else {}
        atom.calc = SinglePointCalculator(atom, energy=energy, **known)
        atoms.append(atom)
    frames = distorted("CCO", 2)
    convert_extxyz(*manifest(tmp_path, [atoms[0], *frames, *atoms[1:]]))
    table, _ = read_molecules(tmp_path / "mine.safetensors")
    assert table.index.tolist() == [2, 3]
    assert table.isolated_atoms == {1: -13.6, 6: -1030.0, 8: -2040.0}
    energies = table.targets["energy"] - 6 * 13.6 - 2 * 1030.0 - 2040.0
    z, sizes = table.z.astype(int), np.diff(table.ptr)
    found = atomic_references(z, sizes, energies, table.isolated_atoms)
    assert found[8] < found[6] < found[1] < 0
    total = 6 * found[1] + 2 * found[6] + found[8]
    assert total == pytest.approx(energies.mean())
    some = atomic_references(z, sizes, energies, {8: -2040.0})
    assert 6 * some[1] + 2 * some[6] + some[8] == pytest.approx(energies.mean())
    atoms[1].calc = SinglePointCalculator(atoms[1], energy=-1031.0)
    atoms[1].symbols = "H"
    with pytest.raises(InputError, match=r"frame 4 of 5: another energy of the atom H than before"):
        convert_extxyz(*manifest(tmp_path, [atoms[0], *frames, *atoms[1:]]))


@pytest.mark.parametrize("name", ["mine.xyz.gz", "mine.db", "MINE.EXTXYZ"])
def test_own_data_in_other_files(tmp_path, name):
    frames = distorted("CO", 3)
    kind = {"format": "extxyz"} if "EXT" in name else {}
    write(tmp_path / name, frames, **kind)
    assert is_extxyz(name)
    (chunk,) = read_extxyz(tmp_path / name)
    forces = np.concatenate([frame.get_forces() for frame in frames])
    np.testing.assert_allclose(chunk.forces, forces, atol=1e-7)


def test_files_for_validation_and_test(tmp_path, caplog):
    """They are their parts of the split whole; the others train, or are drawn for what is left."""
    frames, files = distorted("CO", 12), []
    for part, some in (("", frames[:8]), ("validation", frames[8:10]), ("test", frames[9:])):
        write(path := tmp_path / f"part{part}.extxyz", some, format="extxyz")
        files.append({"path": str(path), "sha256": sha256(path), "part": part})
    out, split = tmp_path / "all.safetensors", tmp_path / "split.csv"

    def parts(*chosen: dict) -> dict[str, list[int]]:
        manifest = tmp_path / "raw.json"
        manifest.write_text(json.dumps({"canonical": False, "files": chosen}))
        convert_extxyz(manifest, out)
        table, _ = read_molecules(out)
        always = smallest_molecules(table, 2)
        write_split(table.index, 5, 1, 2, 0, split, always=always, part=table.part)
        warn_of_duplicates(split, table)
        found = read_split(split, table.index)
        return {part: sorted(table.index[rows].tolist()) for part, rows in found.items()}

    assert parts(*files) == {
        "train": list(range(1, 9)), "validation": [9, 10], "test": [11, 12, 13],
    }  # fmt: skip
    found = parts(files[0], files[2])
    assert found["test"] == [9, 10, 11]
    assert (len(found["train"]), len(found["validation"])) == (5, 1)
    assert not caplog.messages
    parts(files[0], files[0] | {"part": "test"})
    assert "test molecules are training molecules, too" in caplog.text


DAMAGED_SPLITS = {
    "": "not a table of index and split",
    "index,split\n1,train\n2,training\n3,test\n": "line 3: 'training' is not one of train",
    "index,split\n1,train\n2,validation\n3": "line 4: 'nan' is not one of",
    "index,split\n1,train\nx,validation\n3,test\n": "not a table of index and split",
    "index,part\n1,train\n": "not a table of index and split",
    "index,split\n1,train\n2,validation\n": "no molecule in test",
    "index,split\n1,train\n2,validation\n9,test\n": "molecule 9 is not in the data set",
    "index,split\n1,train\n2,validation\n2,test\n": "molecule 2 occurs twice",
}


@pytest.mark.parametrize("text", DAMAGED_SPLITS)
def test_a_damaged_split_is_refused(tmp_path, text):
    path = tmp_path / "split.csv"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_split(path, np.array([1, 2, 3]))
    assert str(caught.value).startswith(f"{path}: ")
    assert DAMAGED_SPLITS[text] in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "{}", "[]", '{"files": [{}]}', "\xff"])
def test_a_damaged_manifest_is_refused(tmp_path, text):
    path = tmp_path / "raw.json"
    path.write_bytes(text.encode("latin1"))
    with pytest.raises(InputError, match=r"raw\.json: damaged .*; delete it and run again$"):
        read_manifest(path)


@pytest.mark.parametrize("frame", [0, 2])
def test_extxyz_refuses_frames_after_a_blank_line(tmp_path, frame):
    """Files edited by hand may have blank lines."""
    path = tmp_path / "a@2.extxyz"
    write(tmp_path / "a.extxyz", distorted("CO", 3), format="extxyz")
    lines = (tmp_path / "a.extxyz").read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[: 8 * frame], "\n", *lines[8 * frame :]]))
    with pytest.raises(InputError, match=rf"after frame {frame}: a blank line; remove it"):
        list(read_extxyz(path))
    path.write_text("".join([*lines, "\n", " \n"]))
    (chunk,) = read_extxyz(path)
    assert len(chunk.index) == 3


def test_split_refuses_elements_that_no_training_molecule_has(tmp_path):
    frames = [*distorted("CO", 30), *distorted("CN", 1)]
    convert_extxyz(*manifest(tmp_path, frames))
    table, _ = read_molecules(tmp_path / "mine.safetensors")
    for seed in range(8):
        write_split(table.index, 20, 5, 6, seed, tmp_path / "split.csv")
        if 30 in read_split(tmp_path / "split.csv", table.index)["train"]:
            check_training_elements(tmp_path / "split.csv", table)
        else:
            with pytest.raises(
                InputError, match=r"element N is in validation or test molecules only"
            ):
                check_training_elements(tmp_path / "split.csv", table)


def test_extxyz_workflow_trains_and_runs_md(tmp_path):
    """The model learns energies and forces; a trajectory has the right bond length."""
    folder = copy_to(tmp_path)
    write(folder / "mine.extxyz", distorted("CCO", 260), format="extxyz")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    del config["models"]["gnn_u0"]
    config["molecules"] = {"ethanol": {"structure": "CCO", "models": ["gnn"]}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config, allow_unicode=True))
    smoke = yaml.safe_load((folder / "workflow/presets/smoke.yaml").read_text())
    del smoke["models"]["gnn_u0"], smoke["models"]["schnet"]
    smoke["data"] = {"sources": ["mine.extxyz"]}
    smoke["split"] = {"train": 200, "validation": 20, "test": 40}
    stages = [{"epochs": 10}, {"epochs": 2, "force_weight": 0.1}]
    quick = {"stages": stages, "batch_atoms": 90, "learning_rate": 1e-2, "warmup_steps": 20}
    smoke["models"]["gnn"]["training"] = quick
    (folder / "mine.yaml").write_text(yaml.safe_dump(smoke))
    snakemake(folder, "--cores", "2", preset="mine.yaml")
    tables = folder / "results/tables"
    forces = pd.read_csv(tables / "forces.csv").set_index("model")
    assert set(forces["reference"]) == {"test"}
    assert forces.loc["gnn", "n_frames"] == 40
    assert forces.loc["gnn", "cosine"] > 0.9
    assert set(pd.read_csv(tables / "accuracy.csv")["target"]) == {"energy"}
    assert not (tables / "frequencies.csv").exists()
    frames = read(folder / "results/md/gnn_ethanol.xyz", ":", format="extxyz")
    assert frames[0].get_distance(0, 1) == pytest.approx(1.52, abs=0.05)


def test_extxyz_config_refuses_other_targets_and_further_sources(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("mine.extxyz", distorted("CO", 1), format="extxyz")
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    config["data"]["sources"] = ["mine.extxyz"]
    with pytest.raises(InputError, match=r"models\.gnn_u0\.target: .* has energy only, not 'u0'"):
        check(config)
    config["data"]["sources"].append("qm9pack")
    with pytest.raises(InputError, match=r"data\.sources: .* must be the only source"):
        check(config)
