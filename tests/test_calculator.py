"""The ASE calculator: conventions, precision, errors."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

import nnpipe
from conftest import CUTOFF, ELEMENTS, potential_of, small_model
from nnpipe import load_calculator
from nnpipe.errors import InputError
from nnpipe.models.checkpoint import ModelInfo, save_model
from nnpipe.models.potential import Potential
from nnpipe.runtime.device import pick_device, use_threads
from nnpipe.simulation.calculator import NeuralCalculator
from nnpipe.simulation.md import simulate

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
