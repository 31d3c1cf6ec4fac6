"""Training throughput of the models of config.yaml, and how near it is to what the machine can do.

    python benchmarks/training.py gnn mlp

The workflow must have run. Every round times each way of a step on the same batches, one thread:
energies alone and with forces, as it is and compiled (compilation itself is not counted). Shares
are of the making of batches, of the step (loss and gradients) and of the optimiser. `gflops` are
those of the step's matrix products a second while it runs, `gflops_of_machine` those of a large
product alone. The table, medians over rounds, goes to results/benchmarks/training.csv.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode

from nnpipe.config import hyperparameters_of, training_of
from nnpipe.data.molecules import read_molecules
from nnpipe.data.splits import read_split
from nnpipe.graphs.compile import CompiledFunction
from nnpipe.graphs.dataset import Dataset, load_dataset, load_labels
from nnpipe.models.registry import build
from nnpipe.runtime.device import use_threads
from nnpipe.runtime.files import write_csv
from nnpipe.training.batching import shuffled_batches
from nnpipe.training.run import make_potential
from nnpipe.training.settings import Settings
from nnpipe.training.soap import SOAP
from nnpipe.training.step import BatchSpec, collate_part, make_loss_and_gradients

DATA = Path(__file__).parents[1] / "results/data"
MOLECULES, BATCHES, ROUNDS = 1000, 20, 7


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+")
    options = parser.parse_args()
    use_threads(1)
    config = yaml.safe_load((DATA.parents[1] / "config.yaml").read_text())
    table = pd.concat([measure(config, name) for name in options.models], ignore_index=True)
    write_csv(table, DATA.parent / "benchmarks/training.csv")
    print(table.to_string(index=False))


def measure(config: dict, name: str) -> pd.DataFrame:
    """Rows of one model."""
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
    optimizer = SOAP(parameters, 1e-5, 0.0)  # so small that every round sees the same model
    found: dict[tuple[str, bool], list[dict[str, float]]] = {}
    step = make_loss_and_gradients(potential, settings)
    ways = {False: step, True: CompiledFunction(step)}
    kinds = {}
    for what, data in (("energy", minima), ("energy + forces", labels)):
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
                    "molecules_per_s": number / sum(times.values()),
                    "gflop_per_molecule": operations / 1e9,
                    "gflops": operations * number / times["step"] / 1e9,
                    "gflops_of_machine": peak(),
                }
                shares = {f"{part}_share": t / sum(times.values()) for part, t in times.items()}
                if turn:
                    found.setdefault((what, compiled), []).append(rates | shares)
    size = sum(parameter.numel() for parameter in parameters)
    return pd.DataFrame(
        {"model": name, "parameters": size, "step": what, "compiled": compiled}
        | dict(pd.DataFrame(rounds).median())
        for (what, compiled), rounds in found.items()
    )


def run(
    step: Callable[..., tuple[torch.Tensor, ...]],
    data: Dataset,
    labels: torch.Tensor,
    batches: list[torch.Tensor],
    parameters: list[torch.nn.Parameter],
    optimizer: SOAP,
) -> dict[str, float]:
    """Seconds of the parts of some steps."""
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
    """GFLOP/s of a product of two matrices that fit in the cache."""
    matrix, repeats = torch.ones(512, 512), 20
    started = time.perf_counter()
    for _ in range(repeats):
        matrix @ matrix
    return repeats * 2 * len(matrix) ** 3 / (time.perf_counter() - started) / 1e9


if __name__ == "__main__":
    main()
