"""What is refused or warned of before a simulation, and what is not."""

import re

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.collections import g2
from ase.spacegroup import crystal

from conftest import ELEMENTS, potential_of
from nnpipe.errors import InputError
from nnpipe.simulation.calculator import NeuralCalculator, load_calculator
from nnpipe.simulation.md import write_trajectory
from nnpipe.simulation.settings import Settings
from nnpipe.structures.checks import check_geometry, check_supported
from nnpipe.structures.load import atomic_numbers, load_start, load_structure
from nnpipe.structures.smiles import from_smiles


def check(atoms, closed_shells=True):
    check_geometry(atoms)
    check_supported(atoms, ELEMENTS, closed_shells)


def with_info(name, **info):
    atoms = molecule(name)
    atoms.info |= info
    return atoms


def without(name, *removed):
    atoms = molecule(name)
    del atoms[list(removed)]
    return atoms


def beside(first, second, distance):
    second.positions += first.positions[0] - second.positions[0] + [0, 0, distance]
    return first + second


UREA = crystal(
    "CONHH",
    [(0, 0.5, 0.328), (0, 0.5, 0.5966), (0.1459, 0.6459, 0.1784), (0.2575, 0.7575, 0.2843),
     (0.1443, 0.6443, -0.0341)],
    spacegroup=113, cellpar=[5.565, 5.565, 4.684, 90, 90, 90],
)  # fmt: skip
METHANE = Atoms("CH4", [[0, 0, 0], [1.09, 0, 0], [-1.09, 0, 0], [0, 1.09, 0], [0, -1.09, 0]])
REFUSED = {
    "ammonium": (
        Atoms("NH4", molecule("CH4").positions * 0.94),
        "H4N with atom 0 has 11 electrons",
    ),
    "charge": (with_info("H2O", charge=-1), r"charge -1: the models support neutral"),
    "text": (with_info("H2O", charge="one"), "charge 'one' is not a number"),
    "triplet": (with_info("CH2_s3B1d", spin=3), "spin 3"),
    "moments": (molecule("O2"), "magnetic moments of 2"),
    "oxygen": (Atoms("O2", [[0, 0, 0], [0, 0, 1.21]]), "O2 with atom 0 is a triplet"),
    "radical": (without("CH4", 4), "has 9 electrons, as a radical"),
    "pair": (
        beside(without("CH4", 4), without("CH4", 4), 6.0), "CH3 with atom 0 has 9 electrons",
    ),
    "heavy atoms": (without("CH3CH2OH", 3, 4, 5, 6, 7, 8), "hydrogens are missing"),
    "oxygen of water": (without("H2O", 1, 2), "hydrogens are missing"),
    "sketch of heavy atoms": (
        Atoms("C2O", [[0, 0, 0], [0.866, 0.5, 0], [1.732, 0, 0]]), "hydrogens are missing",
    ),
    "sketch": (METHANE, "four neighbours are in one plane"),
    "overlap": (beside(molecule("H2O"), molecule("H2O"), 1.5), r"atoms . \(.\) and . \(.\) clash"),
    "unit": (Atoms("OH2", molecule("H2O").positions / 1.89), r"clash: 0\.51 Å"),
    "empty": (Atoms(), "no atoms"),
    "far": (Atoms("Ne", [[2e6, 0, 0]]), "beyond 1e\\+06 Å"),
    "nan": (Atoms("Ne", [[np.nan, 0, 0]]), "not finite"),
    "cell": (Atoms("Ne", cell=[np.inf, 1, 1]), "not finite"),
    "element": (molecule("SiH4"), "element Si is not in the training set"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_structures_are_refused_in_one_line(name):
    atoms, message = REFUSED[name]
    with pytest.raises(InputError, match=message) as caught:
        check(atoms)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("smiles", ["c1ccc2ccccc2c1", "Oc1ccccc1", "c1ccoc1", "C=CC=C"])
def test_skeleton_without_hydrogens_is_refused(smiles):
    """Bonds of 1.4 Å look like double bonds."""
    whole = from_smiles(smiles)
    check(whole)
    with pytest.raises(InputError, match="hydrogens are missing"):
        check(whole[whole.numbers > 1])


def test_dianion_with_an_even_number_of_electrons_is_refused():
    acid = from_smiles("OC(=O)C(=O)O")
    check(acid)
    with pytest.raises(InputError, match="have one bond each, as in an ion"):
        check(acid[acid.numbers > 1])


def test_strong_hydrogen_bond_is_no_clash():
    """Water's hydrogen at 1.35 Å from another oxygen, as in hot glycine."""
    first, second = molecule("H2O"), molecule("H2O")
    along = first.positions[1] - first.positions[0]
    place = first.positions[1] + 1.35 * along / np.linalg.norm(along)
    second.rotate(90, "x")
    second.positions += place - second.positions[0]
    check(first + second)


def test_rounded_partial_charges_are_no_charge():
    atoms = molecule("H2O")
    atoms.set_initial_charges([-0.8, 0.43, 0.43])
    check(atoms)


def test_closed_shells_pass_without_a_word(molecules, caplog):
    for row in range(len(molecules.index)):
        _, z, pos = molecules.geometry(row)
        check(Atoms(z, pos))
    for name in set(g2.names) - {"CH2_s1A1d"}:  # a carbene
        atoms = molecule(name)
        if set(atoms.numbers) <= set(ELEMENTS) and not atoms.get_initial_magnetic_moments().any():
            check(atoms)
    for atoms in (UREA, UREA.repeat(2), bulk("C", "diamond", 3.567)):
        check(atoms)
    for smiles in (
        "C[N+](=O)[O-]", "CN=[N+]=[N-]", "C=[N+]=[N-]", "[C-]#[N+]C", "C[N+](C)(C)[O-]",
        "[O-][O+]=O", "C1=CC=CC=CC=C1", "O=C=O", "N#N", "FF", "O=C=C=C=O", "O.O.CO",
        "Fc1c(F)c(F)c(F)c(F)c1F",
    ):  # fmt: skip
        check(from_smiles(smiles))
    assert not caplog.records


def test_hot_geometries_pass(molecules):
    rng = np.random.default_rng(0)
    for row in range(0, len(molecules.index), 4):
        _, z, pos = molecules.geometry(row)
        check(Atoms(z, pos + 0.03 * rng.normal(size=pos.shape)))


@pytest.mark.parametrize(
    ("atoms", "message"),
    [
        (molecule("CH2_s1A1d"), r"open valences of atoms 0 \(C\)"),
        (from_smiles("[NH3+]CC(=O)[O-]"), r"atom 0 \(N\) has four bonds, as in a zwitterion"),
    ],
)
def test_unusual_structures_are_warned_of(atoms, message, caplog):
    check(atoms)
    (record,) = caplog.records
    assert re.search(message, record.getMessage())


def test_radicals_pass_if_the_training_set_has_them():
    check(without("CH4", 4), closed_shells=False)


@pytest.mark.parametrize("function", [atomic_numbers, load_start])
def test_sources_are_refused_before_the_run(function, tmp_path):
    path = tmp_path / "radical.xyz"
    without("CH4", 4).write(path)
    with pytest.raises(InputError, match=r"radical\.xyz: CH3 with atom 0 has 9 electrons"):
        function(str(path), ELEMENTS)
    with pytest.raises(InputError, match="O=O: O2 with atom 0 is a triplet"):
        function("O=O", ELEMENTS)
    assert load_structure("O=O").get_chemical_formula() == "O2"


def test_calculator_refuses_charges_and_warns_once_of_radicals(caplog):
    calculator = NeuralCalculator(potential_of("mlp"), ELEMENTS, "float64", "cpu")
    atoms = without("CH4", 4)
    atoms.calc = calculator
    for length in (1.1, 1.2, 3.0):
        atoms.set_distance(0, 1, length, fix=0)
        assert np.isfinite(atoms.get_potential_energy())
    calculator.get_potential_energy(without("NH3", 3))
    (record,) = caplog.records
    assert "CH3 with atom 0 has 9 electrons" in record.getMessage()
    assert "no effect" in record.getMessage()
    water = molecule("H2O")
    water.calc = calculator
    water.get_potential_energy()
    water.info["charge"] = 1
    water.rattle()
    with pytest.raises(InputError, match=r"charge \+1"):
        water.get_potential_energy()
    water.info["charge"] = 0
    water.set_initial_charges([-1.0, 0.0, 0.0])
    with pytest.raises(InputError, match="charge -1"):
        calculator.get_hessian(water)


def test_stretched_molecules_are_computed_without_a_word(caplog):
    ethane = molecule("C2H6")
    ethane.calc = NeuralCalculator(potential_of("mlp"), ELEMENTS, "float64", "cpu")
    ethane.positions[ethane.positions[:, 2] > 0, 2] += 3.0
    ethane.get_potential_energy()
    assert not caplog.records


def test_simulate_refuses_what_the_model_does_not_describe(tmp_path):
    settings = Settings(length_ps=0.001)
    with pytest.raises(InputError, match="CH3 with atom 0 has 9 electrons"):
        write_trajectory([without("CH4", 4)], load_calculator("gnn"), settings, tmp_path / "x.xyz")
