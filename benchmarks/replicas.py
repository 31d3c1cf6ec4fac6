"""Time per step of aspirin's dynamics: replicas in one batch, and one system through ASE.

    python benchmarks/replicas.py --replicas 1 100 1000 --model resources/models/gnn

300 K, steps of 0.5 fs, no output. Each way is timed three times, alternating, after compilation.
Medians are recorded in benchmarks/results/dynamics.csv, table `replicas`.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from ase import Atoms, units
from ase.md.langevin import Langevin
from records import machine, record

from nnpipe.runtime.device import use_threads
from nnpipe.runtime.progress import progress_bar
from nnpipe.simulation.calculator import NeuralCalculator, load_calculator
from nnpipe.simulation.md import frames, thermalize
from nnpipe.simulation.relax import relax
from nnpipe.simulation.settings import Settings
from nnpipe.structures.smiles import from_smiles

ROOT = Path(__file__).parents[1]
ROUNDS, WARM_UP_STEPS, MIN_STEPS = 3, 10, 100
SETTINGS = Settings(frame_fs=1e6)  # no frame but the first


def together(atoms: Atoms, calculator: NeuralCalculator, replicas: int, steps: int) -> float:
    """Return the seconds of `steps` steps of the workflow's dynamics, without its start-up."""
    used = []
    for number in (WARM_UP_STEPS, WARM_UP_STEPS + steps):
        settings = replace(SETTINGS, length_ps=number * SETTINGS.timestep_fs / 1000)
        started = time.perf_counter()
        for _ in frames([atoms] * replicas, calculator, settings):
            pass
        used.append(time.perf_counter() - started)
    return used[1] - used[0]


def looped(atoms: Atoms, calculator: NeuralCalculator, steps: int) -> float:
    """Return the seconds of `steps` steps of ASE's Langevin dynamics."""
    atoms = atoms.copy()
    atoms.calc = calculator
    thermalize(atoms, SETTINGS, 0)
    dynamics = Langevin(
        atoms,
        SETTINGS.timestep_fs * units.fs,
        temperature_K=SETTINGS.temperature_k,
        friction=SETTINGS.friction_per_ps / (1000 * units.fs),
        fixcm=False,
        rng=np.random.default_rng(0),
    )
    dynamics.run(WARM_UP_STEPS)
    started = time.perf_counter()
    dynamics.run(steps)
    return time.perf_counter() - started


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=ROOT / "resources/models/gnn")
    parser.add_argument("--replicas", type=int, nargs="+", default=[1, 100])
    parser.add_argument("--steps", type=int, default=1000, help="of one system; fewer of several")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    use_threads(options.threads)
    calculator = load_calculator(options.model, compiled=True)
    start = from_smiles("CC(=O)Oc1ccccc1C(=O)O")
    start, _ = relax(start, calculator.eager(), SETTINGS.relax_fmax, 500)
    times: dict[tuple[str, int], list[float]] = {}  # ms per step of each round
    for turn in progress_bar(range(ROUNDS + 1), unit="rounds"):  # the first one compiles
        steps = options.steps if turn else WARM_UP_STEPS
        found = {("ASE loop", 1): 1000 * looped(start, calculator, steps) / steps}
        for number in options.replicas:
            some = max(min(steps, MIN_STEPS), steps // number)
            ms = 1000 * together(start, calculator, number, some) / some
            found["one batch", number] = ms
        for key, ms in found.items():
            times.setdefault(key, []).extend([ms] if turn else [])
    device = calculator.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    for (way, number), each in times.items():
        row = {
            "case": f"{number:,} replicas, {way}",
            "quantity": "time per step of all replicas",
            "value": float(np.median(each)),
            "note": f"Median of {ROUNDS} rounds; range {min(each):.3g} to {max(each):.3g} ms",
        }
        about = {"model": options.model.name, "unit": "ms", "data": "aspirin, 300 K", "seed": 0}
        record("dynamics", "replicas", [row], machine=machine(name), **about)


if __name__ == "__main__":
    main()
