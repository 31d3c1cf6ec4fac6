"""Analysis of a potential energy surface: minima, frequencies, scans, spectra, force errors."""

from dataclasses import asdict

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import CalculationFailed, Calculator
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read
from scipy.spatial.transform import Rotation
from tblite.ase import TBLite

from nnpipe.analysis import plots
from nnpipe.analysis.forces import force_errors
from nnpipe.analysis.frequencies import at_minima, held_out, rmsd, summary
from nnpipe.analysis.md_figures import md_figures
from nnpipe.analysis.scan import scan
from nnpipe.analysis.spectrum import vibrational_density
from nnpipe.data.splits import read_split, write_split
from nnpipe.labelling.methods import gfn2
from nnpipe.simulation.calculator import load_calculator
from nnpipe.simulation.md import simulate
from nnpipe.simulation.relax import relax
from nnpipe.simulation.settings import Settings
from nnpipe.structures.vibrations import hessian

XTB = TBLite(method="GFN2-xTB", verbosity=0)


def test_frequencies_of_gfn2_deviate_from_qm9_as_published(molecules):
    """Minima within 0.1 Å, frequencies within 60 cm^-1 on average, none imaginary."""
    rows = np.array([6, 7, 20, 40])
    table = at_minima(
        molecules, rows, XTB, lambda atoms: hessian(gfn2(atoms.numbers), atoms.positions)
    )
    row = summary("GFN2-xTB", table)
    assert row["n_molecules"] == 4
    assert row["n_modes"] == sum(len(molecules.modes(r)) for r in rows)
    assert 10 < row["mae_cm1"] < 60
    assert row["imaginary_fraction"] == 0
    assert row["converged_fraction"] == row["minima_within_03a_fraction"] == 1
    assert 0.001 < row["mean_rmsd_a"] < 0.1


def test_relax_finds_the_minimum_from_nearby():
    water = molecule("H2O")
    first, found = relax(water, XTB, 0.005, 200)
    water.rattle(0.05, seed=1)
    again, _ = relax(water, XTB, 0.005, 200)
    assert found
    np.testing.assert_allclose(first.get_all_distances(), again.get_all_distances(), atol=2e-3)


def test_rmsd_superposes_heavy_atoms():
    ethanol = molecule("CH3CH2OH")
    turned = ethanol.copy()
    turned.positions = ethanol.positions @ Rotation.random(rng=1).as_matrix().T + 3.0
    turned.positions[ethanol.numbers == 1] += 1.0
    assert rmsd(ethanol, turned) == pytest.approx(0, abs=1e-6)
    turned.positions[0] += 0.5
    assert 0.1 < rmsd(ethanol, turned) < 0.3
    assert rmsd(molecule("CH4"), molecule("CH4")) == pytest.approx(0, abs=1e-9)


def test_held_out_molecules_are_test_molecules_at_minima(molecules, tmp_path):
    write_split(molecules.index, 100, 50, 250, 0, tmp_path / "split.csv")
    rows = held_out(molecules, tmp_path / "split.csv", 400)
    parts = read_split(tmp_path / "split.csv", molecules.index)
    assert set(rows) <= set(parts["test"])
    assert not {6620, 59818} & set(molecules.index[rows].tolist())
    assert len(held_out(molecules, tmp_path / "split.csv", 7)) == 7


class Lost(Calculator):
    """Does not converge for any geometry."""

    implemented_properties = ["energy"]  # noqa: RUF012

    def calculate(self, *_: object) -> None:
        raise CalculationFailed("SCF not converged")


def test_scan_continues_if_a_calculator_does_not_converge(tmp_path):
    table = scan(molecule("C2H6"), {"xtb": XTB, "lost": Lost()})
    assert table["lost"].isna().all()
    assert table["xtb"].notna().mean() > 0.9
    plots.save(plots.scan("ethane", table), tmp_path / "scan.png")


def test_scan_of_ethane_shows_bond_and_barrier():
    """C-C bond of 1.53 Å, bond energy of several eV, three torsion barriers of about 0.12 eV."""
    ethane, _ = relax(molecule("C2H6"), XTB, 0.005, 200)
    table = scan(ethane, {"xtb": XTB})
    stretch = table[table["scan"] == "stretch"].set_index("at")["xtb"]
    torsion = table[table["scan"] == "torsion"].set_index("at")["xtb"]
    assert stretch.idxmin() == pytest.approx(1.53, abs=0.06)
    assert 3 < stretch.iloc[-1] < 8
    assert torsion[0] == pytest.approx(torsion[360], abs=1e-6)
    assert torsion[120] == pytest.approx(0, abs=0.01)
    assert 0.05 < torsion[60] < 0.25
    assert scan(molecule("H2O"), {"xtb": XTB}).empty


def test_md_figures_are_drawn_for_a_molecule_with_a_rotor(tmp_path):
    """The run, the spectrum and the scan of hydrogen peroxide with the shipped model."""
    calculator = load_calculator("gnn", device="cpu")
    summaries = simulate(
        [molecule("H2O2")], calculator, Settings(length_ps=0.01, frame_fs=2.0), tmp_path / "x.xyz"
    )
    frames = read(tmp_path / "x.xyz", ":", format="extxyz")
    figures = md_figures(frames, list(map(asdict, summaries)), calculator, 0.5)
    assert list(figures) == ["run", "spectrum", "scan"]
    stretch = figures["scan"].axes[0]
    assert [line.get_label() for line in stretch.lines] == ["model", "GFN2-xTB"]
    assert all(np.isfinite(line.get_ydata()).mean() > 0.5 for line in stretch.lines)
    trajectory, harmonic = figures["spectrum"].axes[0].lines
    assert len(harmonic.get_xdata()) == 6
    assert np.trapezoid(trajectory.get_ydata(), trajectory.get_xdata()) == pytest.approx(1000)


def test_spectrum_has_its_peaks_at_the_oscillators():
    """At 1,600 and, weaker, at 3,000 cm^-1; speed of light in cm/fs."""
    time = np.arange(5000) * 2.0
    velocities = np.zeros((5000, 2, 3))
    velocities[:, 0, 0] = np.cos(2 * np.pi * 2.99792458e-5 * 1600 * time)
    velocities[:, 1, 2] = 0.3 * np.cos(2 * np.pi * 2.99792458e-5 * 3000 * time)
    wavenumber, density = vibrational_density(velocities, np.array([12.0, 1.0]), 2.0)
    assert wavenumber[density.argmax()] == pytest.approx(1600, abs=5)
    high = wavenumber > 2000
    assert wavenumber[high][density[high].argmax()] == pytest.approx(3000, abs=5)
    assert np.trapezoid(density, wavenumber) == pytest.approx(1)


def test_force_errors_are_per_component_and_reference():
    frames = []
    for name, force in (("a", 1.0), ("a", 2.0), ("b", 3.0), ("b", 0.0)):
        atoms = Atoms("H", info={"reference": name})
        atoms.calc = SinglePointCalculator(atoms, forces=[[force, 0.0, 0.0]])
        frames.append(atoms)
    predicted = [np.array([[1.0, 0.3, 0.0]]), np.array([[2.0, 0.0, 0.0]]), -frames[2].get_forces()]
    predicted.append(np.zeros((1, 3)))  # which has no direction
    first, second = force_errors("m", frames, predicted)
    assert (first["reference"], first["n_frames"]) == ("a", 2)
    assert first["mae_mev_per_a"] == pytest.approx(50)
    assert first["rmse_mev_per_a"] == pytest.approx(300 / np.sqrt(6))
    assert second["cosine"] == pytest.approx(-1)
