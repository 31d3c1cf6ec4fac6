"""Langevin dynamics at 300 K in OpenMM with a model of nnpipe.

    pip install "openmm>=8.5"
    python run.py                # ethanol
    python run.py structure.xyz  # any file that ASE reads, in open space or a periodic box

Writes structure.pdb, trajectory.dcd, and a table of energies and temperatures.
"""

import sys
from pathlib import Path

import openmm
from ase.io import read
from openmm import app, unit

from nnpipe import load_calculator
from nnpipe.export.openmm import make_system

HERE = Path(__file__).parent
STEPS, EVERY = 2000, 20
COMPILED = False  # True: several times faster, after half a minute of compilation

if __name__ == "__main__":
    atoms = read(sys.argv[1] if len(sys.argv) > 1 else HERE / "structure.xyz")
    model = load_calculator(HERE / "model", compiled=COMPILED)
    topology, system = make_system(atoms, model)
    positions = atoms.positions * unit.angstrom
    integrator = openmm.LangevinMiddleIntegrator(
        300 * unit.kelvin, 1 / unit.picosecond, 0.5 * unit.femtosecond
    )
    simulation = app.Simulation(topology, system, integrator)
    simulation.context.setPositions(positions)
    simulation.minimizeEnergy()
    simulation.context.setVelocitiesToTemperature(300 * unit.kelvin, 1)
    with open(HERE / "structure.pdb", "w") as file:
        app.PDBFile.writeFile(topology, positions, file)
    columns = {"step": True, "potentialEnergy": True, "totalEnergy": True, "temperature": True}
    simulation.reporters += [
        app.DCDReporter(str(HERE / "trajectory.dcd"), EVERY),
        app.StateDataReporter(sys.stdout, EVERY, **columns),
    ]
    simulation.step(STEPS)
