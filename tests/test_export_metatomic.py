"""A model as metatomic's file: energies, forces and stress of the calculator of ASE."""

import dataclasses
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from ase.build import molecule

from nnpipe import load_calculator
from nnpipe.errors import InputError
from nnpipe.export import torchscript
from nnpipe.export.check import compare, systems, water_box
from nnpipe.export.registry import export_model
from nnpipe.export.torchscript import AtomEnergies, message_passes, trace
from nnpipe.models.potential import Potential
from nnpipe.models.registry import build

pytest.importorskip("metatomic")
pytest.importorskip("metatomic_ase")

from metatensor.torch import Labels
from metatomic.torch import (
    ModelOutput,
    load_atomistic_model,
)
from metatomic_ase import MetatomicCalculator

from nnpipe.export.metatomic import atomistic_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "gnn_metatomic"
    export_model("gnn", "metatomic", path)
    return path


@pytest.fixture(scope="module")
def exported(folder):
    return MetatomicCalculator(
        folder / "model.pt", device="cpu", check_consistency=True, uncertainty_threshold=None
    )


def evaluate(atoms, calculator):
    atoms = atoms.copy()
    atoms.calc = calculator
    stress = atoms.get_stress(voigt=False) if atoms.pbc.all() else None
    return atoms.get_potential_energy(), atoms.get_forces(), stress


def small_cell():
    """Return atoms in a tilted cell that is thinner than the cutoff."""
    atoms = molecule("CO", cell=[[3.1, 0, 0], [0.4, 3.3, 0], [-0.3, 0.2, 3.0]], pbc=True)
    atoms.rattle(0.05, seed=0)
    return atoms


@pytest.mark.parametrize(
    "make",
    [
        lambda: systems()["molecule"],
        lambda: systems()["box"],
        lambda: water_box(2),
        small_cell,
        lambda: molecule("CH4"),
        lambda: molecule("N2"),
        lambda: molecule("CH3NO2"),
        lambda: molecule("C2F4"),
        lambda: molecule("HF")[:1],
    ],
)
def test_energies_forces_and_stress_are_those_of_the_calculator(make, exported):
    atoms = make()
    found = compare(atoms, load_calculator("gnn"), *evaluate(atoms, exported))
    rounding = 1e-5 * max(1, len(atoms) / 40)  # of single precision, in which both networks compute
    assert found.energy < rounding
    assert dataclasses.replace(found, energy=0).within_tolerances()


def test_in_double_precision_the_differences_vanish():
    calculator = load_calculator("gnn", dtype="float64")
    model = atomistic_model(calculator.potential)
    for atoms in systems().values():
        found = compare(atoms, calculator, *evaluate(atoms, MetatomicCalculator(model)))
        assert found.energy < 1e-8
        assert found.forces < 1e-8


def test_energies_of_atoms_and_uncertainties(exported):
    atoms, calculator = systems()["molecule"], load_calculator("gnn")
    atoms.calc = calculator
    energies = atoms.get_potential_energies()
    outputs = {
        name: ModelOutput(unit="eV", sample_kind=kind)
        for name, kind in {"energy": "atom", "energy_uncertainty": "system"}.items()
    }
    found = exported.run_model(atoms, outputs)
    given = found["energy"].block().values[:, 0].detach()
    np.testing.assert_allclose(given, energies, atol=1e-5)
    uncertainty = found["energy_uncertainty"].block().values.item()
    assert uncertainty == pytest.approx(calculator.results["energy_uncertainty"], rel=1e-4)


def test_many_systems_and_selected_atoms(exported):
    many = [molecule("CH4"), molecule("H2O"), systems()["box"]]
    expected = [evaluate(atoms, load_calculator("gnn"))[0] for atoms in many]

    def energy(kind, selected=None):
        outputs = {"energy": ModelOutput(unit="eV", sample_kind=kind)}
        return exported.run_model(many, outputs, selected)["energy"].block().values[:, 0].detach()

    np.testing.assert_allclose(energy("system"), expected, atol=1e-5)
    chosen = torch.tensor([[0, 1], [1, 0], [1, 2]], dtype=torch.int32)
    selected = Labels(["system", "atom"], chosen)
    of_atoms = energy("atom")
    np.testing.assert_array_equal(energy("atom", selected), of_atoms[[1, 5, 7]])
    sums = [of_atoms[1], of_atoms[5] + of_atoms[7], 0.0]
    np.testing.assert_allclose(energy("system", selected), sums, rtol=1e-12)


def test_i_pi_reads_the_file(folder, tmp_path):
    pytest.importorskip("ipi", reason="i-PI is not installed")
    from ipi.pes.metatomic import MetatomicDriver
    from ipi.utils.units import unit_to_internal, unit_to_user

    for atoms in systems().values():
        atoms.write(tmp_path / "template.xyz")
        driver = MetatomicDriver(str(tmp_path / "template.xyz"), str(folder / "model.pt"))
        lengths = (atoms.cell.array.T, atoms.positions)
        cell, pos = (unit_to_internal("length", "angstrom", length) for length in lengths)
        energy, forces, virial, _ = driver(cell, pos)
        energy = unit_to_user("energy", "electronvolt", energy)
        forces = unit_to_user("force", "ev/ang", forces)
        expected = evaluate(atoms, MetatomicCalculator(folder / "model.pt", device="cpu"))
        assert energy == pytest.approx(expected[0], abs=1e-6)
        np.testing.assert_allclose(forces, expected[1], atol=1e-5)
        if expected[2] is not None:
            stress = -unit_to_user("energy", "electronvolt", virial) / atoms.get_volume()
            np.testing.assert_allclose(stress, expected[2], atol=1e-7)


def test_metadata(folder):
    capabilities = load_atomistic_model(folder / "model.pt").capabilities()
    assert capabilities.atomic_types == [1, 6, 7, 8, 9]
    assert capabilities.interaction_range == 8.0
    assert capabilities.length_unit.lower() in ("a", "angstrom")


def test_the_file_is_read_without_nnpipe(folder, tmp_path):
    box = systems()["box"]
    box.write(tmp_path / "box.traj")
    code = (
        "import runpy, sys; sys.modules['nnpipe'] = None;"
        f"runpy.run_path({str(folder / 'example.py')!r}, run_name='__main__')"
    )
    bare = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, "-c", code, tmp_path / "box.traj"]
    done = subprocess.run(command, capture_output=True, text=True, env=bare, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    energy = evaluate(box, load_calculator("gnn"))[0]
    assert float(done.stdout.split()[1]) == pytest.approx(energy, abs=2e-5)
    assert "stress" in done.stdout


@pytest.mark.parametrize(("layers", "passes"), [(1, 1), (2, 2), (3, 3)])
def test_the_interaction_range_follows_from_gradients(layers, passes):
    torch.manual_seed(0)
    potential = Potential(build("gnn", {"cutoff": 4.0, "layers": layers}), {1: -13.6}, 1.0)
    assert message_passes(potential) == passes


@pytest.mark.parametrize("name", ["gnn", "mlp"])
def test_the_script_runs_on_the_device_of_its_tensors(name):
    torch.manual_seed(0)
    potential = Potential(build(name, {}), {1: -13.6, 6: -1000.0}, 1.0, repulsion=True)
    script = trace(potential.requires_grad_(False))
    inputs = torchscript._inputs(potential.cutoff, [1, 6], 9, torch.float32)
    for module in script.modules():  # "meta" stands for any device: it refuses tensors of the CPU
        tensors = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
        for key, tensor in tensors:
            module._c.setattr(key, tensor.to("meta"))
    for found in script(*(part.to("meta") for part in inputs)):
        assert found.shape == (9,)
        assert found.device.type == "meta"


def test_a_network_with_a_constant_size_is_refused(monkeypatch):
    torch.manual_seed(0)
    potential = Potential(build("mlp", {}), {1: -13.6}, 1.0)
    forward = AtomEnergies.forward

    def constant(self, z, *rest):
        energy, uncertainty = forward(self, z, *rest)
        return energy / len(z.tolist()), uncertainty  # tracing takes the length for a constant

    monkeypatch.setattr(AtomEnergies, "forward", constant)
    with pytest.raises(InputError, match="cannot be written as TorchScript"):
        trace(potential)
