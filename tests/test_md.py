"""Dynamics: energy conservation, thermostat, and runs that break."""

import json
import math
import os
import signal
import subprocess
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.calculators.mixing import SumCalculator
from ase.constraints import FixAtoms, FixBondLength, FixCartesian
from ase.io import read
from ase.md.langevinbaoab import LangevinBAOAB
from ase.md.verlet import VelocityVerlet
from scipy.linalg import solve_discrete_lyapunov

from conftest import ELEMENTS, potential_of
from helpers import command, copy_to, snakemake
from nnpipe.errors import InputError
from nnpipe.models.checkpoint import load_tensors
from nnpipe.simulation.calculator import NeuralCalculator
from nnpipe.simulation.integrator import langevin_step, step_constants
from nnpipe.simulation.md import frames, thermalize, write_trajectory
from nnpipe.simulation.propagate import combine, make_propagators
from nnpipe.simulation.settings import Settings
from nnpipe.simulation.stability import Summary, degrees_of_freedom, drift
from nnpipe.structures.bonds import bond_lengths, bonded_pairs
from nnpipe.structures.smiles import from_smiles

LOOSE = Settings(max_bond_deviation_a=5.0, relax_fmax=10.0, frame_fs=10.0)


class Springs(Calculator):
    """Harmonic springs between all pairs, which hold an untrained model's molecule together."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012

    def __init__(self, atoms: Atoms, strength: float = 5.0) -> None:
        super().__init__()
        self.rest, self.strength = atoms.get_all_distances(), strength

    def calculate(self, atoms=None, properties=(), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        vectors = self.atoms.positions[None] - self.atoms.positions[:, None]
        lengths = np.linalg.norm(vectors, axis=2) + np.eye(len(self.atoms))
        stretch = (lengths - self.rest) * (1 - np.eye(len(self.atoms)))
        self.results["energy"] = 0.25 * self.strength * (stretch**2).sum()
        pull = self.strength * (stretch / lengths)[..., None] * vectors
        self.results["forces"] = pull.sum(1)


@pytest.fixture
def ethanol() -> Atoms:
    return from_smiles("CCO")


def test_energy_error_falls_fourfold_when_the_timestep_halves(calculator, ethanol):
    """Velocity Verlet has a second-order energy error if forces are the gradient of the energy."""
    errors = []
    for timestep in (0.5, 0.25):
        atoms = ethanol.copy()
        atoms.calc = SumCalculator([calculator, Springs(ethanol)])
        rng = np.random.default_rng(0)
        atoms.set_velocities(
            rng.normal(size=(9, 3)) * np.sqrt(300 * units.kB / atoms.get_masses())[:, None]
        )
        dynamics = VelocityVerlet(atoms, timestep * units.fs)
        totals = []
        for _ in range(round(25 / 0.5)):
            dynamics.run(round(0.5 / timestep))
            totals.append(atoms.get_total_energy())
        errors.append(np.std(totals))
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.15)


def test_summary_shows_no_drift_in_nve(tmp_path, ethanol):
    settings = replace(LOOSE, ensemble="nve", length_ps=0.5, frame_fs=1.0, timestep_fs=0.25)
    (summary,) = write_trajectory([ethanol], Springs(ethanol), settings, tmp_path / "x.xyz")
    assert summary.ended == "complete"
    assert abs(summary.drift_mev_per_atom_per_ps) < 0.1
    assert summary.stable_ps == 0.5


@pytest.mark.parametrize(("name", "degrees"), [("H2O", 3), ("CO2", 4), ("CH4", 9), ("Cu4", 9)])
def test_thermalize_gives_vibrations_twice_the_temperature_in_nve(name, degrees):
    """Half of it becomes potential energy; translation and rotation have none."""
    atoms = bulk("Cu", cubic=True) if name == "Cu4" else molecule(name)
    nve, energies = replace(LOOSE, ensemble="nve", temperature_k=300.0), []
    for seed in range(300):
        thermalize(atoms, nve, seed)
        energies.append(atoms.get_kinetic_energy())
        np.testing.assert_allclose(atoms.get_momenta().sum(0), 0, atol=1e-9)
    assert degrees_of_freedom(atoms, "nve") == degrees
    found = 2 * np.mean(energies) / (degrees * units.kB)
    assert found == pytest.approx(600, rel=4 * np.sqrt(2 / (degrees * 300)))


@pytest.mark.parametrize("ensemble", ["nvt", "nve"])
def test_simulate_runs_a_single_atom(tmp_path, ensemble):
    atom = Atoms("H")
    settings = replace(LOOSE, ensemble=ensemble, length_ps=0.01)
    (summary,) = write_trajectory([atom], Springs(atom), settings, tmp_path / "x.xyz")
    assert summary.ended == "complete"


def test_fixed_atoms_stay_and_the_others_share_the_heat(tmp_path, ethanol, caplog):
    """Each moving atom has 3/2 kT, as without fixed atoms: equipartition."""
    ethanol.set_constraint(FixAtoms([0, 4]))
    settings = replace(LOOSE, length_ps=2.0, frame_fs=4.0, friction_per_ps=100.0, timestep_fs=1.0)
    path, moves = tmp_path / "x.xyz", np.isin(np.arange(9), [0, 4], invert=True)
    with caplog.at_level("INFO"):
        (summary,) = write_trajectory(ethanol, Springs(ethanol), settings, path)
    assert "molecule: 2 of 9 atoms are fixed" in caplog.text
    found = read(path, ":", format="extxyz")
    np.testing.assert_array_equal(np.ptp([f.positions[~moves] for f in found], 0), 0)
    kinetic = [1.5 * f.get_masses() * (f.get_velocities() ** 2).mean(1) for f in found]
    assert all(f.constraints[0].index.tolist() == [0, 4] for f in found)
    np.testing.assert_allclose(np.mean(kinetic, 0)[moves], 1.5 * units.kB * 300, rtol=0.25)
    assert summary.mean_temperature_k == pytest.approx(300, rel=0.08)
    assert found[-1].info["temperature_k"] == pytest.approx(found[-1].get_temperature(), rel=1e-4)


def test_nve_with_a_fixed_atom_conserves_energy_and_relaxation_leaves_it(tmp_path, ethanol):
    start = ethanol.copy()
    start.rattle(0.05, seed=1)
    start.set_constraint(FixAtoms([2]))
    settings = replace(LOOSE, ensemble="nve", length_ps=0.2, relax_fmax=0.01, timestep_fs=0.25)
    (summary,) = write_trajectory(start, Springs(ethanol), settings, tmp_path / "x.xyz")
    found = read(tmp_path / "x.xyz", ":", format="extxyz")
    assert summary.relaxed
    assert np.ptp([frame.info["total_energy"] for frame in found]) < 2e-3
    for frame in found:
        np.testing.assert_allclose(frame.positions[2], start.positions[2], atol=1e-8)


def test_fixed_atoms_are_fixed_for_a_model(calculator, ethanol):
    ethanol.set_constraint(FixAtoms([1]))
    (last,) = last_frames([ethanol], calculator, replace(LOOSE, length_ps=0.01))
    np.testing.assert_array_equal(last.positions[1], ethanol.positions[1])
    assert np.abs(last.positions - ethanol.positions)[[0, 2]].min() > 1e-4


@pytest.mark.parametrize(
    ("constraint", "message"),
    [
        (FixCartesian(0, (True, False, False)), "constraint FixCartesian: .* FixAtoms only"),
        (FixBondLength(0, 1), "constraint FixBondLength"),
        (FixAtoms(range(9)), "all atoms are fixed"),
    ],
)
def test_simulate_refuses_other_constraints(tmp_path, ethanol, constraint, message):
    ethanol.set_constraint(constraint)
    with pytest.raises(InputError, match=message):
        write_trajectory([ethanol], Springs(ethanol), LOOSE, tmp_path / "x.xyz")


def test_velocities_of_the_start_are_used_as_they_are(tmp_path, ethanol, caplog):
    thermalize(ethanol, LOOSE, 7)
    settings, path = replace(LOOSE, length_ps=0.002, frame_fs=0.5), tmp_path / "x.xyz"
    with caplog.at_level("INFO"):
        (summary,) = write_trajectory(ethanol, Springs(ethanol), settings, path, names=["ethanol"])
    assert (
        "ethanol starts with the velocities of its structure, which is not relaxed" in caplog.text
    )
    first = read(path, 0)
    np.testing.assert_allclose(first.get_momenta(), ethanol.get_momenta(), atol=1e-7)
    np.testing.assert_allclose(first.positions, ethanol.positions, atol=1e-7)
    assert not summary.relaxed
    write_trajectory(ethanol, Springs(ethanol), replace(settings, velocities="draw"), path)
    assert np.abs(read(path, 0).get_momenta() - ethanol.get_momenta()).max() > 0.1


def test_velocities_that_cannot_be_used_are_refused(tmp_path, ethanol):
    settings = replace(LOOSE, ensemble="nve", velocities="start")
    with pytest.raises(InputError, match="ethanol: velocities: start, but the structure has"):
        write_trajectory(ethanol, Springs(ethanol), settings, tmp_path / "x", names=["ethanol"])
    thermalize(ethanol, LOOSE, 7)
    with pytest.raises(InputError, match=r"in nve, replicas .* are identical"):
        write_trajectory([ethanol] * 2, OtherSprings([ethanol]), settings, tmp_path / "x")


def test_simulate_refuses_wrong_arguments_in_one_line(tmp_path, ethanol):
    springs, path = Springs(ethanol), tmp_path / "x.xyz"
    for systems, settings, names, message in [
        ([], LOOSE, [], "systems: not Atoms"),
        ("CCO", LOOSE, [], "systems: not Atoms"),
        (ethanol, {"length_ps": 1.0}, [], "settings: dict is not Settings"),
        (ethanol, LOOSE, ["a", "b"], "names: 2 for 1 systems"),
    ]:
        with pytest.raises(InputError, match=message):
            write_trajectory(systems, springs, settings, path, names=names)


def test_settings_take_numbers_of_numpy():
    assert Settings(seed=np.int64(3), length_ps=np.float32(0.5)) == Settings(seed=3, length_ps=0.5)
    with pytest.raises(InputError, match="seed"):
        Settings(seed=np.float64(0.5))


def test_isotopes_keep_their_masses(tmp_path, ethanol):
    masses = ethanol.get_masses()
    masses[-1] = 2.014
    ethanol.set_masses(masses)
    write_trajectory(ethanol, Springs(ethanol), replace(LOOSE, length_ps=0.002), tmp_path / "x.xyz")
    assert read(tmp_path / "x.xyz", 0).get_masses()[-1] == 2.014


class Interrupted(Exception):
    """Stands for the end of a process."""


class Mortal:
    """Calls a function; at call number `after`, calls `end` first."""

    def __init__(self, function, after: int, end) -> None:
        self.function, self.left, self.end = function, after, end

    def __call__(self, *arguments):
        self.left -= 1
        if not self.left:
            self.end()
        return self.function(*arguments)


def die() -> None:
    raise Interrupted


OFTEN = replace(LOOSE, length_ps=0.02, frame_fs=1.5, checkpoint_seconds=1e-9)
CASES = {
    "nvt": ({}, 1), "nve": ({"ensemble": "nve"}, 1), "replicas": ({}, 3),
    "drop": ({"max_bond_deviation_a": 0.514, "temperature_k": 600.0}, 4),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_interrupted_run_equals_uninterrupted_run(tmp_path, ethanol, case):
    """Bit for bit, with a model; in the case "drop", three systems end early."""
    settings, systems = replace(OFTEN, **CASES[case][0]), [ethanol] * CASES[case][1]
    settings = replace(settings, timestep_fs=0.2, length_ps=0.008)
    potential, state = potential_of("gnn"), tmp_path / "state.safetensors"

    def run(path: Path, checkpoint: Path | None, after: int = 0) -> list[Summary]:
        calculator = NeuralCalculator(potential, ELEMENTS, "float32", "cpu")
        calculator.lists.skin = 0.02  # several lists in a short run
        calculator.step = Mortal(calculator.step, after, die)
        return write_trajectory(systems, calculator, settings, path, checkpoint=checkpoint)

    expected = run(tmp_path / "whole.xyz", None)
    for after in (1, 6, 32):
        with pytest.raises(Interrupted):
            run(tmp_path / "parts.xyz", state, after)
        if after > 1:
            with open(tmp_path / "state.partial.xyz", "ab") as file:
                file.write(b"9\nhalf a fra")
        assert not (tmp_path / "parts.xyz").exists()
    found = run(tmp_path / "parts.xyz", state)
    assert (tmp_path / "parts.xyz").read_bytes() == (tmp_path / "whole.xyz").read_bytes()
    assert list(map(without_times, found)) == list(map(without_times, expected))
    if case == "drop":
        assert len({summary.stable_ps for summary in found}) > 1


def without_times(summary: Summary) -> str:
    return str(replace(summary, ms_per_step=0.0, cpu_share=0.0))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_stops_a_run_after_its_checkpoint(tmp_path, ethanol, number):
    """Which the next run needs no second step for."""
    settings, springs = replace(OFTEN, checkpoint_seconds=1e9), Springs(ethanol)
    write_trajectory(ethanol, springs, settings, tmp_path / "whole.xyz")
    springs.calculate = Mortal(springs.calculate, 20, lambda: os.kill(os.getpid(), number))
    arguments = ethanol, springs, settings, tmp_path / "x.xyz"
    state = tmp_path / "state.safetensors"
    with pytest.raises(InputError, match=r"stopped at 0\.0\d* of 0\.02 ps; the same"):
        write_trajectory(*arguments, checkpoint=state)
    assert load_tensors(state)[1]["step"] > 5
    write_trajectory(*arguments, checkpoint=state)
    assert (tmp_path / "x.xyz").read_bytes() == (tmp_path / "whole.xyz").read_bytes()


def test_longer_run_extends_a_finished_one(tmp_path, ethanol, caplog):
    """The steps that were taken are not taken again; a shorter run starts again."""
    target, state = tmp_path / "x.xyz", tmp_path / "x.safetensors"

    def run(length_ps: float, path: Path = target, checkpoint: Path | None = state) -> int:
        springs = Springs(ethanol)
        springs.calculate = count = Mortal(springs.calculate, 0, die)
        settings = replace(OFTEN, length_ps=length_ps, relax_fmax=1e3)
        write_trajectory(ethanol, springs, settings, path, checkpoint=checkpoint)
        return -count.left

    assert run(0.01) == 21
    os.link(target, tmp_path / "reader.xyz")
    before = target.read_bytes()
    assert run(0.02) == 20 + 1  # one to compile
    run(0.02, tmp_path / "whole.xyz", None)
    assert target.read_bytes() == (tmp_path / "whole.xyz").read_bytes()
    assert target.read_bytes().startswith(before)
    assert run(0.02) == 0
    assert target.read_bytes() == (tmp_path / "whole.xyz").read_bytes()
    assert run(0.01) == 21
    assert "of a run longer than length_ps; starting again" in caplog.text
    assert target.read_bytes() == before


def test_checkpoint_of_another_run_is_not_used(tmp_path, ethanol, caplog):
    state, path = tmp_path / "x.safetensors", tmp_path / "x.xyz"

    def run(seed: int = 0) -> bytes:
        write_trajectory(
            ethanol, Springs(ethanol), replace(OFTEN, seed=seed), path, checkpoint=state
        )
        return path.read_bytes()

    first = run()
    ethanol.positions[0, 0] += 1e-9
    run()
    assert "another start" in caplog.text
    caplog.clear()
    assert run(1) != first
    assert "of other settings" in caplog.text
    damaged = tmp_path / "x.partial.xyz"
    damaged.write_bytes(damaged.read_bytes().replace(b"3", b"4", 1))
    run(1)
    assert "not of the trajectory" in caplog.text


@pytest.mark.long
def test_killed_and_extended_run_of_the_workflow_equals_a_whole_one(tmp_path):
    """SIGKILL to Snakemake and its job, then the same command, then a larger length_ps."""
    change = {"molecules": {"ethanol": "CCO"}, "md": {"checkpoint_seconds": 0.1}}
    target = "results/md/gnn_ethanol.xyz"

    def arguments(folder: Path, length_ps: float) -> dict:
        settings = change | {"md": {**change["md"], "length_ps": length_ps}}
        return {"change": settings, "preset": "workflow/presets/pretrained.yaml"}

    whole, parts = (copy_to(tmp_path / name) for name in ("whole", "parts"))
    snakemake(whole, target, "-c1", **arguments(whole, 0.4))
    line = command(parts, target, "-c1", **arguments(parts, 0.25))
    process = subprocess.Popen(line, cwd=parts, start_new_session=True)
    growing = parts / "results/md/checkpoints/gnn_ethanol.partial.xyz"
    while process.poll() is None and not (growing.exists() and growing.stat().st_size > 20_000):
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (parts / target).exists()
    for length_ps in (0.25, 0.4):
        snakemake(parts, target, "-c1", **arguments(parts, length_ps))
        log = (parts / "results/logs/run_md/gnn_ethanol.log").read_text()
        assert "gnn ethanol goes on at 0." in log
        assert log.count("goes on") == 1
    assert (parts / target).read_bytes() == (whole / target).read_bytes()
    assert (parts / target).samefile(growing)
    found, expected = (
        json.loads((folder / target).with_suffix(".json").read_text()) for folder in (parts, whole)
    )
    assert [without_times(Summary(**row)) for row in found] == [
        without_times(Summary(**row)) for row in expected
    ]


def test_ended_system_is_not_continued_by_a_longer_run(tmp_path, ethanol):
    settings = Settings(length_ps=0.2, frame_fs=1.0, relax_fmax=100.0)
    path, state = tmp_path / "x.xyz", tmp_path / "x.safetensors"
    (first,) = write_trajectory(ethanol, Repulsive(ethanol, 1.0), settings, path, checkpoint=state)
    before, settings = path.read_bytes(), replace(settings, length_ps=0.4)
    (second,) = write_trajectory(ethanol, Repulsive(ethanol, 1.0), settings, path, checkpoint=state)
    assert without_times(second) == without_times(replace(first, length_ps=0.4))
    assert path.read_bytes() == before


def test_thermostat_reaches_its_temperature(tmp_path, relaxed_aspirin):
    settings = replace(
        LOOSE,
        temperature_k=400.0,
        length_ps=1.25,
        frame_fs=10.0,
        friction_per_ps=50.0,
    )
    springs = Springs(relaxed_aspirin, 2.0)
    (summary,) = write_trajectory([relaxed_aspirin], springs, settings, tmp_path / "x.xyz")
    # 125 correlated frames of 63 degrees of freedom: the standard error of the mean is about 2 %
    assert summary.mean_temperature_k == pytest.approx(400, rel=0.08)
    assert math.isnan(summary.drift_mev_per_atom_per_ps)


def test_frames_contain_energy_forces_and_info(tmp_path, ethanol, calculator):
    path = tmp_path / "run.xyz"
    springs = SumCalculator([calculator, Springs(ethanol)])
    (summary,) = write_trajectory(
        [ethanol], springs, replace(LOOSE, length_ps=0.02, frame_fs=5.0), path
    )
    frames = read(path, ":", format="extxyz")
    assert [frame.info["time_fs"] for frame in frames] == [0, 5, 10, 15, 20]
    for frame in frames:
        frame.info["momenta"] = frame.get_momenta()
        again = frame.copy()
        again.calc = springs
        assert frame.get_potential_energy() == pytest.approx(again.get_potential_energy(), abs=1e-4)
        np.testing.assert_allclose(frame.get_forces(), again.get_forces(), atol=1e-4)
        assert frame.info["temperature_k"] == pytest.approx(frame.get_temperature(), rel=1e-4)
        total = frame.get_potential_energy() + frame.get_kinetic_energy()
        assert frame.info["total_energy"] == pytest.approx(total, abs=1e-4)
    assert summary.atoms == 9
    assert json.loads(json.dumps(asdict(summary)))["length_ps"] == 0.02
    assert [p.name for p in tmp_path.iterdir()] == ["run.xyz"]


def test_trajectory_depends_on_the_seed_only(tmp_path, ethanol):
    settings = replace(LOOSE, length_ps=0.05)
    for name in "ab":
        write_trajectory([ethanol], Springs(ethanol), settings, tmp_path / name)
    write_trajectory([ethanol], Springs(ethanol), replace(settings, seed=1), tmp_path / "c")
    texts = [(tmp_path / name).read_text() for name in "abc"]
    assert texts[0] == texts[1] != texts[2]


class Repulsive(Springs):
    """Pushes the molecule apart."""

    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        self.results = {key: -value for key, value in self.results.items()}


class Broken(Springs):
    """Returns nan as energy after some steps."""

    calls = 0

    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        Broken.calls += 1
        if Broken.calls > 30:
            self.results["energy"] = math.nan


def test_run_that_explodes_ends_keeps_its_frames_and_says_why(tmp_path, ethanol):
    path = tmp_path / "x.xyz"
    settings = Settings(length_ps=10.0, frame_fs=1.0, relax_fmax=100.0)
    (summary,) = write_trajectory([ethanol], Repulsive(ethanol, 1.0), settings, path)
    frames = read(path, ":", format="extxyz")
    assert 0 < summary.stable_ps < 1
    assert frames[-1].info["time_fs"] == pytest.approx(1000 * summary.stable_ps)
    assert len(frames) > 3
    assert summary.max_bond_deviation_a > 0.5
    assert summary.ended.startswith("bond ")
    pairs = bonded_pairs(ethanol)
    change = np.abs(bond_lengths(frames[-1], pairs) - bond_lengths(ethanol, pairs)).max()
    assert change == pytest.approx(summary.max_bond_deviation_a, abs=1e-4)


def test_frame_has_the_largest_deviation_since_the_frame_before(ethanol):
    every, tenth = (
        [
            frame.info["max_bond_deviation_a"]
            for _, frame, _ in frames(
                [ethanol], Springs(ethanol), replace(LOOSE, length_ps=0.1, frame_fs=fs)
            )
        ]
        for fs in (0.5, 5.0)
    )
    worst = [every[0], *(max(every[n : n + 10]) for n in range(1, len(every) - 9, 10))]
    assert tenth == worst
    assert max(every[::10]) < max(worst)  # frames alone would have missed it


def test_run_ends_at_energies_that_are_not_finite(tmp_path, ethanol):
    (summary,) = write_trajectory(
        [ethanol], Broken(ethanol), replace(LOOSE, length_ps=1.0), tmp_path / "x"
    )
    assert summary.ended == "energy or forces are not finite"
    assert summary.stable_ps < 0.02


def test_run_ends_at_high_temperature(tmp_path, ethanol):
    atoms = ethanol.copy()
    settings = replace(
        LOOSE, temperature_k=1.0, length_ps=1.0, max_bond_deviation_a=1e9, relax_fmax=1e3
    )
    (summary,) = write_trajectory([atoms], Repulsive(ethanol, 30.0), settings, tmp_path / "x")
    assert summary.ended.startswith("temperature of ")


def test_relaxation_that_breaks_the_molecule_is_not_used(tmp_path, ethanol):
    settings = Settings(length_ps=0.001)
    atoms = ethanol.copy()
    atoms.rattle(0.02, seed=1)
    (summary,) = write_trajectory([atoms], Repulsive(ethanol, 5.0), settings, tmp_path / "x.xyz")
    assert not summary.relaxed
    np.testing.assert_allclose(read(tmp_path / "x.xyz", 0).positions, atoms.positions, atol=1e-6)


def test_relaxation_finds_the_minimum(tmp_path, ethanol):
    atoms = ethanol.copy()
    atoms.rattle(0.05, seed=1)
    (summary,) = write_trajectory(
        [atoms], Springs(ethanol), Settings(length_ps=0.001), tmp_path / "x.xyz"
    )
    assert summary.relaxed
    start = read(tmp_path / "x.xyz", 0)
    np.testing.assert_allclose(start.get_all_distances(), ethanol.get_all_distances(), atol=0.01)


def test_simulate_runs_periodic_systems(tmp_path):
    copper = bulk("Cu", cubic=True) * (2, 2, 2)
    (summary,) = write_trajectory(
        [copper], EMT(), Settings(length_ps=0.1, timestep_fs=2.0, frame_fs=10.0), tmp_path / "x.xyz"
    )
    assert summary.ended == "complete"
    assert read(tmp_path / "x.xyz", -1).pbc.all()


@pytest.mark.parametrize("timestep", [0.0, 1.5, 5.0])
def test_timestep_too_long_for_hydrogen_is_refused(tmp_path, ethanol, timestep):
    message = {
        0.0: r"timestep_fs: 0\.0 is not above the limit of 0",
        1.5: r"timestep_fs .* is not in \(0, 1\.0\] fs.*take 0\.5",
        5.0: r"timestep_fs: 5\.0 is above the maximum of 4",
    }[timestep]
    with pytest.raises(InputError, match=message):
        write_trajectory(
            [ethanol], Springs(ethanol), replace(LOOSE, timestep_fs=timestep), tmp_path / "x"
        )


@pytest.fixture
def four(ethanol) -> list[Atoms]:
    """Return four molecules of different size."""
    return [from_smiles(smiles) for smiles in ("O", "CCO", "c1ccccc1", "CC(=O)O")]


def test_calculator_gives_systems_together_what_they_get_alone(calculator, four):
    whole = combine(four)
    whole.calc = calculator
    forces, energies = whole.get_forces(), calculator.results["system_energies"]
    assert energies.shape == (4,)
    start = 0
    for atoms, energy in zip(four, energies, strict=True):
        atoms.calc = calculator
        assert atoms.get_potential_energy() == pytest.approx(energy, abs=1e-8)
        part = forces[start : start + len(atoms)]
        np.testing.assert_allclose(part, atoms.get_forces(), atol=1e-8)
        start += len(atoms)


class OtherSprings(Springs):
    """Springs of several molecules, identified by their size; molecule `burst` is repulsive."""

    def __init__(self, systems: list[Atoms], burst: int | None = None) -> None:
        super().__init__(systems[0])
        self.parts = {
            len(s): Springs(s, -20.0 if n == burst else 20.0) for n, s in enumerate(systems)
        }

    def calculate(self, atoms=None, properties=(), system_changes=all_changes):
        Calculator.calculate(self, atoms, properties, system_changes)
        springs = self.parts[len(self.atoms)]
        springs.calculate(self.atoms)
        self.results = springs.results


def test_simulate_ends_a_broken_system_alone(tmp_path, four):
    settings = replace(LOOSE, length_ps=0.1, frame_fs=5.0, max_bond_deviation_a=0.5)
    names = ["water", "ethanol", "benzene", "acid"]
    path = tmp_path / "x.xyz"
    summaries = write_trajectory(
        four, OtherSprings(four, burst=2), settings, path, "springs", names
    )
    assert [s.molecule for s in summaries] == names
    assert [s.ended == "complete" for s in summaries] == [True, True, False, True]
    assert 0 < summaries[2].stable_ps < 0.1
    frames = read(path, ":", format="extxyz")
    for name, summary, atoms in zip(names, summaries, four, strict=True):
        mine = [frame for frame in frames if frame.info["molecule"] == name]
        assert {len(frame) for frame in mine} == {len(atoms)}
        assert mine[-1].info["time_fs"] == pytest.approx(1000 * summary.stable_ps)
        assert summary.atoms == len(atoms)


def test_replicas_differ_in_their_velocities_only(tmp_path, ethanol):
    settings = replace(LOOSE, length_ps=0.02, frame_fs=10.0)
    springs = OtherSprings([ethanol])
    summaries = write_trajectory([ethanol] * 3, springs, settings, tmp_path / "x.xyz", "springs")
    assert [s.molecule for s in summaries] == ["molecule"] * 3
    assert [s.replica for s in summaries] == [0, 1, 2]
    starts = [f for f in read(tmp_path / "x.xyz", ":", format="extxyz") if not f.info["time_fs"]]
    for start in starts[1:]:
        np.testing.assert_allclose(start.positions, starts[0].positions)
        assert np.abs(start.get_momenta() - starts[0].get_momenta()).max() > 0.1
    write_trajectory([ethanol], springs, settings, tmp_path / "y.xyz")
    alone = read(tmp_path / "y.xyz", 0)
    np.testing.assert_allclose(alone.get_momenta(), starts[0].get_momenta(), atol=1e-6)


class Rounded(Springs):
    """Springs in single precision, with `forces` added to every force."""

    def __init__(self, atoms: Atoms, forces: float = 0.0) -> None:
        super().__init__(atoms)
        self.more = forces

    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        self.results = {
            "energy": np.float32(self.results["energy"]),
            "forces": (self.results["forces"] + self.more).astype(np.float32),
        }


def test_simulate_takes_calculators_in_single_precision(tmp_path, ethanol):
    settings = replace(LOOSE, length_ps=0.01)
    (summary,) = write_trajectory([ethanol], Rounded(ethanol), settings, tmp_path / "x.xyz")
    assert summary.ended == "complete"


def test_first_temperature_is_finite_if_forces_are_not(ethanol):
    ((_, frame, reason),) = frames([ethanol], Rounded(ethanol, math.nan), LOOSE)
    assert reason == "energy or forces are not finite"
    assert 0 < frame.info["temperature_k"] == pytest.approx(frame.get_temperature())


def test_propagators_refuse_systems_in_different_cells(calculator, four):
    four[1].cell = [9.0, 9.0, 9.0]
    with pytest.raises(InputError, match="different cells"):
        make_propagators(four, calculator, LOOSE)


def test_frames_of_a_step_are_in_the_order_of_the_systems(calculator, ethanol):
    systems = [ethanol, molecule("H2O"), ethanol, molecule("H2O")]
    numbers = [
        number for number, _, _ in frames(systems, calculator, replace(LOOSE, length_ps=1e-5))
    ]
    assert numbers == [0, 1, 2, 3]


def last_frames(systems: list[Atoms], calculator: Calculator, settings: Settings) -> list[Atoms]:
    return [frame for _, frame, _ in frames(systems, calculator, settings)][-len(systems) :]


def test_langevin_step_without_friction_equals_ase_velocity_verlet(ethanol):
    settings = replace(LOOSE, ensemble="nve", length_ps=0.02, seed=3)
    (ours,) = last_frames([ethanol], Springs(ethanol), settings)
    thermalize(ethanol, settings, settings.seed)
    ethanol.calc = Springs(ethanol)
    VelocityVerlet(ethanol, settings.timestep_fs * units.fs).run(40)
    np.testing.assert_allclose(ours.positions, ethanol.positions, atol=1e-10)
    np.testing.assert_allclose(ours.get_momenta(), ethanol.get_momenta(), atol=1e-10)


def test_langevin_step_equals_ase_langevin_baoab(ethanol):
    """With the same noise, to rounding."""
    settings = replace(LOOSE, length_ps=0.02, friction_per_ps=50.0)
    (ours,) = last_frames([ethanol], Springs(ethanol), settings)
    thermalize(ethanol, settings, settings.seed)
    ethanol.calc = Springs(ethanol)
    generator = torch.Generator().manual_seed(settings.seed + 1)

    class Noise(np.random.Generator):
        def normal(self, size: tuple[int, int]) -> np.ndarray:
            return torch.randn(size, generator=generator, dtype=torch.float64).numpy()

    LangevinBAOAB(
        ethanol, settings.timestep_fs * units.fs, temperature_K=settings.temperature_k,
        T_tau=1000 * units.fs / settings.friction_per_ps, rng=Noise(np.random.PCG64()),
    ).run(40)  # fmt: skip
    np.testing.assert_allclose(ours.positions, ethanol.positions, atol=1e-10)
    np.testing.assert_allclose(ours.get_momenta(), ethanol.get_momenta(), atol=1e-10)


@pytest.mark.parametrize("phase", [0.1, 1.0, 1.9])
def test_langevin_step_samples_a_harmonic_oscillator_exactly(phase):
    """<x^2> = kT/k at any stable timestep (phase: timestep times frequency, stable below 2), and
    <v^2> = kT/m (1 - phase^2 / 4): Leimkuhler and Matthews, https://doi.org/10.1093/amrx/abs010.

    Both from the step's linear map M and its noise n: covariance = M covariance M^T + n n^T.
    """
    stiffness, mass = 30.0, 12.0
    timestep_fs = phase * math.sqrt(mass / stiffness) / units.fs
    constants = torch.tensor(step_constants(timestep_fs, 300.0, 10.0), dtype=torch.float64)

    def move(pos: float, velocity: float, noise: float) -> tuple[np.ndarray, float]:
        """Position and velocity after the step, and the velocity measured in it."""
        double = {"dtype": torch.float64}
        after, seen, _ = langevin_step(
            lambda x: (0.5 * stiffness * x.square().sum()[None], -stiffness * x),
            torch.tensor([0]), torch.tensor([[[pos] * 3], [[velocity] * 3]], **double),
            torch.full((1, 3), noise, **double), torch.tensor([[mass, mass]], **double), constants,
            torch.ones(1), torch.zeros(1, 1, 2, dtype=torch.long), torch.zeros(1, 1, 4, **double),
        )  # fmt: skip
        return after[:, 0, 0].numpy(), seen[1, 0, 0].item()

    columns, measured = zip(move(1, 0, 0), move(0, 1, 0), strict=True)
    kick = move(0, 0, 1)[0]
    covariance = solve_discrete_lyapunov(np.array(columns).T, np.outer(kick, kick))
    thermal = 300.0 * units.kB
    assert covariance[0, 0] == pytest.approx(thermal / stiffness, rel=1e-9)
    square = np.array(measured) @ covariance @ measured
    assert square == pytest.approx(thermal / mass * (1 - phase**2 / 4), rel=1e-9)


@pytest.mark.parametrize("periodic", [False, True])
def test_compiled_propagator_moves_atoms_as_the_calculator_does(calculator, ethanol, periodic):
    """One program with integrator and reused neighbour lists gives the same as separate calls."""
    if periodic:
        ethanol.center(1.0)
        ethanol.pbc = True
    settings = replace(LOOSE, length_ps=0.03, max_bond_deviation_a=1e9)
    (one,) = last_frames([ethanol], calculator, settings)
    (other,) = last_frames([ethanol], SumCalculator([calculator]), settings)
    assert np.abs(one.positions - ethanol.positions).max() > calculator.lists.skin / 2
    np.testing.assert_allclose(one.positions, other.positions, atol=1e-7)
    np.testing.assert_allclose(one.get_forces(), other.get_forces(), atol=1e-6)
    assert one.get_potential_energy() == pytest.approx(other.get_potential_energy(), abs=1e-7)


def test_propagator_moves_systems_as_each_alone_and_continues_after_drop(calculator, four):
    settings = replace(LOOSE, ensemble="nve")
    for number, system in enumerate(four):
        thermalize(system, settings, number)
    (alone,) = make_propagators(four[1:2], calculator, settings)
    (some,) = make_propagators(four, calculator, settings)
    for step in range(30):
        if step == 15:
            some = some.drop(some.system_ids == 2)
        energies = some.step()[0]
        energy = alone.step()[0]
    assert sorted(some.system_ids) == [0, 1, 3]
    place = some.system_ids.tolist().index(1)
    assert energies[place] == pytest.approx(energy[0], abs=1e-7)
    (one,), (other,) = some.frames(np.array([place])), alone.frames(np.array([0]))
    np.testing.assert_allclose(one.positions, other.positions, atol=1e-7)


def test_propagator_keeps_its_state_if_results_reuse_their_memory(calculator, ethanol):
    """As the results of recorded CUDA graphs do."""
    calculator.lists.atoms_per_group = 18
    settings, plain, held = replace(LOOSE, length_ps=0.005), calculator.step, {}
    before = last_frames([ethanol] * 4, calculator, settings)

    def again(*given):
        for place, result in enumerate(plain(*given)):
            held.setdefault(place, torch.empty_like(result)).copy_(result)
        return tuple(held.values())

    calculator.step = again
    after = last_frames([ethanol] * 4, calculator, settings)
    assert len(make_propagators([ethanol] * 4, calculator, settings)) == 2
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one.positions, other.positions)


@pytest.mark.parametrize("name", ["mlp", pytest.param("gnn", marks=pytest.mark.long)])
def test_compiled_step_equals_eager_step(name, aspirin, two_threads):
    potential, settings = potential_of(name), replace(LOOSE, length_ps=0.002)
    fast = NeuralCalculator(potential, ELEMENTS, "float32", "cpu", compiled=True)
    plain = NeuralCalculator(potential, ELEMENTS, "float32", "cpu")
    (one,), (other,) = (last_frames([aspirin], some, settings) for some in (fast, plain))
    assert fast.step.compiled_ok
    np.testing.assert_allclose(one.positions, other.positions, atol=1e-6)
    np.testing.assert_allclose(one.get_forces(), plain.get_forces(one), atol=1e-4)


@pytest.mark.parametrize("wall_per_cpu", [1.0, 3.0], ids=["idle", "loaded"])
def test_ms_per_step_excludes_other_jobs(tmp_path, ethanol, wall_per_cpu):
    """The processor time of a step is 2 ms, also where other jobs lengthen its wall time."""
    calls = 0

    class Counted(Springs):
        def calculate(self, *args, **kwargs):
            nonlocal calls
            calls += 1
            super().calculate(*args, **kwargs)

    def clocks() -> tuple[float, float]:
        return 5.0 + 0.002 * calls * wall_per_cpu, 1.0 + 0.002 * calls

    settings = replace(LOOSE, length_ps=0.02)
    (summary,) = write_trajectory(
        [ethanol], Counted(ethanol), settings, tmp_path / "x.xyz", clocks=clocks
    )
    assert summary.ms_per_step == pytest.approx(2.0)
    assert summary.cpu_share == pytest.approx(1 / wall_per_cpu)


def test_ms_per_step_is_measured_with_real_clocks(tmp_path, ethanol):
    """`cpu_share` is at most 1, as one thread takes the steps."""
    (summary,) = write_trajectory(
        [ethanol], Springs(ethanol), replace(LOOSE, length_ps=0.05), tmp_path / "x"
    )
    assert summary.ms_per_step > 0
    assert 0 < summary.cpu_share <= 1.01


@pytest.mark.parametrize("memory", [20, 300])
def test_drift_interval_contains_the_slope(memory):
    """About 95 % of 200 noisy series have the true slope in their interval, also if slow noise
    correlates the blocks of 100 frames. If blocks counted as independent, 70 % would have it.
    """
    rng, held = np.random.default_rng(0), 0
    time = np.arange(2000) * 0.01
    for _ in range(200):
        noise = np.convolve(rng.normal(size=1999 + memory), np.ones(memory), "valid")
        slope, half = drift(time, 0.3 * time + noise)
        held += abs(slope - 0.3) < half
    assert 178 <= held <= 200
    assert all(map(math.isnan, drift([0.0, 1.0], [0.0, 1.0])))


def test_hessian_is_the_derivative_of_the_forces(calculator):
    water = molecule("H2O")
    found = calculator.get_hessian(water)
    np.testing.assert_allclose(found, found.T)
    water.calc = calculator
    step = np.zeros((3, 3))
    step[1, 2] = 1e-4
    water.positions += step
    forward = water.get_forces()
    water.positions -= 2 * step
    column = (water.get_forces() - forward).ravel() / 2e-4
    np.testing.assert_allclose(found[5], column, atol=1e-2 * np.abs(found).max())
