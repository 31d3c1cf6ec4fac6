"""Every engine computes the energies, forces and stress of the calculator of ASE."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import units

from nnpipe import load_calculator
from nnpipe.__main__ import main
from nnpipe.errors import InputError
from nnpipe.export import registry
from nnpipe.export.check import compare, systems
from nnpipe.export.i_pi import harmonic_gyration, harmonic_kinetic_energy, write_start
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
        (["gnn", "--to", "i-pi", "--output", f"{__file__}/mine"], "mine: cannot be written"),
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


@pytest.mark.parametrize("engine", ["torch", pytest.param("aoti", marks=pytest.mark.long)])
def test_torch_program_runs_without_nnpipe(engine, torch_folder, shipped, tmp_path):
    if engine == "aoti":
        torch_folder = tmp_path / "aoti"
        registry.export_model("gnn", "aoti", torch_folder)
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


def test_torch_sim_computes_the_same_with_the_order_of_its_integrator(shipped):
    ts = pytest.importorskip("torch_sim", reason="torch-sim is not installed")
    from nnpipe.export.torch_sim import TorchSimModel

    model, found = TorchSimModel(shipped), systems()
    aspirin, box = found["molecule"], found["box"]
    boxes = [box, box[:30]]  # of two sizes, the second with another cell
    boxes[1].set_cell(box.cell * 1.3)
    for batch in ([aspirin, aspirin[::-1]], boxes):
        state = ts.io.atoms_to_state(batch, torch.device("cpu"), torch.float64)
        state.pbc = bool(batch[0].pbc.all())
        results, start = model(state), 0
        for number, atoms in enumerate(batch):
            stress = results["stress"][number].numpy() if state.pbc else None
            forces = results["forces"][start : start + len(atoms)].numpy()
            energy = results["energy"][number].item()
            assert compare(atoms, shipped, energy, forces, stress).within_tolerances()
            start += len(atoms)
    state = ts.io.atoms_to_state([aspirin] * 2, torch.device("cpu"), torch.float64)
    state.pbc = False
    errors = []
    for femtoseconds in (0.5, 0.25):
        options = {"dt": femtoseconds * 1e-3 * ts.units.MetalUnits.time, "kT": 0.0}
        init, step = ts.integrators.nve(
            TorchSimModel(shipped, compute_stress=False),
            **{name: torch.tensor(value, dtype=torch.float64) for name, value in options.items()},
        )
        moving, total = init(state), []
        for _ in range(int(20 / femtoseconds)):  # 20 fs
            moving = step(moving)
            kinetic = ts.calc_kinetic_energy(
                masses=moving.masses, momenta=moving.momenta, system_idx=moving.system_idx
            )
            total.append((moving.energy + kinetic)[0].item())
        errors.append(np.ptp(total))
    assert 3.5 < errors[0] / errors[1] < 4.5  # velocity Verlet is of second order


def test_torch_sim_example_runs(tmp_path, monkeypatch, capsys):
    ts = pytest.importorskip("torch_sim", reason="torch-sim is not installed")
    registry.export_model("gnn", "torch-sim", tmp_path / "gnn")
    uncompiled = load_calculator(tmp_path / "gnn" / "model", device="cpu")
    monkeypatch.setattr("nnpipe.load_calculator", lambda *_, **__: uncompiled)
    integrate = ts.integrate
    monkeypatch.setattr(ts, "integrate", lambda **given: integrate(**given | {"n_steps": 2}))
    runpy.run_path(tmp_path / "gnn" / "example.py", run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 8
    temperatures = [float(line.split()[-2]) for line in lines]
    assert 200 < np.mean(temperatures) < 400  # K, velocities drawn at 300 K


def test_torch_example_asks_for_a_structure(torch_folder):
    command = [sys.executable, torch_folder / "example.py"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 1
    assert run.stderr == "give a structure file: python example.py structure.xyz\n"


def test_torch_sim_validates_the_model():
    pytest.importorskip("torch_sim", reason="torch-sim is not installed")
    from torch_sim.models.interface import validate_model_outputs

    from nnpipe.export.torch_sim import TorchSimModel
    from nnpipe.models.potential import Potential
    from nnpipe.models.registry import build
    from nnpipe.simulation.calculator import NeuralCalculator

    torch.manual_seed(0)  # silicon and iron, of no trained model
    potential = Potential(build("gnn", {"cutoff": 5.0}), {14: -1.0, 26: -2.0}, 1.0)
    model = TorchSimModel(NeuralCalculator(potential, [14, 26], device="cpu"))
    validate_model_outputs(model, torch.device("cpu"), torch.float64)


def test_i_pi_driver_computes_the_same_in_batches(shipped, tmp_path):
    pytest.importorskip("ipi", reason="i-PI is not installed")
    from ipi.pes import load_pes
    from ipi.utils.units import unit_to_internal, unit_to_user

    folder = tmp_path / "gnn"
    registry.export_model("gnn", "i-pi", folder)
    driver_class = load_pes("custom", str(folder / "driver.py"))
    for atoms in systems().values():
        write_start(atoms, folder / "start.xyz")
        periodic = bool(atoms.pbc.all())
        driver = driver_class(folder / "model", folder / "start.xyz", periodic, compiled=False)
        beads = [atoms.copy(), atoms.copy()]
        beads[1].rattle(0.02, seed=1)
        cells = [unit_to_internal("length", "angstrom", one.cell.array.T) for one in beads]
        places = [unit_to_internal("length", "angstrom", one.positions) for one in beads]
        for one, (energy, forces, virial, _) in zip(beads, driver(cells, places), strict=True):
            stress = None
            if periodic:
                stress = -unit_to_user("energy", "electronvolt", virial) / one.get_volume()
            energy = unit_to_user("energy", "electronvolt", energy)
            forces = unit_to_user("force", "ev/ang", forces)
            assert compare(one, shipped, energy, forces, stress).within_tolerances()


@pytest.mark.long
def test_i_pi_example_runs(tmp_path):
    pytest.importorskip("ipi", reason="i-PI is not installed")
    folder = tmp_path / "gnn"
    registry.export_model("gnn", "i-pi", folder)
    text = (folder / "input.xml").read_text()
    (folder / "input.xml").write_text(text.replace("20000", "200"))
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    subprocess.run(["bash", folder / "run.sh"], env=environment, check=True, timeout=300)
    table = np.loadtxt(folder / "run.out")
    assert len(table) == 21
    conserved = table[:, 2]
    assert np.ptp(conserved) < 0.2
    classical = 27 / 2 * units.kB * 300
    assert table[5:, 5].mean() > 2 * classical  # zero-point motion


def test_harmonic_estimates_of_a_ring_polymer():
    frequency, temperature = np.array([3000.0]), 300.0
    thermal = units.kB * temperature
    energy = 3000 * units.invcm
    quantum = energy / 4 / np.tanh(energy / (2 * thermal))
    assert harmonic_kinetic_energy(frequency, temperature, 1) == pytest.approx(thermal / 2)
    many = harmonic_kinetic_energy(frequency, temperature, 4000)
    assert many == pytest.approx(quantum, rel=1e-3)
    # a free proton: rg^2 = hbar^2 / (4 m kT); a stiff spring along one axis leaves two thirds
    mass, none = np.array([1.008]), np.zeros(0)
    free = harmonic_gyration(none, np.zeros((3, 0)), mass, temperature, 4000)
    stiff = np.eye(3)[:, :1] / 1.008**0.5
    bound = harmonic_gyration(np.array([1e6]), stiff, mass, temperature, 4000)
    hbar = units._hbar * units.J * units.s
    expected = hbar / np.sqrt(4 * 1.008 * thermal)
    assert free[0] == pytest.approx(expected, rel=1e-3)
    assert bound[0] == pytest.approx(expected * (2 / 3) ** 0.5, rel=1e-3)
