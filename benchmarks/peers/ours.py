"""AtomGNN in the comparison: steps, labels and training function of nnpipe."""

import time
from dataclasses import replace
from functools import cached_property
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from task import FORCES_FIRST, TEST_MOLECULES, chain, milliseconds

from nnpipe.config import hyperparameters_of, training_of
from nnpipe.data.molecules import Molecules, read_molecules
from nnpipe.data.splits import read_split
from nnpipe.graphs.dataset import Dataset, load_dataset, load_labels
from nnpipe.models.potential import Potential, energy_forces
from nnpipe.models.predict import predict
from nnpipe.models.registry import build
from nnpipe.simulation.calculator import load_calculator
from nnpipe.training.batching import shuffled_batches
from nnpipe.training.loop import train
from nnpipe.training.run import make_potential
from nnpipe.training.settings import Settings, stage_of
from nnpipe.training.soap import SOAP
from nnpipe.training.step import BatchSpec, BatchStepper

ROOT = Path(__file__).parents[2]
FORCES_SHARE = 0.75  # of the time; the rest trains on U0 of minima only
TABLES = ROOT / "results/data/qm9.safetensors", ROOT / "results/data/neighbours.safetensors"


class Ours:
    """A model of config.yaml; see task.Contender."""

    def __init__(self, name: str, setting: str, archive: Path) -> None:
        config = yaml.safe_load((ROOT / "config.yaml").read_text())
        self.hyperparameters = hyperparameters_of(config, name)
        self.architecture = config["models"][name]["architecture"]
        self.settings = Settings(**training_of(config, name))
        self.setting = setting
        self.archive, self.trained = archive, ROOT / "results/models" / name
        self.steps: dict[bool, Any] = {}
        model = build(self.architecture, self.hyperparameters)
        self.parameters = sum(parameter.numel() for parameter in model.parameters())

    @cached_property
    def tables(self) -> tuple[Molecules, str, dict[str, np.ndarray]]:
        """Return all molecules, the digest of their table and the split."""
        molecules, header = read_molecules(TABLES[0])
        split = read_split(ROOT / "results/data/split.csv", molecules.index)
        return molecules, header["digest"], split

    def minima(self, target: str, part: str, number: int | None = None) -> Dataset:
        """Return the first molecules of a part of the split at their minima."""
        rows = self.tables[2][part][:number]
        return load_dataset(*TABLES, rows, target, self.hyperparameters["cutoff"])

    def labels(self, path: Path, part: str) -> Dataset:
        """Return the labelled geometries of a part of the split."""
        molecules, digest, split = self.tables
        return load_labels(
            path, molecules.index[split[part]], self.hyperparameters["cutoff"], digest
        )

    @cached_property
    def data(self) -> dict[bool, tuple[Dataset, Dataset]]:
        """Return {with forces: (training data, minima for the atomic references)}."""
        minima, u0 = self.minima("energy", "train"), self.minima("u0", "train")
        labels = self.labels(ROOT / "results/data/labels.safetensors", "train")
        return {True: (labels, minima), False: (u0, u0)}

    def potential(self, forces: bool) -> Potential:
        """Return an untrained potential, for energies with forces or for U0."""
        model = build(self.architecture, self.hyperparameters, self.settings.seed)
        return make_potential(model, self.data[forces][1], "energy" if forces else "u0")

    def run(self, forces: bool, seconds: float) -> float:
        """See task.Contender. Making batches is included."""
        data, _ = self.data[forces]
        if forces not in self.steps:
            potential = self.potential(forces)
            stepper = BatchStepper(potential, self.settings)
            weights = list(potential.model.parameters())
            optimizer = SOAP(weights, 1e-8, 0.0, parallel_map=stepper.parallel_map)
            self.steps[forces] = stepper, optimizer, weights, potential.normalised_target(data)
        stepper, optimizer, weights, labels = self.steps[forces]
        batches = shuffled_batches(data, self.settings, 0)
        found = stepper(BatchSpec(data, labels, rows) for rows in cycle(batches))
        started, done = time.perf_counter(), 0
        for rows, (_, *gradients) in zip(cycle(batches), found, strict=True):
            for weight, gradient in zip(weights, gradients, strict=True):
                weight.grad = gradient
            optimizer.step()
            done += len(rows)
            if time.perf_counter() - started > seconds:
                break
        return done / (time.perf_counter() - started)

    def train(self, forces: bool, seconds: float) -> list[dict[str, float]]:
        """See task.Contender. Train as many epochs as fit, compilation included.

        With FORCES_FIRST, U0 is trained as gnn_u0 in the workflow.
        """
        if forces or self.setting != FORCES_FIRST:
            return self.stage(forces, seconds)[0]
        first, potential = self.stage(True, FORCES_SHARE * seconds)
        last = self.stage(False, seconds - first[-1]["seconds"], potential)[0]
        for row in last:
            row["seconds"] += first[-1]["seconds"]
            row["molecules"] += first[-1]["molecules"]
        return last

    def stage(
        self, forces: bool, seconds: float, start: Potential | None = None
    ) -> tuple[list[dict[str, float]], Potential]:
        """Train once; with `start`, from its weights and at half the learning rate."""
        started = time.perf_counter()
        self.run(forces, 1.0)  # compiles
        rate = self.run(forces, 8.0)
        data, minima = self.data[forces]
        left, each, settings = 0.93 * seconds, len(data) / rate, self.settings
        if forces:  # a pass over minima costs as much as a pass without forces
            self.run(False, 1.0)
            once = len(minima) / self.run(False, 4.0)
            each += settings.minima_passes * once
            more = stage_of(settings, settings.epochs - 1).minima_passes - settings.minima_passes
            left -= settings.stages[-1].epochs * more * once
        left -= time.perf_counter() - started
        *before_last, last = settings.stages  # the first stage takes the epochs that are left
        epochs = int(left / each) - (last.epochs if before_last else 0)
        first = replace(settings.stages[0], epochs=max(1, epochs))
        settings = replace(settings, stages=(first, last) if before_last else (first,))
        potential = self.potential(forces)
        if start:
            potential.model.load_state_dict(start.model.state_dict())
            settings = replace(settings, learning_rate=settings.learning_rate / 2)
        target = "energy" if forces else "u0"
        quarter, whole = (self.minima(target, "test", TEST_MOLECULES // part) for part in (4, 1))
        before = time.perf_counter() - started
        history = train(
            potential, data, quarter, settings, minima=minima if forces else None
        ).history
        used = time.perf_counter() - started
        rows = [
            {
                "seconds": before + entry["seconds"],
                "molecules": entry["epoch"] * len(data),
                "energy_mae": entry["validation_mae"],
            }
            for entry in history
        ]
        off = predict(potential, whole) - whole.target
        rows[-1] |= {"seconds": used, "energy_mae": off.abs().mean().item()}
        if forces:
            rows[-1]["force_mae"] = self.force_error(potential)
        return rows, potential

    def force_error(self, potential: Potential) -> float:
        """Return the force MAE (eV/Å) of distorted test molecules."""
        data, off = self.labels(self.archive.with_name("off.safetensors"), "test"), []
        for rows in torch.arange(len(data)).split(32):
            batch, known = data.collate(rows)
            off.append((energy_forces(potential, batch)[1] - known).flatten())
        return torch.cat(off).abs().mean().item()

    def dynamics(self, atoms: int, seconds: float) -> float:
        """See task.Contender. The calculator is compiled, and the timestep is realistic, so that
        neighbour lists are renewed as often as in a real run.
        """
        return milliseconds(load_calculator(self.trained, compiled=True), atoms, seconds, 0.5)

    def big(self, atoms: int, train: bool) -> None:
        """See task.Contender."""
        z, pos = (tensor.numpy() for tensor in chain(atoms))
        pos = pos.astype(float)
        calculator = load_calculator(self.trained)
        open_space = (np.zeros((3, 3)), np.zeros(3, bool))
        ((_, _, batch),) = calculator.lists.make_batches(z, pos, 0 * z, *open_space)
        potential = calculator.potential.requires_grad_(train)
        energy, forces = energy_forces(potential, batch, create_graph=train)
        if train:
            (energy.sum() + forces.square().sum()).backward()
