"""Throughput of training steps, and how near it is to the peak of the machine.

    python benchmarks/training.py gnn mlp

The workflow must have run. Each round times every kind of step on the same batches with one thread:
energies only and energies with forces, eager and compiled (compilation is not timed). Medians over
the rounds are recorded in benchmarks/results/default_run.csv: molecules per second in table
`training_speed`; in table `training_efficiency` the shares of collating, step (loss and gradients)
and optimiser, and GFLOP/s of the matrix products of the step and of one large product.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
import yaml
from records import record
from torch.utils.flop_counter import FlopCounterMode

from nnpipe.config import hyperparameters_of, training_of
from nnpipe.data.molecules import read_molecules
from nnpipe.data.splits import read_split
from nnpipe.graphs.compile import CompiledFunction
from nnpipe.graphs.dataset import Dataset, load_dataset, load_labels
from nnpipe.models.registry import build
from nnpipe.runtime.device import use_threads
from nnpipe.training.batching import shuffled_batches
from nnpipe.training.run import make_potential
from nnpipe.training.settings import Settings
from nnpipe.training.soap import SOAP
from nnpipe.training.step import BatchSpec, collate_part, make_loss_and_gradients

DATA = Path(__file__).parents[1] / "results/data"
MOLECULES, BATCHES, ROUNDS = 1000, 20, 7
SPEED = "molecules/s"


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+")
    options = parser.parse_args()
    use_threads(1)
    config = yaml.safe_load((DATA.parents[1] / "config.yaml").read_text())
    about = {"data": f"{MOLECULES:,} training molecules of QM9", "split": 0, "seed": 0}
    for name in options.models:
        for (what, compiled), found in measure(config, name).items():
            case = "compiled" if compiled else "eager"
            speed = {"quantity": what, "value": found.pop(SPEED), "unit": SPEED}
            record("default_run", "training_speed", [speed], model=name, case=case, **about)
            rows = [{"quantity": f"{what}, {key}", "value": v} for key, v in found.items()]
            record("default_run", "training_efficiency", rows, model=name, case=case, **about)


def measure(config: dict, name: str) -> dict[tuple[str, bool], dict[str, float]]:
    """Return {(labels, compiled): medians over the rounds} of one model."""
    molecules, header = read_molecules(DATA / "qm9.safetensors")
    rows = read_split(DATA / "split.csv", molecules.index)["train"][:MOLECULES]
    hyperparameters = hyperparameters_of(config, name)
    cutoff, settings = hyperparameters["cutoff"], Settings(**training_of(config, name))
    paths = DATA / "qm9.safetensors", DATA / "neighbours.safetensors"
    minima = load_dataset(*paths, rows, "energy", cutoff)
    index, digest = molecules.index[rows], header["digest"]
    labels = load_labels(DATA / "labels.safetensors", index, cutoff, digest)
    model = build(config["models"][name]["architecture"], hyperparameters)
    potential = make_potential(model, minima, "energy")
    parameters = list(model.parameters())
    # so small a rate that the model is the same in every round
    optimizer = SOAP(parameters, 1e-5, 0.0)
    found: dict[tuple[str, bool], list[dict[str, float]]] = {}
    step = make_loss_and_gradients(potential, settings)
    ways = {False: step, True: CompiledFunction(step)}
    kinds = {}
    for what, data in (("energies", minima), ("energies and forces", labels)):
        batches, targets = (
            shuffled_batches(data, settings, 0)[:BATCHES],
            potential.normalised_target(data),
        )
        with FlopCounterMode(display=False) as counted:
            step(*collate_part(BatchSpec(data, targets, batches[0]), batches[0]))
        operations = counted.get_total_flops() / len(batches[0])
        kinds[what] = data, targets, batches, operations
    for turn in range(1 + ROUNDS):
        for what, (data, targets, batches, operations) in kinds.items():
            number = sum(map(len, batches))
            for compiled, way in ways.items():
                times = run(way, data, targets, batches, parameters, optimizer)
                rates = {
                    SPEED: number / sum(times.values()),
                    "GFLOP per molecule": operations / 1e9,
                    "GFLOP/s of the step": operations * number / times["step"] / 1e9,
                    "GFLOP/s of the machine": peak(),
                }
                shares = {
                    f"share of the {part}": t / sum(times.values()) for part, t in times.items()
                }
                if turn:
                    found.setdefault((what, compiled), []).append(rates | shares)
    return {key: pd.DataFrame(rounds).median().to_dict() for key, rounds in found.items()}


def run(
    step: Callable[..., tuple[torch.Tensor, ...]],
    data: Dataset,
    labels: torch.Tensor,
    batches: list[torch.Tensor],
    parameters: list[torch.nn.Parameter],
    optimizer: SOAP,
) -> dict[str, float]:
    """Return the seconds of the parts of one step per batch."""
    spent = dict.fromkeys(("batch", "step", "optimiser"), 0.0)
    for rows in batches:
        began = time.perf_counter()
        inputs = collate_part(BatchSpec(data, labels, rows), rows)
        cut = time.perf_counter()
        _, *found = step(*inputs)
        stepped = time.perf_counter()
        for parameter, gradient in zip(parameters, found, strict=True):
            parameter.grad = gradient
        optimizer.step()
        ends = (cut, stepped, time.perf_counter())
        for part, start, end in zip(spent, (began, *ends), ends, strict=False):
            spent[part] += end - start
    return spent


def peak() -> float:
    """Return the GFLOP/s of a product of two matrices that fit into the cache."""
    matrix, repeats = torch.ones(512, 512), 20
    started = time.perf_counter()
    for _ in range(repeats):
        matrix @ matrix
    return repeats * 2 * len(matrix) ** 3 / (time.perf_counter() - started) / 1e9


if __name__ == "__main__":
    main()
