"""Starting structures from SMILES: one and several molecules, what is refused, isotopes."""

import contextlib
import logging

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.data import vdw_radii
from ase.io import read, write
from ase.md.verlet import VelocityVerlet
from ase.units import fs

from nnpipe.analysis.spectrum import vibrational_density
from nnpipe.errors import InputError
from nnpipe.labelling.tight_binding import gfn2
from nnpipe.simulation.propagate import combine
from nnpipe.structures.bonds import bonded_pairs
from nnpipe.structures.load import atomic_numbers
from nnpipe.structures.smiles import from_smiles, matches
from nnpipe.structures.vibrations import hessian, normal_modes


@pytest.mark.parametrize(
    ("smiles", "message"),
    [
        ("CC(", "does not parse"),
        ("", "does not parse"),
        ("CCO.", "does not parse"),
        ("C[N+](C)(C)C", r"SMILES 'C\[N\+\]\(C\)\(C\)C' has charge \+1 and 0 unpaired electrons"),
        ("C[CH]C", r"has charge \+0 and 1 unpaired electrons"),
        ("[Na+].[Cl-]", r"'\[Na\+\]' of '\[Na\+\]\.\[Cl-\]' has charge \+1"),
        ("O.C[NH3+].CC(=O)[O-]", r"'C\[NH3\+\]' of .* has charge \+1"),
        ("CCO CCN", "has a space; join molecules with a dot"),
        ("[99CH4]", "C has no isotope 99"),
        ("C~C", "has the bond '~'; write a single, double, triple or aromatic bond: - = # :"),
        ("C~[H]", "has the bond '~'"),
        ("C$C", r"has the bond '\$'"),
        ("N->B", "has the bond '->'"),
        ("B<-N", "has the bond '<-'"),
        ("C:C", "has an aromatic bond outside rings"),
        (
            61 * "C",
            "has 61 heavy atoms, more than 60, for which no conformer is searched; give a s",
        ),
        ("O." + 300 * "C", "has 300 heavy atoms, more than 60"),
    ],
)
def test_smiles_are_refused_in_one_line(smiles, message):
    for function in (from_smiles, atomic_numbers):
        with pytest.raises(InputError, match=message) as caught:
            function(smiles)
        assert "\n" not in str(caught.value)


def test_molecules_match_a_pattern():
    found = matches(["c1ccccc1O", "C1=CC=CC=C1", "C1CCCCC1", "", "not a SMILES"], "c1ccccc1")
    assert found.tolist() == [True, True, False, False, False]
    assert matches([], "c1ccccc1").shape == (0,)
    with pytest.raises(InputError, match=r"SMARTS 'c1cc' does not parse; check"):
        matches(["C"], "c1cc")


def test_nothing_of_rdkit_is_printed(capfd):
    for smiles in ("[U]", "B1BB1", "[SiH4]", "CC("):  # without parameters of MMFF94, or no SMILES
        with contextlib.suppress(InputError):
            from_smiles(smiles)
    assert capfd.readouterr() == ("", "")


def test_from_smiles_is_reproducible_and_bonded_as_drawn():
    first, second = from_smiles("CC(=O)Oc1ccccc1C(=O)O", 3), from_smiles("CC(=O)Oc1ccccc1C(=O)O", 3)
    np.testing.assert_array_equal(first.positions, second.positions)
    assert len(bonded_pairs(first)) == 21  # 21 atoms, one ring


@pytest.mark.parametrize(
    ("smiles", "symbols", "sizes"),
    [
        ("N.N", "NH3NH3", [4, 4]),
        ("CCO.O", "C2OH6OH2", [9, 3]),
        ("O.CC(=O)Oc1ccccc1C(=O)O.[H][H]", "OH2C2O2C7O2H10", [3, 21, 2]),
        ("C1.C1", "C2H6", [8]),  # a bond across the dot
    ],
)
def test_molecules_of_one_smiles_touch_and_do_not_overlap(smiles, symbols, sizes):
    part, starts = np.repeat(np.arange(len(sizes)), sizes), set()
    for seed in range(5):
        atoms = from_smiles(smiles, seed)
        assert atoms.get_chemical_formula("reduce") == symbols
        radii = vdw_radii[atoms.numbers]
        gaps = atoms.get_all_distances() - radii[:, None] - radii
        for molecule in range(len(sizes)) if len(sizes) > 1 else ():
            nearest = gaps[part == molecule][:, part != molecule].min()
            assert 0 < nearest < 0.3
        np.testing.assert_array_equal(atoms.positions, from_smiles(smiles, seed).positions)
        starts.add(atoms.positions[-1].tobytes())
    assert len(starts) == 5 or len(sizes) == 1


@pytest.mark.parametrize(
    ("smiles", "warns"),
    [("[NH3+]CC(=O)[O-]", True), ("C[N+](=O)[O-]", False), ("CN=[N+]=[N-]", False)],
)
def test_zwitterions_are_warned_of(smiles, warns, caplog):
    with caplog.at_level(logging.WARNING):
        from_smiles(smiles)
    assert ("is a zwitterion" in caplog.text) == warns


@pytest.mark.parametrize(
    ("smiles", "masses"),
    [
        ("[2H]C([2H])([2H])O", [2.0141, 12.011, 2.0141, 2.0141, 15.999, 1.008]),
        ("[13CH4]", [13.0034, 1.008, 1.008, 1.008, 1.008]),
        ("N.[2H]O[2H]", [14.007, 1.008, 1.008, 1.008, 2.0141, 15.999, 2.0141]),
    ],
)
def test_isotopes_keep_their_masses(smiles, masses, tmp_path):
    atoms = from_smiles(smiles)
    write(tmp_path / "start.xyz", atoms, format="extxyz")
    for start in (atoms, read(tmp_path / "start.xyz"), combine([atoms])):
        np.testing.assert_allclose(start.get_masses(), masses, atol=1e-3)


class OfFunction(Calculator):
    """Energy and forces of a function of positions."""

    implemented_properties = ("energy", "forces")

    def __init__(self, function):
        super().__init__()
        self.function = function

    def calculate(self, *arguments):
        super().calculate(*arguments)
        energy, forces = self.function(self.atoms.positions)
        self.results = {"energy": energy, "forces": forces}


def test_heavy_water_vibrates_more_slowly():
    heavy = from_smiles("[2H]O[2H]")
    light, stretches, peaks = Atoms(heavy.numbers, heavy.positions), [], []
    surface = gfn2(heavy.numbers)
    for atoms in (light, heavy):
        matrix = hessian(surface, atoms.positions)
        where = atoms.numbers, atoms.positions
        stretches.append(normal_modes(*where, matrix, masses=atoms.get_masses())[0][-1])
        atoms.calc = OfFunction(surface)
        atoms.positions[0] *= 1.02  # along one bond
        dynamics, velocities = VelocityVerlet(atoms, 0.5 * fs), []
        dynamics.attach(lambda a=atoms, v=velocities: v.append(a.get_velocities()), 2)
        dynamics.run(600)
        wave, density = vibrational_density(np.array(velocities), atoms.get_masses(), 1.0)
        high = wave > 2000
        peaks.append(wave[high][density[high].argmax()])
    # symmetric and antisymmetric stretch of water, measured: 3657 / 2671, 3756 / 2788 cm^-1
    assert stretches[0] / stretches[1] == pytest.approx(1.36, abs=0.02)
    assert peaks[0] / peaks[1] == pytest.approx(1.36, abs=0.03)
