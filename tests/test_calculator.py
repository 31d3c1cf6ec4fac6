"""The ASE calculator: conventions, precision, errors."""

import copy
import json
import multiprocessing
import os
import pickle
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import ase.db
import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.build import bulk, fcc111, molecule
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.singlepoint import SinglePointCalculator
from ase.filters import FrechetCellFilter
from ase.md import MDLogger, VelocityVerlet
from ase.mep import NEB
from ase.optimize import BFGS
from ase.vibrations import Vibrations

import nnpipe
from conftest import CUTOFF, ELEMENTS, potential_of, small_model
from nnpipe import load_calculator
from nnpipe.errors import InputError
from nnpipe.models.checkpoint import ModelInfo, copy_model, save_model, save_tensors
from nnpipe.models.potential import Potential
from nnpipe.notebook.run import simulate
from nnpipe.runtime.device import pick_device, use_threads
from nnpipe.runtime.files import sha256
from nnpipe.simulation.calculator import NeuralCalculator

INFO = ModelInfo(
    architecture="mlp",
    hyperparameters={"cutoff": CUTOFF, "features": 32, "channels": 4, "radial": 8},
    target="energy",
    unit="eV",
    intensive=False,
    references={1: -13.0, 8: -2000.0},
    scale=2.0,
    seed=0,
    n_train=1,
    n_geometries=1,
    parameters=1,
    train_seconds=0.0,
    peak_memory_mb=0.0,
    device="cpu",
    settings={},
    data={},
    nnpipe_version="0",
)


@pytest.fixture
def saved(tmp_path):
    save_model(tmp_path, Potential(small_model("mlp"), INFO.references, INFO.scale), INFO)
    return tmp_path


def test_calculator_of_a_saved_model_gives_the_same(saved):
    water, other = molecule("H2O"), molecule("H2O")
    water.calc = load_calculator(saved, "float64", "cpu")
    potential = Potential(small_model("mlp"), INFO.references, INFO.scale)
    other.calc = NeuralCalculator(potential, [1, 8], "float64", "cpu")
    assert water.get_potential_energy() == other.get_potential_energy()
    np.testing.assert_array_equal(water.get_forces(), other.get_forces())


def test_calculator_results_are_new_after_every_move(architecture):
    water = molecule("H2O")
    water.calc = NeuralCalculator(potential_of(architecture), ELEMENTS, "float64", "cpu")
    first, forces = water.get_potential_energy(), water.get_forces()
    water.positions[0, 2] += 0.1
    assert water.get_potential_energy() != first
    assert np.abs(water.get_forces() - forces).max() > 1e-3


@pytest.mark.parametrize("side", [0.0, 7.0], ids=["open", "periodic"])
def test_calculator_with_neighbour_list_equals_a_new_calculator(architecture, aspirin, side):
    """A neighbour list is reused until it may be incomplete or the cell changes."""
    potential = potential_of(architecture)
    aspirin.calc = NeuralCalculator(potential, ELEMENTS, "float64", "cpu")
    aspirin.cell, aspirin.pbc = [side] * 3, side > 0
    way = np.random.default_rng(1).normal(scale=0.01, size=(21, 3))
    for step in range(40):
        aspirin.positions += way
        if side and step % 3 == 1:
            aspirin.cell *= 1.01
        fresh = aspirin.copy()
        fresh.calc = NeuralCalculator(potential, ELEMENTS, "float64", "cpu")
        assert aspirin.get_potential_energy() == pytest.approx(fresh.get_potential_energy(), 1e-12)
        np.testing.assert_allclose(aspirin.get_forces(), fresh.get_forces(), atol=1e-8)


@pytest.mark.parametrize("what", ["lists.make_batches", "_evaluate"])
def test_calculator_recovers_from_a_failed_calculation(aspirin, what, monkeypatch):
    """For the atoms of the failed calculation and for other atoms before it."""
    calculator = NeuralCalculator(potential_of("gnn"), ELEMENTS, "float64", "cpu")
    ethanol = molecule("CH3CH2OH")
    aspirin.calc = ethanol.calc = calculator
    before = aspirin.get_forces()
    with monkeypatch.context() as patch:
        owner, _, name = what.rpartition(".")
        patch.setattr(getattr(calculator, owner, calculator), name, lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            ethanol.get_forces()
    np.testing.assert_array_equal(aspirin.get_forces(), before)
    alone = ethanol.copy()
    alone.calc = NeuralCalculator(potential_of("gnn"), ELEMENTS, "float64", "cpu")
    np.testing.assert_allclose(ethanol.get_forces(), alone.get_forces(), atol=1e-12)


@pytest.mark.parametrize("far", [0.0, 1e5])
def test_calculator_in_single_precision_is_close(architecture, aspirin, far):
    """Also far from the origin, as positions are relative to the first atom."""
    results = []
    aspirin.translate(far)
    for dtype in ("float64", "float32"):
        aspirin.calc = NeuralCalculator(potential_of(architecture), ELEMENTS, dtype, "cpu")
        results.append((aspirin.get_potential_energy(), aspirin.get_forces()))
    assert results[1][0] == pytest.approx(results[0][0], abs=1e-4)  # of 17,000 eV
    np.testing.assert_allclose(results[1][1], results[0][1], atol=2e-3)


def test_load_calculator_finds_the_shipped_model_by_name(tmp_path, monkeypatch):
    """From any working directory; a folder of that name has precedence."""
    monkeypatch.chdir(tmp_path)
    water = molecule("H2O")
    water.calc = load_calculator("gnn", "float64", "cpu")
    assert -2083 < water.get_potential_energy() < -2077  # B3LYP: -2079.5 eV with the zero point
    (tmp_path / "gnn").mkdir()
    with pytest.raises(InputError, match=r"gnn/model\.json: no such file; train"):
        load_calculator("gnn")


def test_nnpipe_imports_its_functions_at_their_first_use():
    """As the import of torch takes seconds."""
    program = "import sys, nnpipe; print('torch' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(Path(nnpipe.__file__).parents[1])}
    assert subprocess.check_output([sys.executable, "-c", program], env=environment) == b"False\n"
    assert nnpipe.simulate is simulate
    with pytest.raises(AttributeError, match="module 'nnpipe' has no attribute 'nothing'"):
        nnpipe.nothing  # noqa: B018


@pytest.fixture
def crystal():
    """Diamond with displaced atoms, so that nothing is symmetric."""
    atoms = bulk("C", "diamond", 3.57, cubic=True)
    atoms.rattle(0.05, rng=np.random.default_rng(0))
    return atoms


def test_calculate_computes_what_is_asked_for(calculator, crystal):
    assert calculator.calculate(molecule("H2O")) is None  # before any other call
    assert set(calculator.results) == {"energy", "free_energy", "forces"}
    assert calculator.results["energy"] == calculator.results["free_energy"]
    calculator.calculate(crystal, ["energies", "stress"])
    assert set(calculator.results) == set(calculator.implemented_properties)
    calculator.calculate(crystal)  # what was computed for these atoms remains
    assert set(calculator.results) == set(calculator.implemented_properties)
    calculator.calculate_properties(crystal, ["energies", "stress"])
    SinglePointCalculator(crystal, **calculator.results)


@pytest.mark.parametrize("name", ["molecule", "slab", "dipole"])
def test_stress_is_refused_without_three_periodic_directions(calculator, name):
    atoms = fcc111("C", (2, 2, 2), 3.6, vacuum=5) if name == "slab" else molecule("H2O")
    atoms.calc = calculator
    energy = atoms.get_potential_energy()
    ask = atoms.get_dipole_moment if name == "dipole" else atoms.get_stress
    with pytest.raises(PropertyNotImplementedError):
        ask()
    assert atoms.get_potential_energy() == energy


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_energies_of_atoms_add_up(architecture, aspirin, crystal, dtype):
    calculator = NeuralCalculator(potential_of(architecture), ELEMENTS, dtype, "cpu")
    far = aspirin.copy()
    far.translate(40)
    tolerance = 1e-8 if dtype == "float64" else 1e-3
    both = aspirin + far
    both.set_array("system", np.repeat([0, 1], len(aspirin)))
    for atoms in (aspirin, crystal, aspirin + far, both):
        energies = calculator.get_potential_energies(atoms)
        assert energies.shape == (len(atoms),)
        assert energies.sum() == pytest.approx(calculator.get_potential_energy(atoms), 0, tolerance)
    alone = calculator.get_potential_energies(aspirin)
    np.testing.assert_allclose(energies, np.tile(alone, 2), atol=tolerance)
    assert np.ptp(alone[aspirin.numbers == 6]) > 1e-3


def test_results_are_not_shared(calculator, aspirin):
    aspirin.calc = calculator
    forces = aspirin.get_forces()
    kept, first = calculator.results["forces"], forces.copy()
    forces *= 0
    np.testing.assert_array_equal(aspirin.get_forces(), first)
    aspirin.rattle(0.01)
    aspirin.get_forces()
    np.testing.assert_array_equal(kept, first)


def test_calculation_is_required_after_a_change_only(calculator):
    water = molecule("H2O")
    water.calc = calculator
    assert calculator.calculation_required(water, ["energy"])
    energy = water.get_potential_energy(force_consistent=True)
    assert not calculator.calculation_required(water, ["energy", "forces"])
    assert calculator.calculation_required(water, ["energies"])
    assert calculator.get_property("energies", water, allow_calculation=False) is None
    water.positions[0, 0] += 0.1
    assert calculator.get_property("energy", water, allow_calculation=False) is None
    water.positions[0, 0] -= 0.1
    assert water.get_potential_energy() == energy


def test_hessian_without_atoms_is_of_the_last_calculation(calculator):
    with pytest.raises(InputError, match="atoms: None is not an Atoms object"):
        calculator.get_hessian()
    water = molecule("H2O")
    calculator.calculate(water)
    np.testing.assert_array_equal(calculator.get_hessian(), calculator.get_hessian(water))


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))])
def test_copies_of_a_calculator_are_independent(calculator, way):
    water, other = molecule("H2O"), molecule("CH4")
    way(calculator).calculate(water)  # before the first use, too
    calculator.calculate(water)
    energy, forces = calculator.results["energy"], calculator.results["forces"]
    again = way(calculator)
    assert again.parameters == calculator.parameters
    assert not again.calculation_required(water, ["energy", "forces"])
    water.positions[0, 0] += 0.1
    assert again.get_potential_energy(water) != energy
    again.calculate(other)
    water.positions[0, 0] -= 0.1
    np.testing.assert_array_equal(calculator.get_forces(), forces)
    assert calculator.get_potential_energy(water) == energy
    assert again.get_potential_energy(water) == pytest.approx(energy, abs=1e-9)


def test_calculator_is_sent_to_another_process(aspirin):
    aspirin.calc = NeuralCalculator(potential_of("schnet"), ELEMENTS, "float64", "cpu")
    energy = aspirin.get_potential_energy()
    aspirin.calc.reset()
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        there = pool.submit(Atoms.get_potential_energy, aspirin).result()
    assert there == pytest.approx(energy, abs=1e-9)


def test_parameters_are_stored_and_kept(saved, tmp_path):
    water = molecule("H2O")
    water.calc = load_calculator(saved, "float64", "cpu")
    stored = {"model": str(saved), "dtype": "float64", "device": "cpu", "compiled": False}
    assert dict(water.calc.parameters) == water.calc.todict() == stored
    with pytest.raises(InputError, match="dtype: a calculator keeps its parameters; load another"):
        water.calc.set(dtype="float32")
    energy, forces = water.get_potential_energy(), water.get_forces()
    with ase.db.connect(tmp_path / "water.db") as database:
        database.write(water)
        assert database.get(1).calculator_parameters == stored
    for name in ("water.traj", "water.extxyz"):
        water.write(tmp_path / name)
        read = ase.io.read(tmp_path / name)
        assert read.get_potential_energy() == pytest.approx(energy, 1e-9)
        np.testing.assert_allclose(read.get_forces(), forces, atol=1e-7)


def test_tools_of_ase_accept_the_calculator(calculator, crystal, tmp_path):
    """Logger, filter of the cell, elastic band and vibrations."""
    crystal.calc = calculator
    dynamics = VelocityVerlet(crystal, 0.1 * units.fs)
    log = tmp_path / "md.log"
    with MDLogger(dynamics, crystal, log, stress=True, peratom=True) as logger:
        logger()
    assert np.isfinite(np.array(log.read_text().split("\n")[1].split(), float)).all()
    BFGS(FrechetCellFilter(crystal), logfile=None).run(steps=2)

    first, last = molecule("CH3CH2OH"), molecule("CH3CH2OH")
    last.set_dihedral(*(2, 1, 0, 3), 60, indices=[3])
    images = [first, first.copy(), first.copy(), last]
    for image in images:
        image.calc = calculator
    band = NEB(images, allow_shared_calculator=True)
    band.interpolate()
    BFGS(band, logfile=None).run(steps=2)
    assert np.isfinite([image.get_potential_energy() for image in images]).all()

    water = molecule("H2O")
    water.calc = calculator
    vibrations = Vibrations(water, name=str(tmp_path / "vibrations"), delta=0.005)
    vibrations.run()
    hessian = vibrations.get_vibrations().get_hessian_2d()
    np.testing.assert_allclose(hessian, calculator.get_hessian(water), atol=1e-6)


def test_load_calculator_accepts_the_path_of_a_file(saved):
    for name in ("model.safetensors", "model.json"):
        assert load_calculator(saved / name).elements == [1, 8]


DAMAGES = {
    "scale": [None, float("nan"), 0, -1.0, "1.1"],
    "references": [None, {"a": 1}, {}, {"1": None}, {"1": float("inf"), "8": 0}, {"0": 1, "8": 1}],
    "hyperparameters": [
        None, {}, {"cutoff": "4.0"}, {"cutoff": -1.0}, {"cutoff": 4.0, "features": True},
        {"cutoff": 4.0, "features": 32.5}, {"cutoff": 4.0, "waves": 3}, {"cutoff": 4.0},
    ],
    "elements": [[1, 6], None],
    "unit": ["Hartree", None],
    "intensive": [True, "no"],
    "architecture": ["cnn", None],
    "weights_sha256": ["", None],
    "format": [2, "1"],
}  # fmt: skip


@pytest.mark.parametrize("key", DAMAGES)
def test_model_json_with_an_odd_value_is_refused(saved, key, tmp_path):
    path = saved / "model.json"
    content = json.loads(path.read_text())
    for value in DAMAGES[key]:
        path.write_text(json.dumps(content | {key: value}))
        with pytest.raises(InputError, match=r"model\.(json|safetensors): ") as caught:
            load_calculator(saved)
        assert "\n" not in str(caught.value), value


@pytest.mark.parametrize(
    "text", [b"", b"null", b"[]", b"\xff\xfe{", b"[" * 100_000, b'{"format": 1}']
)
def test_model_json_that_is_another_file_is_refused(saved, text):
    (saved / "model.json").write_bytes(text)
    with pytest.raises(InputError, match=r"model\.json: not a model of nnpipe .*again$"):
        load_calculator(saved)


def test_weights_that_are_not_finite_are_refused(saved):
    """With the digest of model.json right, as after a training that ended in nan."""
    weights, tensors = saved / "model.safetensors", small_model("mlp").state_dict()
    next(iter(tensors.values()))[0] = np.nan
    save_tensors(weights, tensors, {"format": 1})
    content = json.loads((saved / "model.json").read_text())
    (saved / "model.json").write_text(json.dumps(content | {"weights_sha256": sha256(weights)}))
    with pytest.raises(InputError, match="a weight is not finite; train"):
        load_calculator(saved)


def test_copy_of_an_incomplete_folder_is_refused(saved, tmp_path):
    wanted = INFO.architecture, INFO.target, INFO.hyperparameters
    with pytest.raises(InputError, match=r"metrics\.jsonl: no such file; copy the whole folder"):
        copy_model(saved, tmp_path / "copy", *wanted)
    (saved / "metrics.jsonl").touch()
    copy_model(saved, tmp_path / "copy", *wanted)


def test_calculator_refuses_a_cell_that_it_cannot_compute(calculator):
    water = molecule("H2O")
    water.calc = calculator
    for pbc, cell in [(True, 0), ([1, 0, 0], [0, 9, 9]), (True, [[9, 0, 0], [9, 0, 0], [0, 0, 9]])]:
        water.pbc, water.cell = pbc, cell if np.ndim(cell) else [cell] * 3
        with pytest.raises(InputError, match="no independent vector in each of these directions"):
            water.get_potential_energy()
    water.cell = [9, 9, 0.1]
    with pytest.raises(InputError, match=r"cell: periodic images are 0\.1 Å apart"):
        water.get_forces()
    water.pbc = [True, True, False]  # the height of the cell is not used
    assert np.isfinite(water.get_forces()).all()


def test_calculator_accepts_whole_numbers_of_systems_only(calculator):
    water = molecule("H2O")
    water.calc = calculator
    energy = water.get_potential_energy()
    water.set_array("system", np.zeros(3))
    assert water.get_potential_energy() == energy
    for array in (np.full(3, 0.5), np.full(3, np.nan), np.array(["a", "b", "c"]), np.zeros((3, 1))):
        water.arrays["system"] = array
        with pytest.raises(InputError, match="array 'system': give one integer per atom"):
            water.get_potential_energy()


def test_calculator_refuses_atoms_at_one_position(calculator):
    water = molecule("H2O")
    water.positions[1] = water.positions[0]
    water.calc = calculator
    with pytest.raises(InputError, match="not finite; two atoms may be at one position"):
        water.get_forces()


def test_calculator_leaves_the_atoms_unchanged(saved):
    atoms = bulk("C", "diamond", 3.57)
    atoms.numbers[:] = 8
    before = atoms.copy()
    atoms.calc = load_calculator(saved)
    atoms.get_stress()
    assert atoms == before


def test_calculator_refuses_wrong_input(saved, tmp_path):
    with pytest.raises(InputError, match=r"element N is not in the training set \(H O\)"):
        Atoms("NH3", np.eye(4, 3), calculator=load_calculator(saved)).get_potential_energy()
    silane = Atoms("SiH4", np.eye(5, 3))
    with pytest.raises(InputError, match="element Si is not in the training set"):
        load_calculator(saved).get_hessian(silane)
    for systems in ([1, 0, 0], [0, 0, 2], [1, 1, 1], []):
        some = molecule("H2O")[: len(systems)]
        some.set_array("system", np.array(systems, int))
        some.calc = load_calculator(saved)
        with pytest.raises(InputError, match="no atoms, or the array 'system' does not count up"):
            some.get_potential_energy()
    with pytest.raises(InputError, match="'float16' is not one of float32, float64"):
        load_calculator(saved, "float16")
    with pytest.raises(InputError, match="nowhere: no such folder; give"):
        load_calculator(tmp_path / "nowhere")
    with pytest.raises(InputError, match="'warp' is not available"):
        pick_device("warp")
    save_model(
        tmp_path, Potential(small_model("mlp"), INFO.references, 1.0), replace(INFO, target="u0")
    )
    with pytest.raises(InputError, match="predicts u0, not an energy that atoms can move on"):
        load_calculator(tmp_path)


@pytest.mark.parametrize(("threads", "cores", "expected"), [(8, 2, 2), (2, 16, 2), (1, 8, 1)])
def test_torch_uses_at_most_one_thread_per_core(monkeypatch, threads, cores, expected):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(cores)))
    requested = []
    monkeypatch.setattr(torch, "set_num_threads", requested.append)
    use_threads(threads)
    assert requested == [expected]


def test_calculator_compiled_equals_eager(architecture, aspirin, two_threads):
    """For molecules of any size, with other neighbours in every geometry."""
    potential = potential_of(architecture)
    plain = NeuralCalculator(potential, ELEMENTS, "float32", "cpu")
    fast = NeuralCalculator(potential, ELEMENTS, "float32", "cpu", compiled=True)
    rng = np.random.default_rng(0)
    for atoms in (aspirin, molecule("CH3CH2OH"), molecule("H2O"), aspirin):
        atoms.rattle(0.02, rng=rng)
        energy, forces = plain.get_potential_energy(atoms), plain.get_forces(atoms)
        assert fast.get_potential_energy(atoms) == pytest.approx(energy, abs=1e-4)
        np.testing.assert_allclose(fast.get_forces(atoms), forces, atol=1e-4)
    works = fast.energy_forces.compiled_ok
    expected = {"mlp": True, "gnn": True, "schnet": False}  # schnet's shapes depend on the data
    assert works == expected.get(architecture, works)
    assert len(fast.energy_forces.programs) == works
    again = pickle.loads(pickle.dumps(fast))  # without programs
    assert not again.energy_forces.programs
    assert again.get_potential_energy() == fast.get_potential_energy()


NO_COMPILER = """
import logging, sys
from ase.build import molecule
from nnpipe import load_calculator
logging.basicConfig()
atoms = molecule("H2O")
atoms.calc = load_calculator(sys.argv[1], compiled=True)
assert abs(atoms.get_forces()).sum() > 0
assert not atoms.calc.energy_forces.compiled_ok
"""


def test_calculator_works_without_a_compiler(saved):
    """In a separate process, as PyTorch remembers which compilers work."""
    environment = {
        "CXX": "/no/such/compiler",
        "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1",
        "PYTHONPATH": str(Path(nnpipe.__file__).parents[1]),
    }
    process = subprocess.run(
        [sys.executable, "-c", NO_COMPILER, saved],
        env=os.environ | environment, capture_output=True, text=True,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    assert "continuing without compilation: " in process.stderr
    assert "/no/such/compiler" in process.stderr


def test_calculator_refuses_positions_that_are_not_finite():
    """For some of them the neighbour search would end the process."""
    calculator = NeuralCalculator(potential_of("mlp"), ELEMENTS, "float64", "cpu")
    for place in (np.nan, 1e12):
        water = molecule("H2O")
        water.calc = calculator
        water.positions[0, 0] = place
        with pytest.raises(InputError, match="is not finite, or beyond 1e"):
            water.get_forces()
