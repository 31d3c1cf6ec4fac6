"""A model in other simulation programs, compared with the calculator of ASE.

    python benchmarks/engines.py compare              # all engines that are installed
    python benchmarks/engines.py compare --engine i-pi
    python benchmarks/engines.py path-integrals       # quantum kinetic energy of methane in i-PI

`compare` computes a molecule and a periodic box (nnpipe.export.check) in each engine, then measures
the time of a step of dynamics without a thermostat: an engine and the compiled calculator of ASE
take turns in one process, and the median round counts. Values are recorded in
benchmarks/results/engines.csv, tables `differences` and `path_integrals`.
"""

import argparse
import atexit
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, chdir
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import version
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator, all_changes
from ase.md.verlet import VelocityVerlet
from ase.stress import full_3x3_to_voigt_6_stress
from records import record

from nnpipe import load_calculator
from nnpipe.export.check import compare, systems
from nnpipe.export.i_pi import harmonic_gyration, harmonic_kinetic_energy, write_start
from nnpipe.export.registry import export_model
from nnpipe.runtime.device import use_threads
from nnpipe.simulation.relax import relax
from nnpipe.structures.smiles import from_smiles
from nnpipe.structures.vibrations import normal_modes

MODEL = "gnn"
TIMESTEP_FS = 0.5
ROUNDS, STEPS = 5, 100
Result = tuple[float, np.ndarray, np.ndarray | None]  # eV, (N, 3) eV/Å, (3, 3) eV/Å^3 or None


@dataclass
class Runner:
    """One system in an engine: energy, forces and stress at the start, and steps of dynamics."""

    evaluate: Callable[[], Result]
    run: Callable[[int], Any]  # so many steps of dynamics without a thermostat


def with_calculator(atoms: Atoms, calculator: Calculator) -> Runner:
    """Return a calculator with the integrator of ASE."""
    atoms = atoms.copy()
    atoms.calc = calculator

    def evaluate() -> Result:
        stress = atoms.get_stress(voigt=False) if atoms.pbc.all() else None
        return atoms.get_potential_energy(), atoms.get_forces(), stress

    return Runner(evaluate, VelocityVerlet(atoms, TIMESTEP_FS * units.fs).run)


def in_ase(atoms: Atoms, stack: ExitStack) -> Runner:
    """Return the compiled calculator."""
    return with_calculator(atoms, load_calculator(MODEL, device="cpu", compiled=True))


def in_torch(atoms: Atoms, stack: ExitStack, engine: str = "torch") -> Runner:
    """Return the exported program, as the example beside it uses it, with the integrator of ASE."""
    folder = _exported(engine, stack)
    specification = spec_from_file_location(f"example_{engine}", folder / "example.py")
    example = module_from_spec(specification)
    specification.loader.exec_module(example)

    class Program(Calculator):
        implemented_properties = ["energy", "forces", "stress"]  # noqa: RUF012

        def calculate(
            self, atoms: Atoms, properties: Any = (), system_changes: Any = all_changes
        ) -> None:
            energy, forces, virial = example.evaluate(atoms)
            self.results = {"energy": energy, "forces": forces}
            if atoms.pbc.all():
                self.results["stress"] = full_3x3_to_voigt_6_stress(virial / atoms.get_volume())

    return with_calculator(atoms, Program())


def in_torch_sim(atoms: Atoms, stack: ExitStack) -> Runner:
    """Return torch-sim with a batch of one system."""
    import torch
    import torch_sim as ts

    from nnpipe.export.torch_sim import TorchSimModel

    calculator = load_calculator(MODEL, device="cpu", compiled=True)
    model = TorchSimModel(calculator, compute_stress=False)
    with_stress = TorchSimModel(load_calculator(MODEL, device="cpu"))
    state = ts.io.atoms_to_state([atoms], torch.device("cpu"), torch.float64)
    state.pbc = bool(atoms.pbc.all())

    def evaluate() -> Result:
        found = (with_stress if state.pbc else model)(state)
        stress = found["stress"][0].numpy() if state.pbc else None
        return found["energy"].item(), found["forces"].numpy(), stress

    start, step = ts.integrators.nve(
        model,
        kT=torch.tensor(0.0, dtype=torch.float64),
        dt=torch.tensor(TIMESTEP_FS * 1e-3 * ts.units.MetalUnits.time, dtype=torch.float64),
    )
    moving = [start(state)]

    def run(steps: int) -> None:
        for _ in range(steps):
            moving[0] = step(moving[0])

    return Runner(evaluate, run)


def in_i_pi(atoms: Atoms, stack: ExitStack) -> Runner:
    """Return i-PI in this process, with the exported driver in another process."""
    from ipi.scripting.interactive import InteractiveSimulation
    from ipi.utils.units import unit_to_internal, unit_to_user

    folder = _exported("i-pi", stack)
    write_start(atoms, folder / "start.xyz")
    periodic, address = bool(atoms.pbc.all()), f"nnpipe_{os.getpid()}_{len(atoms)}"
    text = (folder / "input.xml").read_text()
    text = re.sub(r"<output.*</output>", "<output/>", text, flags=re.DOTALL)
    text = text.replace("<batch_size>16", "<batch_size>1").replace('nbeads="16"', 'nbeads="1"')
    text = text.replace("<address>nnpipe", f"<address>{address}").replace('"nvt"', '"nve"')
    text = re.sub(r"<thermostat.*</thermostat>", "", text).replace('"medium"', '"quiet"')
    text = text.replace("start.xyz", str(folder / "start.xyz"))
    parameters = f"model,start.xyz,periodic={periodic}"
    stack.enter_context(chdir(folder))  # i-PI writes files for a restart
    simulation = InteractiveSimulation(text)
    script = Path(sys.executable).with_name("i-pi-driver-py")
    arguments = f"-u -a {address} -m custom -P driver.py -o {parameters}".split()
    command = [sys.executable, str(script), *arguments]
    driver = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    stack.callback(driver.terminate)
    stack.callback(Path(f"/tmp/ipi_{address}").unlink, missing_ok=True)
    system = simulation.syslist[0]

    def evaluate() -> Result:
        simulation.run(1, write_outputs=False)  # starts the socket
        system.beads.q[0] = unit_to_internal("length", "angstrom", atoms.positions.ravel())
        energy = unit_to_user("energy", "electronvolt", float(system.forces.pot))
        forces = unit_to_user("force", "ev/ang", np.array(system.forces.f).reshape(-1, 3))
        upper = unit_to_user("energy", "electronvolt", np.array(system.forces.vir))
        virial = np.triu(upper) + np.triu(upper, 1).T  # i-PI keeps the upper triangle
        return energy, forces, -virial / atoms.get_volume() if periodic else None

    return Runner(evaluate, lambda steps: simulation.run(steps, write_outputs=False))


def in_openmm(atoms: Atoms, stack: ExitStack) -> Runner:
    """Return OpenMM on its CPU platform; it has no stress."""
    import openmm

    from nnpipe.export.openmm import make_system

    _, system = make_system(atoms, load_calculator(MODEL, device="cpu", compiled=True))
    integrator = openmm.VerletIntegrator(TIMESTEP_FS / 1000)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("CPU"))
    context.setPositions(atoms.positions / units.nm)

    def evaluate() -> Result:
        state = context.getState(energy=True, forces=True)
        forces = state.getForces(asNumpy=True)._value * (units.kJ / units.mol / units.nm)
        return state.getPotentialEnergy()._value * units.kJ / units.mol, forces, None

    return Runner(evaluate, integrator.step)


def in_lammps(atoms: Atoms, stack: ExitStack) -> Runner:
    """Return LAMMPS: without the virial for steps, with it for the stress."""
    from nnpipe.export.lammps import attach, open_lammps, write_data

    periodic = bool(atoms.pbc.all())
    atoms = atoms.copy()
    if not periodic:
        atoms.center(10)
    data = Path(stack.enter_context(TemporaryDirectory())) / "structure.data"
    write_data(atoms, data)

    def start(virial: bool) -> Any:
        lmp = open_lammps(["-screen", "none", "-log", "none"])
        stack.callback(lmp.close)
        lmp.commands_string(f"units metal\nboundary p p p\natom_style atomic\nread_data {data}")
        attach(lmp, load_calculator(MODEL, device="cpu", compiled=not virial), virial=virial)
        lmp.commands_string(f"timestep {TIMESTEP_FS / 1000}\nfix move all nve")
        return lmp

    def evaluate() -> Result:
        lmp = start(virial=True)
        lmp.commands_string("thermo_style custom step pe pxx pyy pzz pyz pxz pxy\nrun 0")
        forces = np.array(lmp.gather_atoms("f", 1, 3)).reshape(-1, 3)
        xx, yy, zz, yz, xz, xy = (
            -units.bar * lmp.get_thermo(name) for name in ("pxx", "pyy", "pzz", "pyz", "pxz", "pxy")
        )
        stress = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]) if periodic else None
        return lmp.get_thermo("pe"), forces, stress

    moving = start(virial=False)
    return Runner(evaluate, lambda steps: moving.command(f"run {steps}"))


def in_metatomic(atoms: Atoms, stack: ExitStack) -> Runner:
    """Return metatomic's calculator."""
    from metatomic_ase import MetatomicCalculator

    path = _exported("metatomic", stack) / "model.pt"
    return with_calculator(
        atoms, MetatomicCalculator(path, device="cpu", uncertainty_threshold=None)
    )


# by the name of the engine: the packages whose versions are recorded, and a function that returns
# the Runner of a system; what must end with the engine is put on the ExitStack
RUNNERS: dict[str, tuple[tuple[str, ...], Callable[[Atoms, ExitStack], Runner]]] = {
    "ASE": (("ase",), in_ase),
    "torch": (("torch",), in_torch),
    "aoti": (("torch",), partial(in_torch, engine="aoti")),
    "torch-sim": (("torch-sim-atomistic",), in_torch_sim),
    "i-pi": (("ipi",), in_i_pi),
    "openmm": (("openmm",), in_openmm),
    "lammps": (("lammps",), in_lammps),
    "metatomic": (("metatomic-torch", "metatomic-ase"), in_metatomic),
}


def _exported(engine: str, stack: ExitStack) -> Path:
    """Return the folder of the exported model, which is deleted with the stack."""
    folder = Path(stack.enter_context(TemporaryDirectory())) / "model"
    shutil.copytree(_exported_once(engine), folder)
    return folder


@cache
def _exported_once(engine: str) -> Path:
    """Return a folder that lasts as long as this process."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    export_model(MODEL, engine, folder / "model")
    return folder / "model"


def measure(engine: str) -> None:
    """Compare one engine with the calculator of ASE on all systems, and record the values."""
    packages, make = RUNNERS[engine]
    reference = load_calculator(MODEL, device="cpu")
    about = {"model": engine, "data": f"shipped {MODEL}", "n": f"{ROUNDS} rounds of {STEPS} steps"}
    about["note"] = ", ".join(f"{name} {version(name)}" for name in packages)
    for name, atoms in systems().items():
        with ExitStack() as stack:
            runner, ase = make(atoms, stack), in_ase(atoms, stack)
            found = compare(atoms, reference, *runner.evaluate())
            rows = [
                {"quantity": "version", "value": version(packages[0])},
                {"quantity": "energy, largest difference", "value": found.energy, "unit": "eV"},
                {"quantity": "forces, largest difference", "value": found.forces, "unit": "eV/Å"},
            ]
            times = _times([runner.run, ase.run])
            rows.append({"quantity": "step", "value": times[0], "unit": "ms"})
            rows.append({"quantity": "step relative to ASE", "value": times[0] / times[1]})
            if found.stress is not None:
                value = {"value": found.stress, "unit": "eV/Å³"}
                rows.append({"quantity": "stress, largest difference"} | value)
            print(engine, name, *(f"{row['quantity']} {row['value']}" for row in rows), sep="; ")
            case = f"{name}, {len(atoms)} atoms"
            record("engines", "differences", rows, case=case, **about)


def _times(runs: list[Callable[[int], Any]]) -> list[float]:
    """Return the median time of a step (ms) of each run; the runs take turns."""
    found: list[list[float]] = [[] for _ in runs]
    for run in runs:
        run(STEPS // 2)  # compiles
    for _ in range(ROUNDS):
        for run, times in zip(runs, found, strict=True):
            start = time.perf_counter()
            run(STEPS)
            times.append(1000 * (time.perf_counter() - start) / STEPS)
    return [median(times) for times in found]


def path_integrals() -> None:
    """Run methane in i-PI with the exported files, and record means against harmonic values."""
    steps, beads, temperature, discarded = 40_000, 16, 300.0, 0.1
    calculator = load_calculator(MODEL, "float64", device="cpu")
    methane, _ = relax(from_smiles("C"), calculator, 1e-4, 500)
    hessian = calculator.get_hessian(methane)
    frequencies, displacements = normal_modes(methane.numbers, methane.positions, hessian)
    with ExitStack() as stack:
        folder = _exported("i-pi", stack)
        write_start(methane, folder / "start.xyz")
        text = (folder / "input.xml").read_text().replace("20000", str(steps))
        gyration = "r_gyration(H){angstrom}"
        text = text.replace("kinetic_cv{electronvolt}", f"kinetic_cv{{electronvolt}}, {gyration}")
        (folder / "input.xml").write_text(text)
        subprocess.run(["bash", folder / "run.sh"], check=True)
        out = np.loadtxt(folder / "run.out")
    out = out[int(discarded * len(out)) :]
    rigid = 6 * units.kB * temperature / 2  # translation and rotation, classical

    def kinetic(number: int) -> float:
        return 1000 * (rigid + harmonic_kinetic_energy(frequencies, temperature, number))

    hydrogen = methane.numbers == 1
    masses = methane.get_masses()
    radii = harmonic_gyration(frequencies, displacements, masses, temperature, beads)
    radius = radii[hydrogen].mean()
    blocks = np.array_split(out, 20)
    errors = np.std([block.mean(0) for block in blocks], axis=0, ddof=1) / np.sqrt(len(blocks))
    rows = [
        {"quantity": "kinetic energy, i-PI", "value": 1000 * float(out[:, 5].mean())},
        {"quantity": "kinetic energy, standard error", "value": 1000 * float(errors[5])},
        {"quantity": "kinetic energy, harmonic, 16 beads", "value": kinetic(beads)},
        {"quantity": "kinetic energy, harmonic, quantum", "value": kinetic(10_000)},
        {"quantity": "kinetic energy, classical", "value": kinetic(1)},
    ]
    for row in rows:
        row["unit"] = "meV"
    found = {"i-PI": out[:, 6].mean(), "standard error": errors[6], "harmonic": radius}
    for name, value in found.items():
        row = {"quantity": f"radius of gyration of H, {name}", "value": float(value), "unit": "Å"}
        rows.append(row)
    print(*rows, sep="\n")
    about = {"model": MODEL, "data": f"methane, {temperature:g} K", "seed": 1}
    about["n"] = f"{steps} steps of {TIMESTEP_FS} fs, {beads} beads, without the first tenth"
    about["note"] = f"ipi {version('ipi')}; error of the mean from 20 blocks"
    record("engines", "path_integrals", rows, **about)


def main() -> None:
    """Run one study and record it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", choices=("compare", "path-integrals"))
    parser.add_argument("--engine", choices=RUNNERS)
    options = parser.parse_args()
    use_threads(1)
    if options.study == "path-integrals":
        path_integrals()
        return
    for engine in [options.engine] if options.engine else RUNNERS:
        measure(engine)


if __name__ == "__main__":
    main()
