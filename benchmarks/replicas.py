"""Milliseconds a step of aspirin's dynamics: replicas in one batch, and one by one through ASE.

    python benchmarks/replicas.py --replicas 1 100 1000 --model resources/models/gnn

300 K, steps of 0.5 fs, nothing written; each way three times, taking turns, once all is compiled.
The table goes to results/benchmarks.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from ase import Atoms, units
from ase.md.langevin import Langevin

from nnpipe.runtime.device import use_threads
from nnpipe.runtime.files import write_csv
from nnpipe.runtime.progress import progress_bar
from nnpipe.simulation.calculator import NeuralCalculator, load_calculator
from nnpipe.simulation.md import frames, thermalize
from nnpipe.simulation.relax import relax
from nnpipe.simulation.settings import Settings
from nnpipe.structures.load import from_smiles

ROOT = Path(__file__).parents[1]
ROUNDS, WARM, FEWEST = 3, 10, 100  # the last two are steps
SETTINGS = Settings(frame_fs=1e6)  # the first frame alone


def together(atoms: Atoms, calculator: NeuralCalculator, replicas: int, steps: int) -> float:
    """Seconds of so many steps, as the workflow takes them, without what comes before the first."""
    used = []
    for number in (WARM, WARM + steps):
        settings = replace(SETTINGS, length_ps=number * SETTINGS.timestep_fs / 1000)
        started = time.perf_counter()
        for _ in frames([atoms] * replicas, calculator, settings):
            pass
        used.append(time.perf_counter() - started)
    return used[1] - used[0]


def looped(atoms: Atoms, calculator: NeuralCalculator, steps: int) -> float:
    """Seconds of so many steps of ASE's Langevin dynamics."""
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
    dynamics.run(WARM)
    started = time.perf_counter()
    dynamics.run(steps)
    return time.perf_counter() - started


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=ROOT / "resources/models/gnn")
    parser.add_argument("--replicas", type=int, nargs="+", default=[1, 100])
    parser.add_argument("--steps", type=int, default=1000, help="of one system; fewer of many")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    use_threads(options.threads)
    calculator = load_calculator(options.model, compiled=True)
    start = from_smiles("CC(=O)Oc1ccccc1C(=O)O")
    start, _ = relax(start, calculator.eager(), SETTINGS.relax_fmax, 500)
    rows = []
    for turn in progress_bar(range(ROUNDS + 1), unit="rounds"):  # the first one compiles
        steps = options.steps if turn else WARM
        seconds = looped(start, calculator, steps)
        rows.append({"turn": turn, "way": "looped", "replicas": 1, "ms": 1000 * seconds / steps})
        for number in options.replicas:
            some = max(min(steps, FEWEST), steps // number)
            ms = 1000 * together(start, calculator, number, some) / some
            rows.append({"turn": turn, "way": "together", "replicas": number, "ms": ms})
    table = pd.DataFrame(rows).query("turn > 0").assign(device=str(calculator.device))
    table["us_per_replica"] = 1000 * table["ms"] / table["replicas"]
    write_csv(table, ROOT / "results/benchmarks/replicas.csv")
    each = table.groupby(["way", "replicas"])[["ms", "us_per_replica"]]
    print(each.agg(["min", "median", "max"]).to_string())


if __name__ == "__main__":
    main()
