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
from nnpipe.data.splits import check_training_elements, read_split, write_split
from nnpipe.errors import InputError
from nnpipe.graphs.dataset import load_dataset
from nnpipe.runtime.files import sha256


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
    elif kind == "empty":
        return []
    return frames


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("no energy", "frame 2: no 'energy', it has nothing; set data.extxyz.energy"),
        ("no forces", "frame 2: some frames have 'forces' and some have none"),
        (
            "forces of another name",
            "frame 1: no 'forces'; if it is REF_forces, set data.extxyz.forces",
        ),
        ("nan", "frame 2: energy not finite; remove the frame"),
        ("crystal", "frame 2: periodic; training supports molecules only"),
        ("overlap", "frame 2: atoms 4 and 5 are 0.10 Å apart; remove the frame"),
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


@pytest.mark.parametrize("frame", [0, 2])
def test_extxyz_refuses_frames_after_a_blank_line(tmp_path, frame):
    """Files edited by hand may have blank lines, where ASE stops without an error."""
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
