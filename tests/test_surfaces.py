"""Analysis of a potential energy surface: minima, frequencies, scans, spectra, force errors."""

import re
from dataclasses import asdict
from functools import partial

import matplotlib as mpl
import numpy as np
import pandas as pd
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
from nnpipe.analysis.md_figures import md_figures, run_data, write_frames
from nnpipe.analysis.scan import scan, scan_table
from nnpipe.analysis.spectrum import vibrational_density
from nnpipe.analysis.style import model_styles, save, save_light_and_dark
from nnpipe.data.splits import read_split, write_split
from nnpipe.labelling.tight_binding import gfn2
from nnpipe.models.names import readable_name
from nnpipe.simulation.calculator import load_calculator
from nnpipe.simulation.md import write_trajectory
from nnpipe.simulation.relax import relax
from nnpipe.simulation.settings import Settings
from nnpipe.structures.vibrations import hessian, normal_modes
from nnpipe.units import FREQUENCY

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
    path = tmp_path / "scan.xyz"
    write_frames(scan(molecule("C2H6"), {"model": XTB, "gfn2": Lost()}), path)
    table = scan_table(read(path, ":"))
    assert table["gfn2_energy_ev"].isna().all()
    assert table["model_energy_ev"].notna().mean() > 0.9
    summary = {"molecule": "ethane", "model": "gnn"}
    save(plots.scan(summary, table), tmp_path / "scan.png")


def test_scan_of_ethane_shows_bond_and_barrier():
    """C-C bond of 1.53 Å, bond energy of several eV, three torsion barriers of about 0.12 eV."""
    ethane, _ = relax(molecule("C2H6"), XTB, 0.005, 200)
    table = scan_table(scan(ethane, {"xtb": XTB}))
    stretch = table[table["scan"] == "stretch"].set_index("at")["xtb_energy_ev"]
    torsion = table[table["scan"] == "torsion"].set_index("at")["xtb_energy_ev"]
    assert stretch.idxmin() == pytest.approx(1.53, abs=0.06)
    assert 3 < stretch.iloc[-1] < 8
    assert torsion[0] == pytest.approx(torsion[360], abs=1e-5)
    assert torsion[120] == pytest.approx(0, abs=0.01)
    assert 0.05 < torsion[60] < 0.25


def test_a_molecule_without_a_rotor_has_an_empty_scan(tmp_path):
    path = tmp_path / "scan.xyz"
    write_frames(scan(molecule("H2O"), {"model": XTB, "gfn2": XTB}), path)
    assert path.read_bytes() == b""
    summary = {"molecule": "water", "model": "gnn"}
    save(plots.scan(summary, scan_table([])), tmp_path / "scan.png")


@pytest.fixture(scope="module")
def peroxide(tmp_path_factory):
    """A trajectory of H2O2 with one heavy hydrogen and the shipped model: frames, summaries,
    data, calculator."""
    calculator = load_calculator("gnn", device="cpu")
    start, path = molecule("H2O2"), tmp_path_factory.mktemp("md") / "x.xyz"
    start.set_masses([*start.get_masses()[:-1], 2.014])
    summaries = write_trajectory(
        [start], calculator, Settings(length_ps=0.01, frame_fs=2.0), path, "gnn"
    )
    frames = read(path, ":", format="extxyz")
    return frames, list(map(asdict, summaries)), run_data(frames, calculator), calculator


def test_md_figures_are_drawn_for_a_molecule_with_a_rotor(peroxide):
    """The run, the spectrum and the scan of hydrogen peroxide with the shipped model."""
    frames, summaries, data, _ = peroxide
    figures = md_figures(frames, summaries, data, 0.5)
    assert list(figures) == ["run", "spectrum", "scan"]
    stretch = figures["scan"].axes[0]
    assert [line.get_label() for line in stretch.lines] == ["AtomGNN", "GFN2-xTB"]
    assert all(np.isfinite(line.get_ydata()).mean() > 0.5 for line in stretch.lines)
    trajectory, harmonic = figures["spectrum"].axes[0].lines
    assert len(harmonic.get_xdata()) == 6
    assert np.trapezoid(trajectory.get_ydata(), trajectory.get_xdata()) == pytest.approx(1000)


def test_modes_vibrate_at_their_frequencies_and_are_orthogonal(peroxide, tmp_path):
    """The curvature of the energy along a mode gives its frequency, with the masses of the file."""
    _, _, data, calculator = peroxide
    write_frames(data.modes, tmp_path / "modes.xyz")
    modes = read(tmp_path / "modes.xyz", ":", format="extxyz")
    weighted = []
    for mode in modes:
        moved, displacement = mode.copy(), mode.arrays["displacement"]
        masses = mode.get_masses()
        assert masses[-1] == pytest.approx(2.014)
        assert np.linalg.norm(displacement, axis=1).max() == pytest.approx(1, abs=1e-6)
        forces = []
        for step in (0.005, -0.005):  # Å
            moved.positions = mode.positions + step * displacement
            forces.append(calculator.get_forces(moved))
        curvature = -np.sum((forces[0] - forces[1]) * displacement) / 0.01  # eV/Å^2
        mass = np.sum(masses[:, None] * displacement**2)  # amu
        assert mode.info["frequency_cm1"] ** 2 == pytest.approx(
            curvature / mass * FREQUENCY**2, rel=0.02, abs=2000
        )
        weighted.append((np.sqrt(masses)[:, None] * displacement).ravel())
    assert len(modes) == 6
    unit = np.array(weighted) / np.linalg.norm(weighted, axis=1)[:, None]
    np.testing.assert_allclose(unit @ unit.T, np.eye(6), atol=1e-6)
    found = [mode.info["frequency_cm1"] for mode in modes]
    where = modes[0].numbers, modes[0].positions
    hessian = calculator.get_hessian(modes[0])
    expected, _ = normal_modes(*where, hessian, masses=modes[0].get_masses())
    np.testing.assert_allclose(found, expected, atol=2)


def test_energies_of_a_scan_belong_to_its_geometries(peroxide, tmp_path):
    _, _, data, calculator = peroxide
    write_frames(data.geometries, tmp_path / "scan.xyz")
    frames = read(tmp_path / "scan.xyz", ":", format="extxyz")
    minimum = calculator.get_potential_energy(data.modes[0])
    for frame in frames[::7]:
        energy = calculator.get_potential_energy(frame) - minimum
        assert frame.info["model_energy_ev"] == pytest.approx(energy, abs=1e-3)
        if frame.info["scan"] == "stretch":
            first, second = map(int, re.findall(r"\d+", frame.info["bond"]))
            assert frame.get_distance(first, second) == pytest.approx(frame.info["at"], abs=1e-5)
    assert {frame.info["scan"] for frame in frames} == {"stretch", "torsion"}


def test_names_of_models_as_people_write_them():
    names = ["gnn", "gnn_u0", "mlp", "schnet", "my_model"]
    readable = ["AtomGNN", "AtomGNN U0", "AtomMLP", "SchNet", "my_model"]
    assert [readable_name(name) for name in names] == readable


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


def test_a_model_has_one_colour_and_models_differ():
    models = ["mine", "gnn", "GFN2-xTB", "mlp", "other", "schnet", "gnn_u0"]
    styles = model_styles(models)
    assert len({(s["color"], s["marker"]) for s in styles.values()}) == len(models)
    assert model_styles(["mlp"])["mlp"] == styles["mlp"]
    assert styles["GFN2-xTB"]["linestyle"] == "--"


def test_a_figure_is_drawn_for_a_light_and_a_dark_page(tmp_path):
    """Ink on the page has a contrast of at least 4.5, and the settings of matplotlib are kept."""
    before, inks = dict(mpl.rcParams), {}
    table = pd.DataFrame({"reference_cm1": [100.0, 3000.0], "frequency_cm1": [120.0, 2900.0]})
    for dark, page in ((False, 1.0), (True, 0.0)):
        figure = plots.frequency_parity({"gnn": table}, dark=dark)
        inks[dark] = mpl.colors.to_rgb(figure.axes[0].yaxis.get_ticklabels()[0].get_color())
        light, dim = sorted([page, inks[dark][0] ** 2.2], reverse=True)
        assert (light + 0.05) / (dim + 0.05) > 4.5
    assert dict(mpl.rcParams) == before
    for name in ("a.svg", "b.svg"):
        save_light_and_dark(partial(plots.frequency_parity, {"gnn": table}), tmp_path / name)
    texts = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert sorted(texts) == ["a-dark.svg", "a-light.svg", "b-dark.svg", "b-light.svg"]
    assert texts["a-dark.svg"] == texts["b-dark.svg"] != texts["a-light.svg"]
