"""AtomGNN as a contender: the steps, the labels and the training function of nnpipe itself."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml
from worker import chain

from nnpipe.batch import Dataset, load_dataset, load_labels
from nnpipe.calculator import NeuralCalculator
from nnpipe.config import hyperparameters_of, training_of
from nnpipe.fit import make_potential
from nnpipe.fused import Fused
from nnpipe.models import build
from nnpipe.molecules import read_molecules
from nnpipe.optim import SOAP
from nnpipe.potential import Potential, energy_forces
from nnpipe.splits import read_split
from nnpipe.train import Settings, cut_for_step, gradients, predict, shuffled, train

ROOT = Path(__file__).parents[2]
TABLES = ROOT / "results/data/qm9.safetensors", ROOT / "results/data/neighbours.safetensors"
BATCHES = 40  # whose time says how many epochs fit


class Ours:
    """A model of config.yaml; see worker.Contender."""

    def __init__(self, name: str, archive: Path) -> None:
        config = yaml.safe_load((ROOT / "config.yaml").read_text())
        self.hyperparameters = hyperparameters_of(config, name)
        self.architecture = config["models"][name]["architecture"]
        self.settings = Settings(**training_of(config, name))
        self.molecules, header = read_molecules(TABLES[0])
        self.split = read_split(ROOT / "results/data/split.csv", self.molecules.index)
        cutoff = self.hyperparameters["cutoff"]
        self.minima, self.u0 = (
            load_dataset(*TABLES, self.split["train"], target, cutoff)
            for target in ("energy", "u0")
        )
        index = self.molecules.index
        paths = ROOT / "results/data/labels.safetensors", archive.with_name("off.safetensors")
        parts = self.split["train"], self.split["test"]
        self.labels, self.off = (
            load_labels(path, index[part], cutoff, header["digest"])
            for path, part in zip(paths, parts, strict=True)
        )
        self.steps: dict[bool, Any] = {}
        self.parameters = sum(p.numel() for p in self.potential(False).model.parameters())

    def potential(self, forces: bool) -> Potential:
        """A new one, for energies with forces or for U0."""
        model = build(self.architecture, self.hyperparameters, self.settings.seed)
        parts = (self.minima, "energy") if forces else (self.u0, "u0")
        return make_potential(model, *parts)

    def run(self, forces: bool, seconds: float) -> float:
        """Molecules/s, the making of batches included."""
        data = self.labels if forces else self.u0
        if forces not in self.steps:
            potential = self.potential(forces)
            step = Fused(gradients(potential, self.settings))
            weights = list(potential.model.parameters())
            self.steps[forces] = step, SOAP(weights, 1e-8), weights, potential.residual(data)
        step, optimizer, weights, labels = self.steps[forces]
        batches = shuffled(data, self.settings, 0)
        started, done, number = time.perf_counter(), 0, 0
        while time.perf_counter() - started < seconds:
            rows = batches[number % len(batches)]
            _, *found = step(*cut_for_step(data, labels, rows))
            for weight, gradient in zip(weights, found, strict=True):
                weight.grad = gradient
            optimizer.step()
            done, number = done + len(rows), number + 1
        return done / (time.perf_counter() - started)

    def train(self, forces: bool, seconds: float) -> list[dict[str, float]]:
        """As many epochs as fit, compilation included, by nnpipe's own training function."""
        started = time.perf_counter()
        self.run(forces, 1.0)  # compiles
        rate = self.run(forces, 8.0)
        data, minima = (self.labels, self.minima) if forces else (self.u0, None)
        each = len(data) / rate
        if minima:  # a pass over the minima costs what energies alone cost
            self.run(False, 1.0)
            each += self.settings.minima_passes * len(minima) / self.run(False, 4.0)
        left = seconds - (time.perf_counter() - started)
        settings = replace(self.settings, epochs=max(1, int(0.93 * left / each)))
        potential = self.potential(forces)
        target = "energy" if forces else "u0"
        quarter, whole = (self.test(target, part) for part in (4, 1))
        before = time.perf_counter() - started
        history = train(potential, data, quarter, settings, minima=minima).history
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
        return [
            *rows[:-1],
            rows[-1] | ({"force_mae": self.force_error(potential)} if forces else {}),
        ]

    def test(self, target: str, part: int) -> Dataset:
        """The test molecules that every contender sees, or a part of them."""
        from run import TEST

        cutoff = self.hyperparameters["cutoff"]
        return load_dataset(*TABLES, self.split["test"][: TEST // part], target, cutoff)

    def force_error(self, potential: Potential) -> float:
        """MAE (eV/Å) off the minima of test molecules."""
        off = []
        assert self.off.forces is not None
        for rows in torch.arange(len(self.off)).split(32):
            forces = energy_forces(potential, self.off.batch(rows))[1]
            off.append((forces - self.off.forces[self.off.atoms(rows)[0]]).flatten())
        return torch.cat(off).abs().mean().item()

    def big(self, atoms: int, train: bool) -> None:
        """See worker.Contender."""
        z, pos = (tensor.numpy() for tensor in chain(atoms))
        calculator = NeuralCalculator(self.potential(True), [1, 6], device="cpu")
        batch = calculator.batch(z, pos, 0 * z, torch.zeros(3, 3).numpy(), [False] * 3)
        potential = calculator.potential.requires_grad_(train)
        energy, forces = energy_forces(potential, batch, create_graph=train)
        if train:
            (energy.sum() + forces.square().sum()).backward()
