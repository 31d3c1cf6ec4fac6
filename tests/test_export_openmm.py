"""A model in OpenMM: forces of the calculator of ASE, conserved energy, and the example."""

import subprocess
import sys

import numpy as np
import pytest
from ase.io import read
from ase.units import fs, kJ, mol, nm

from nnpipe import load_calculator
from nnpipe.errors import InputError
from nnpipe.export.check import compare, systems, water_box
from nnpipe.export.registry import export_model
from nnpipe.structures.smiles import from_smiles

openmm = pytest.importorskip("openmm")
if not hasattr(openmm, "PythonForce"):
    pytest.skip("this OpenMM has no PythonForce", allow_module_level=True)

from nnpipe.export.openmm import make_force, make_system  # noqa: E402


def context(system, atoms, platform="Reference", timestep=0.0005):
    made = openmm.Context(
        system,
        openmm.VerletIntegrator(timestep),
        openmm.Platform.getPlatformByName(platform),
    )
    made.setPositions(atoms.positions / nm)
    return made


def energy_forces(made):
    """Return potential energy (eV), forces (eV/Å) and kinetic energy (eV)."""
    state = made.getState(energy=True, forces=True)
    forces = state.getForces(asNumpy=True)._value * (kJ / mol / nm)
    potential, kinetic = state.getPotentialEnergy()._value, state.getKineticEnergy()._value
    return potential * kJ / mol, forces, kinetic * kJ / mol


@pytest.mark.parametrize("platform", ["Reference", "CPU"])
@pytest.mark.parametrize("name", ["molecule", "box"])
def test_energies_and_forces_are_those_of_the_calculator(name, platform):
    atoms = systems()[name]
    _, system = make_system(atoms, "gnn")
    energy, forces, _ = energy_forces(context(system, atoms, platform))
    assert compare(atoms, load_calculator("gnn"), energy, forces).within_tolerances()


def test_a_tilted_box_and_atoms_outside_of_it():
    atoms = water_box(3)
    atoms.cell[:] = [[9.3, 0, 0], [2.0, 9.3, 0], [-1.5, 3.0, 9.3]]
    calculator = load_calculator("gnn", dtype="float64")
    _, system = make_system(atoms, calculator)
    made = context(system, atoms)
    expected = energy_forces(made)
    assert compare(atoms, calculator, *expected[:2]).within_tolerances()
    moved = atoms.positions.copy()
    moved[:10] += atoms.cell[0] - 2 * atoms.cell[2]
    made.setPositions(moved / nm)
    found = energy_forces(made)
    assert found[0] == pytest.approx(expected[0], abs=1e-8)
    np.testing.assert_allclose(found[1], expected[1], atol=1e-8)


def test_a_system_written_as_xml_has_the_same_forces():
    atoms = systems()["molecule"]
    _, system = make_system(atoms, "gnn")
    again = openmm.XmlSerializer.deserialize(openmm.XmlSerializer.serialize(system))
    given, found = (energy_forces(context(one, atoms)) for one in (system, again))
    assert found[0] == given[0]
    np.testing.assert_array_equal(found[1], given[1])


def test_the_force_on_a_part_of_the_particles():
    atoms = systems()["molecule"]
    force = make_force("gnn", atoms.numbers.tolist())
    system = openmm.System()
    for mass in (39.9, *atoms.get_masses(), 39.9):
        system.addParticle(mass)
    force.setParticles(list(range(1, len(atoms) + 1)))
    system.addForce(force)
    whole = atoms[[0, *range(len(atoms)), 0]]
    whole.positions[[0, -1]] += 3  # particles without a force
    energy, forces, _ = energy_forces(context(system, whole))
    assert not forces[[0, -1]].any()
    assert compare(atoms, load_calculator("gnn"), energy, forces[1:-1]).within_tolerances()


def test_dynamics_conserves_energy_to_second_order_in_the_time_step():
    atoms = from_smiles("CCO")
    calculator = load_calculator("gnn", dtype="float64")
    _, system = make_system(atoms, calculator)

    def fluctuation(timestep_fs):
        made = context(system, atoms, timestep=timestep_fs * fs / (1000 * fs))
        made.setVelocitiesToTemperature(300, 1)
        totals = []
        for _ in range(int(40 / timestep_fs)):
            made.getIntegrator().step(1)
            potential, _, kinetic = energy_forces(made)
            totals.append(potential + kinetic)
        return np.std(totals)

    coarse, fine = fluctuation(1.0), fluctuation(0.5)
    assert coarse < 0.05
    assert 2.5 < coarse / fine < 6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda atoms: atoms.set_atomic_numbers([17] * len(atoms)), "not trained on element 17"),
        (lambda atoms: (atoms.set_cell([20] * 3), atoms.set_pbc([1, 1, 0])), "all or none"),
    ],
)
def test_systems_that_cannot_be_computed(change, message):
    atoms = systems()["molecule"]
    change(atoms)
    with pytest.raises(InputError, match=message):
        make_system(atoms, "gnn")


def test_the_exported_example_runs(tmp_path):
    folder = tmp_path / "gnn_openmm"
    assert {file.name for file in export_model("gnn", "openmm", folder)} >= {"run.py"}
    script = folder / "run.py"
    script.write_text(
        script.read_text().replace("STEPS, EVERY = 2000, 20", "STEPS, EVERY = 40, 20")
    )
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 3
    topology = read(folder / "structure.pdb")
    assert topology.get_chemical_formula() == "C2H6O"
    assert (folder / "trajectory.dcd").stat().st_size > 2 * 9 * 12
