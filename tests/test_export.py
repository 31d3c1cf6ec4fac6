"""Every engine computes the energies, forces and stress of the calculator of ASE."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from nnpipe import load_calculator
from nnpipe.__main__ import main
from nnpipe.errors import InputError
from nnpipe.export import registry
from nnpipe.export.check import compare, systems
from nnpipe.export.torch_program import make_inputs, reverse_places
from nnpipe.structures.neighbours import neighbours


@pytest.fixture(scope="module")
def shipped():
    return load_calculator("gnn", device="cpu")


@pytest.fixture(scope="module")
def torch_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "gnn_torch"
    registry.export_model("gnn", "torch", folder)
    return folder


def test_systems_have_forces_and_neighbours_in_other_cells(shipped):
    for name, atoms in systems().items():
        atoms.calc = shipped
        assert 0.5 < np.abs(atoms.get_forces()).max() < 30
        shifts = neighbours(atoms.positions, 4.0, atoms.cell.array, atoms.pbc)[2]
        assert shifts.any() == (name == "box")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gnn", "--to", "nowhere"], "--to nowhere: not one of torch"),
        (["missing", "--to", "torch"], "missing: no such folder"),
        (["gnn", "--to", "absent"], 'pip install "absent>=1"'),
        (["gnn", "--to", "torch", "--output", "."], "exists; delete it"),
    ],
)
def test_errors_are_one_line_and_leave_nothing(arguments, message, tmp_path, monkeypatch, capsys):
    absent = registry.Engine("absent", "absent", {"absent_package": "absent>=1"})
    monkeypatch.setitem(registry.ENGINES, "absent", absent)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["export", *arguments])
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_failed_export_keeps_the_old_folder(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "note").write_text("kept")
    with pytest.raises(InputError, match="no such folder"):
        registry.export_model("missing", "torch", folder, replace=True)
    assert [file.name for file in tmp_path.rglob("*")] == ["mine", "note"]


def test_reverse_places_find_the_same_pair_from_the_other_side():
    box = systems()["box"]
    box.set_cell(box.cell * 0.6)  # several images of one atom are neighbours
    _, _, _, table, shifts = make_inputs(box, 6.0)
    reverse = reverse_places(table, shifts).t()
    there = reverse.clamp(min=0)
    assert torch.equal(reverse < 0, table < 0)
    assert torch.equal(table.flatten()[there][table >= 0], torch.nonzero(table >= 0)[:, 0])
    assert torch.equal(shifts.flatten(0, 1)[there][table >= 0], -shifts[table >= 0])


def test_torch_program_runs_without_nnpipe(torch_folder, shipped, tmp_path):
    code = f"""
import sys
sys.modules["nnpipe"] = None  # an import fails
sys.path.insert(0, {str(torch_folder)!r})
import numpy as np
from ase.io import read
from example import evaluate
for name in sys.argv[1:]:
    energy, forces, virial = evaluate(read(name))
    np.savez(name + ".npz", energy=energy, forces=forces, virial=virial)
"""
    found = systems()
    apart = found["molecule"][:2]  # atoms without neighbours
    apart.positions[1] += 20
    small = found["box"][:3]
    small.set_cell([3.0, 3.2, 3.5])  # thinner than the cutoff
    found |= {"apart": apart, "small": small}
    files = [tmp_path / f"{name}.traj" for name in found]
    for file, atoms in zip(files, found.values(), strict=True):
        atoms.write(file)
    bare = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([sys.executable, "-c", code, *map(str, files)], env=bare, check=True, cwd="/")
    for file, atoms in zip(files, found.values(), strict=True):
        given = np.load(f"{file}.npz")
        stress = given["virial"] / atoms.get_volume() if atoms.pbc.all() else None
        assert compare(atoms, shipped, given["energy"], given["forces"], stress).within_tolerances()


def test_torch_program_of_an_unordered_table(torch_folder, shipped):
    program = torch.export.load(Path(torch_folder, "model.pt2")).module()
    atoms = systems()["molecule"]
    energy, forces, _ = program(*make_inputs(atoms, shipped.potential.cutoff + 1.0))
    assert compare(atoms, shipped, energy.item(), forces.numpy()).within_tolerances()
