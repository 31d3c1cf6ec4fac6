"""Uncertainties follow the errors, and show what is outside the training domain."""

import copy
import logging
from functools import cache

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule

from conftest import CUTOFF, ELEMENTS, distorted, potential_of
from nnpipe.data.molecules import row_ends
from nnpipe.graphs.dataset import Dataset, dataset
from nnpipe.models.potential import Potential
from nnpipe.models.uncertainty import fit_uncertainty, last_layer, measure_errors
from nnpipe.simulation.calculator import NeuralCalculator
from nnpipe.simulation.md import write_trajectory
from nnpipe.simulation.settings import Settings
from nnpipe.structures.neighbours import neighbours

SMILES = ("CCO", "CC(N)=O", "C#CCO", "OC=O", "CCC", "NCCO")
WIDTHS = {1: 0.02, 6: 0.2, 7: 0.05, 8: 0.1}  # eV/Å, mean absolute errors of the labels by element
ENERGY_WIDTH = 0.03  # eV


def labelled(potential, frames: list[Atoms], seed: int) -> Dataset:
    """Return geometries whose labels are the predictions with Laplace errors of WIDTHS."""
    rng = np.random.default_rng(seed)
    calculator = NeuralCalculator(potential, ELEMENTS, "float64", "cpu")
    energies = np.array([calculator.get_potential_energy(frame) for frame in frames])
    forces = np.concatenate([calculator.get_forces(frame) for frame in frames])
    z = np.concatenate([frame.numbers for frame in frames])
    width = np.array([WIDTHS[number] for number in z.tolist()])[:, None]
    found = [neighbours(frame.positions, CUTOFF)[:2] for frame in frames]
    table = {
        "z": z.astype(np.uint8),
        "pos": np.concatenate([frame.positions for frame in frames]),
        "ptr": row_ends([len(frame) for frame in frames]),
        "first": row_ends(np.concatenate([counts for counts, _ in found])),
        "neighbour": np.concatenate([index for _, index in found]).astype(np.uint8),
    }
    energies += rng.laplace(scale=ENERGY_WIDTH, size=len(energies))
    forces += rng.laplace(scale=width, size=forces.shape)
    return dataset(table, np.arange(len(frames)), energies, forces, CUTOFF)


@cache
def geometries_of_all() -> list[Atoms]:
    return [frame for smiles in SMILES for frame in distorted(smiles, 20)]


@pytest.fixture
def geometries() -> list[Atoms]:
    return geometries_of_all()


@cache
def fitted_once(architecture: str) -> Potential:
    potential, geometries = potential_of(architecture).float(), geometries_of_all()
    held_out = measure_errors(potential, labelled(potential, geometries[::2], 0))
    potential.uncertainty = fit_uncertainty(potential, labelled(potential, geometries, 1), held_out)
    return potential


@pytest.fixture
def fitted(architecture) -> Potential:
    return copy.deepcopy(fitted_once(architecture))


def test_expected_errors_are_the_observed_ones(fitted, geometries):
    found = measure_errors(fitted, labelled(fitted, geometries[1::2], 2))
    for element, width in WIDTHS.items():
        assert found.forces_uncertainty[found.z == element].mean() == pytest.approx(width, rel=0.3)
    assert found.energy_uncertainty.mean() == pytest.approx(ENERGY_WIDTH, rel=0.4)
    assert fitted.uncertainty.typical == pytest.approx(found.forces.mean().item(), rel=0.2)


def test_uncertainty_changes_no_energy_and_no_force(fitted, geometries):
    with_it = NeuralCalculator(fitted, ELEMENTS, "float32", "cpu")
    fitted.uncertainty = None
    without = NeuralCalculator(fitted, ELEMENTS, "float32", "cpu")
    atoms = geometries[0]
    np.testing.assert_array_equal(with_it.get_forces(atoms), without.get_forces(atoms))
    assert with_it.results["energy"] == without.results["energy"]
    assert with_it.get_property("forces_uncertainty", atoms).shape == (len(atoms),)
    assert with_it.get_property("energy_uncertainty", atoms) > 0
    assert "forces_uncertainty" not in without.implemented_properties
    assert "energy" in with_it.export_properties()


def test_systems_together_have_the_uncertainties_of_each(fitted, geometries):
    calculator = NeuralCalculator(fitted, ELEMENTS, "float64", "cpu")
    pair = geometries[0], geometries[-1]
    single = [calculator.get_property("forces_uncertainty", atoms) for atoms in pair]
    energies = [calculator.get_property("energy_uncertainty", atoms) for atoms in pair]
    both = pair[0] + pair[1]
    both.set_array("system", np.repeat([0, 1], [len(atoms) for atoms in pair]))
    together = calculator.get_property("forces_uncertainty", both)
    np.testing.assert_allclose(together, np.concatenate(single), rtol=1e-9)
    assert calculator.results["energy_uncertainty"] == pytest.approx(np.hypot(*energies))


def test_pair_at_a_distance_of_no_training_molecule_is_named(fitted, geometries, caplog):
    calculator = NeuralCalculator(fitted, ELEMENTS, "float64", "cpu")
    with caplog.at_level(logging.WARNING):
        calculator.get_potential_energy(geometries[0])
        assert not caplog.records
        calculator.get_potential_energy(molecule("H2"))
    (record,) = caplog.records
    assert "H2: outside the training domain" in record.getMessage()
    assert "no training molecule has H-H at 0.74 Å" in record.getMessage()
    least = fitted.uncertainty.unseen_error.item()
    assert (calculator.results["forces_uncertainty"] >= least).all()


def test_dynamics_writes_uncertainties(fitted, geometries, tmp_path):
    from ase.io import read

    calculator = NeuralCalculator(fitted, ELEMENTS, "float64", "cpu")
    settings = Settings(length_ps=0.002, frame_fs=1, max_bond_deviation_a=5)
    start = geometries[0].copy()
    start.calc = None
    (summary,) = write_trajectory(start, calculator, settings, tmp_path / "run.xyz")
    frames = read(tmp_path / "run.xyz", ":")
    for frame in frames:
        expected = calculator.get_property(
            "forces_uncertainty", Atoms(frame.numbers, frame.positions)
        )
        np.testing.assert_allclose(frame.arrays["forces_uncertainty"], expected, rtol=1e-3)
        assert frame.info["energy_uncertainty"] > 0
    unsure = [frame.arrays["forces_uncertainty"] for frame in frames]
    assert summary.forces_uncertainty_mev_per_a == pytest.approx(1000 * np.mean(unsure), rel=1e-4)
    outside = np.mean([frame.info["outside_training"] for frame in frames])
    assert summary.outside_training_fraction == outside


def test_last_layer_makes_the_energies_of_atoms(calculator):
    layer = last_layer(calculator.potential.model)
    calculator.get_potential_energy(molecule("CH3CH2OH"))
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.fill_(0.25)
    ethanol, water = (
        NeuralCalculator(calculator.potential, ELEMENTS, "float64", "cpu").get_potential_energy(
            atoms
        )
        - calculator.potential.references[atoms.numbers].sum().item()
        for atoms in (molecule("CH3CH2OH"), molecule("H2O"))
    )
    assert ethanol / 9 == pytest.approx(water / 3, abs=1e-6)
    assert ethanol != 0
