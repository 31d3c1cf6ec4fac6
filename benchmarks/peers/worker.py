"""Run the tasks of one model in a separate process: JSON lines in, JSON lines out.

    python benchmarks/peers/worker.py CONTENDER SETTING DATA.npz THREADS

benchmarks/peers/run.py starts it in the environment of the model, which need not contain nnpipe.
"""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from models import PEERS, Graph
from task import Contender, chain, milliseconds
from torch import Tensor

LATE_SHARE = 0.5  # share of the time of a peer that uses the settings of gnn's final stage


class Geometries:
    """Molecules of the archive, energies relative to the atomic references."""

    def __init__(self, data: Any, part: str) -> None:
        self.z, self.pos = (
            torch.from_numpy(data[f"{part}_z"]),
            torch.from_numpy(data[f"{part}_pos"]),
        )
        self.ptr = torch.from_numpy(data[f"{part}_ptr"])
        self.energy = torch.from_numpy(data[f"{part}_energy"])
        forces = f"{part}_forces"
        self.forces = torch.from_numpy(data[forces]) if forces in data else None

    def __len__(self) -> int:
        return len(self.ptr) - 1

    def graph(self, rows: Tensor, cutoff: float) -> tuple[Graph, Tensor]:
        """Return the molecules `rows` as one graph, and the indices of their atoms."""
        sizes = self.ptr[rows + 1] - self.ptr[rows]
        molecule = torch.repeat_interleave(sizes)
        atoms = torch.arange(len(molecule)) + (self.ptr[rows] - sizes.cumsum(0) + sizes)[molecule]
        pos = self.pos[atoms]
        return make_graph(self.z[atoms].long(), pos, molecule, len(rows), cutoff), atoms


def make_graph(z: Tensor, pos: Tensor, molecule: Tensor, size: int, cutoff: float) -> Graph:
    """Return the graph with all pairs within the cutoff.

    Molecules are moved apart, so that one search finds the pairs of all molecules.
    """
    far = pos + molecule[:, None] * torch.tensor([1e3, 0.0, 0.0])
    parts = []
    for some in torch.arange(len(pos)).split(256):
        distance = torch.cdist(far[some], far, compute_mode="donot_use_mm_for_euclid_dist")
        near = distance < cutoff
        parts.append(near.nonzero() + torch.tensor([some[0], 0]))
    i, j = torch.cat(parts).T
    return Graph(z, pos, molecule, size, torch.stack([j, i])[:, i != j])


class Peer:
    """A model of another package, trained by Adam with the labels and the loss of nnpipe."""

    def __init__(self, name: str, setting: str, data: Any) -> None:
        self.peer = PEERS[name]
        torch.manual_seed(0)
        self.model = self.peer.make(cutoff=self.peer.cutoff, **getattr(self.peer, setting))
        self.weights = [p for p in self.model.parameters() if p.requires_grad]
        self.parameters = sum(weight.numel() for weight in self.weights)
        self.data, self.scale = data, float(data["scale"])
        self.settings: dict[str, Any] = json.loads(str(data["source"]))["training"]
        self.batches: dict[bool, list] = {}
        self.late = False

    def outputs(self, graph: Graph, forces: bool, train: bool) -> tuple[Tensor, Tensor | None]:
        """Return energies and forces or None, in standard deviations of the label."""
        if not forces:
            return self.model(graph), None
        pos = graph.pos.detach().requires_grad_()
        energy = self.model(Graph(graph.z, pos, graph.molecule, graph.size, graph.edges))
        (gradient,) = torch.autograd.grad(energy.sum(), pos, create_graph=train)
        return energy, -gradient

    def stage(self) -> dict[str, Any]:
        """Return the settings of gnn's training; late, the settings of its final stage."""
        return self.settings | (self.settings["stages"][-1] if self.late else {})

    def step(
        self, optimizer: torch.optim.Optimizer, graph: Graph, energy: Tensor, forces: Tensor | None
    ) -> None:
        """One step with the loss of nnpipe.training.step.make_loss_and_gradients."""
        value, found = self.outputs(graph, forces is not None, True)
        ours = self.stage()
        loss = torch.nn.functional.smooth_l1_loss(value, energy, beta=ours["energy_huber_delta"])
        if forces is not None:
            knee = ours["force_huber_delta"] / self.scale
            off = ((found - forces).square().sum(1) + knee**2).sqrt() - knee
            loss = ours["energy_weight"] * loss + ours["force_weight"] * off.mean()
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.weights, ours["clip_norm"])
        if norm.isfinite():  # gradients of ViSNet may be NaN
            optimizer.step()

    def cut(self, part: Geometries, rows: Tensor) -> tuple[Graph, Tensor, Tensor | None]:
        """Return a batch with its labels in standard deviations."""
        graph, atoms = part.graph(rows, self.peer.cutoff)
        forces = None if part.forces is None else part.forces[atoms] / self.scale
        return graph, (part.energy[rows] / self.scale).float(), forces

    def run(self, forces: bool, seconds: float) -> float:
        """See Contender. Batches are made before the timing."""
        if forces not in self.batches:
            part = Geometries(self.data, "labels" if forces else "u0")
            rows = torch.randperm(len(part), generator=torch.Generator().manual_seed(0))
            some = rows[: 8 * self.peer.molecules].split(self.peer.molecules)
            self.batches[forces] = [self.cut(part, one) for one in some]
        optimizer = torch.optim.Adam(self.weights, 1e-8)
        started, done, number = time.perf_counter(), 0, 0
        while time.perf_counter() - started < seconds:
            batch = self.batches[forces][number % 8]
            self.step(optimizer, *batch)
            done, number = done + batch[0].size, number + 1
        return done / (time.perf_counter() - started)

    def stream(self, forces: bool) -> Iterator[tuple[Graph, Tensor, Tensor | None]]:
        """Yield batches forever: labels and minima evenly mixed, shuffled again in every pass."""
        generator = torch.Generator().manual_seed(0)
        names = ("labels", "minima") if forces else ("u0",)
        parts = [Geometries(self.data, name) for name in names]
        queues: list[list[Tensor]] = [[] for _ in parts]
        due = [0.0 for _ in parts]
        while True:
            passes = self.stage()["minima_passes"]
            share = [1.0, passes * len(parts[-1]) / len(parts[0])][: len(parts)]
            which = int(np.argmax(np.add(due, share)))
            due = list(np.add(due, share))
            due[which] -= sum(share)
            if not queues[which]:
                order = torch.randperm(len(parts[which]), generator=generator)
                queues[which] = list(order.split(self.peer.molecules))
            yield self.cut(parts[which], queues[which].pop())

    def train(self, forces: bool, seconds: float) -> list[dict[str, float]]:
        """See Contender. The learning rate is a cosine of the elapsed time. The last part of the
        time uses the settings of gnn's final stage.
        """
        ours = self.settings
        optimizer = torch.optim.Adam(self.weights, self.peer.learning_rate)
        average = [weight.detach().clone() for weight in self.weights]
        history, used, steps, seen = [], 0.0, 0, 0
        marks = [seconds * part for part in (0.1, 0.2, 0.4, 0.6, 0.8, 1.0)]
        stream, started = self.stream(forces), time.perf_counter()
        while marks:
            done = used + time.perf_counter() - started
            if done >= marks[0]:
                used = done
                last = len(marks) == 1
                about = {"seconds": used, "molecules": seen}
                history.append(about | self.errors(forces, average, last))
                marks, started = marks[1:], time.perf_counter()
                continue
            self.late = forces and done >= (1 - LATE_SHARE) * seconds
            warm = min(1, (steps + 1) / ours["warmup_steps"])
            rate = warm * (0.505 + 0.495 * np.cos(np.pi * done / seconds))
            for group in optimizer.param_groups:
                group["lr"] = self.peer.learning_rate * rate
            batch = next(stream)
            self.step(optimizer, *batch)
            decay = min(ours["ema_decay"], (1 + steps) / (10 + steps))
            with torch.no_grad():
                torch._foreach_lerp_(average, self.weights, 1 - decay)
            steps, seen = steps + 1, seen + batch[0].size
        return history

    def errors(self, forces: bool, average: list[Tensor], whole: bool) -> dict[str, float]:
        """Return the MAE with averaged weights: of energies (eV) at test minima and, if trained on
        forces, of forces (eV/Å) off the minima. Intermediate evaluations use a quarter of the test.
        """
        kept = [weight.detach().clone() for weight in self.weights]
        with torch.no_grad():
            torch._foreach_copy_(self.weights, average)
        found = {}
        parts = {"energy_mae": "test", "force_mae": "off"} if forces else {"energy_mae": "test_u0"}
        for error, name in parts.items():
            part, off = Geometries(self.data, name), []
            rows = torch.arange(len(part) if whole else len(part) // 4)
            for some in rows.split(32):
                graph, energy, known = self.cut(part, some)
                value, mine = self.outputs(graph, known is not None, False)
                off.append((value.detach() - energy if mine is None else mine - known).flatten())
            found[error] = self.scale * torch.cat(off).abs().mean().item()
        with torch.no_grad():
            torch._foreach_copy_(self.weights, kept)
        return found

    def dynamics(self, atoms: int, seconds: float) -> float:
        """See Contender. One calculator serves all peers, because not every package has one."""
        from ase.calculators.calculator import Calculator, all_changes

        peer = self
        self.take_gradients(False)

        class Thin(Calculator):
            implemented_properties = ("energy", "forces")

            def calculate(
                self,
                atoms: Any = None,
                properties: Sequence[str] = ("energy",),
                system_changes: Sequence[str] = all_changes,
            ) -> None:
                super().calculate(atoms, properties, system_changes)
                z, pos = torch.from_numpy(atoms.numbers), torch.from_numpy(atoms.positions).float()
                graph = make_graph(z, pos, 0 * z, 1, peer.peer.cutoff)
                energy, forces = peer.outputs(graph, True, False)
                self.results = {"energy": energy.item(), "forces": forces.double().numpy()}

        return milliseconds(Thin(), atoms, seconds)

    def take_gradients(self, wanted: bool) -> None:
        """Switch gradients of the weights, which need memory, on or off."""
        for weight in self.weights:
            weight.requires_grad_(wanted)

    def big(self, atoms: int, train: bool) -> None:
        """See Contender."""
        self.take_gradients(train)
        z, pos = chain(atoms)
        graph = make_graph(z, pos, torch.zeros(len(z), dtype=torch.long), 1, self.peer.cutoff)
        energy, forces = self.outputs(graph, True, train)
        if train:
            (energy.sum() + forces.square().sum()).backward()


def main() -> None:
    """Answer tasks until the input ends."""
    name, setting, path, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    torch.set_flush_denormal(True)
    data = np.load(path)  # plain arrays; pickled objects are refused
    if name in PEERS:
        contender: Contender = Peer(name, setting, {key: data[key] for key in data.files})
    else:
        from ours import Ours

        contender = Ours(name, setting, Path(path))
    print(json.dumps({"parameters": contender.parameters}), flush=True)
    for line in sys.stdin:
        task = json.loads(line)
        Path("/proc/self/clear_refs").write_text("5")  # reset the peak to the current memory
        before = memory_mb("VmRSS")
        result = getattr(contender, task.pop("task"))(**task)
        answer = {"result": result, "added_mb": memory_mb("VmHWM") - before}
        print(json.dumps(answer), flush=True)


def memory_mb(which: str) -> float:
    """Return the resident memory (MiB) of this process, current (VmRSS) or peak (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith(which)]
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
