"""Training throughput of the models of config.yaml: molecules/s, one thread, alternating.

    python benchmarks/training.py gnn mlp

The workflow must have run. Every round times each way of a step on the same batches: energies alone
and with forces, as it is and compiled (compilation itself is not counted), optimiser included. The
table, medians over rounds, goes to results/benchmarks/training.csv.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
import yaml

from nnpipe.batch import Dataset, load_dataset, load_labels
from nnpipe.config import hyperparameters_of, training_of
from nnpipe.device import use_threads
from nnpipe.fit import make_potential
from nnpipe.fused import Fused
from nnpipe.models import build
from nnpipe.molecules import read_molecules
from nnpipe.optim import SOAP
from nnpipe.splits import read_split
from nnpipe.store import write_csv
from nnpipe.train import Settings, cut_for_step, gradients, shuffled

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
    optimizer = SOAP(parameters, 1e-5)  # so small that every round sees the same model
    found: dict[tuple[str, bool], list[float]] = {}
    ways = {False: gradients(potential, settings), True: Fused(gradients(potential, settings))}
    for _ in range(1 + ROUNDS):
        for what, data in (("energy", minima), ("energy + forces", labels)):
            for compiled, step in ways.items():
                rate = run(step, data, potential.residual(data), settings, parameters, optimizer)
                found.setdefault((what, compiled), []).append(rate)
    medians = {key: pd.Series(rates[1:]).median() for key, rates in found.items()}
    size = sum(parameter.numel() for parameter in parameters)
    return pd.DataFrame(
        {"model": name, "parameters": size, "step": what, "compiled": c, "molecules_per_s": rate}
        for (what, c), rate in medians.items()
    )


def run(
    step: Callable[..., tuple[torch.Tensor, ...]],
    data: Dataset,
    labels: torch.Tensor,
    settings: Settings,
    parameters: list[torch.nn.Parameter],
    optimizer: SOAP,
) -> float:
    """Molecules/s of some batches."""
    batches = shuffled(data, settings, 0)[:BATCHES]
    started = time.perf_counter()
    for rows in batches:
        _, *found = step(*cut_for_step(data, labels, rows))
        for parameter, gradient in zip(parameters, found, strict=True):
            parameter.grad = gradient
        optimizer.step()
    return sum(map(len, batches)) / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
