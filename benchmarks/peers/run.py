"""AtomGNN beside its peers, each from its own package in its own environment, one task per command.

    python benchmarks/peers/run.py throughput          # molecules/s in training, alternating
    python benchmarks/peers/run.py accuracy            # errors after 10 minutes of training each
    python benchmarks/peers/run.py accuracy --energy   # of U0; gnn also as gnn_u0 in the workflow
    python benchmarks/peers/run.py dynamics            # ms per step of 20 and of 302 atoms
    python benchmarks/peers/run.py memory              # of one molecule of 10 to 1,000 atoms
    python benchmarks/peers/run.py figure              # from the records

The workflow must have run. Environments are created when needed, in results/benchmarks/peers.
`--settings equal` runs the peers at AtomGNN's number of parameters only, `--peers mace painn`
only these peers, `--minutes 1` a shorter training. `--at-once 2` trains two models at a time,
each on half of the threads. All models train on the same molecules and labels with the same loss,
whose weights change late in the training. Peers train by Adam at their published learning rates,
with batches of at most 32 molecules, because ten minutes are short. Values are recorded in
benchmarks/results/peers.csv. A model that cannot be installed or fails is reported, not recorded.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import venv
from contextlib import suppress
from functools import cache
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter
from models import LABELS, PEERS
from task import FORCES_FIRST, TEST_MOLECULES, chain

from nnpipe.analysis.plots import panels
from nnpipe.analysis.style import BLUE, GREY, save_light_and_dark, styled
from nnpipe.config import training_of
from nnpipe.data.molecules import read_molecules, row_ends
from nnpipe.data.splits import read_split
from nnpipe.graphs.dataset import Dataset, load_dataset, load_labels
from nnpipe.labelling.chunks import write_chunk
from nnpipe.labelling.correction import read_correction
from nnpipe.labelling.methods import method
from nnpipe.labelling.settings import Settings
from nnpipe.labelling.table import write_labels
from nnpipe.models.names import readable_name
from nnpipe.runtime.files import atomic, sha256
from nnpipe.runtime.progress import progress_bar
from nnpipe.training.atomic_references import atomic_references

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))
from records import numbers, record  # noqa: E402

DATA = HERE.parents[1] / "results/data"
OUT = HERE.parents[1] / "results/benchmarks/peers"
DISTORTED_MOLECULES = 300  # of the test
ROUNDS, SECONDS = 5, 5.0
SIZES = (10, 30, 100, 300, 1000)
CHAINS = (20, 302)  # atoms of alkanes
DATA_SET = "training molecules of QM9 of the workflow"


@cache
def prepare() -> Path:
    """Return the archive with all data of the tasks; it is made again if its sources changed."""
    path = OUT / "data.npz"
    config = yaml.safe_load((HERE.parents[1] / "config.yaml").read_text())
    files = ("correction.json", "labels.safetensors", "qm9.safetensors", "split.csv")
    digests = {name: sha256(DATA / name) for name in files}
    source = json.dumps({"training": training_of(config, "gnn"), **digests})
    if path.is_file() and str(np.load(path).get("source")) == source:
        return path
    OUT.mkdir(parents=True, exist_ok=True)
    os.environ["OMP_NUM_THREADS"] = "1"  # GFN2-xTB is much slower on several
    molecules, header = read_molecules(DATA / "qm9.safetensors")
    split = read_split(DATA / "split.csv", molecules.index)
    about = {"molecules": header["digest"], "method": config["labels"]["method"]}
    chunk, off = OUT / "off_chunk.safetensors", OUT / "off.safetensors"
    teacher = HERE.parents[1] / config["labels"]["teacher"]
    write_chunk(
        molecules,
        split["test"][:DISTORTED_MOLECULES],
        method(config["labels"]["method"], teacher / "tight_binding.toml"),
        Settings(seed=1),
        chunk,
        about,
    )
    correction = read_correction(DATA / "correction.json")
    delta = teacher / "model.safetensors"
    write_labels([chunk], molecules, correction, 5.0, off, about, delta=delta)
    tables = DATA / "qm9.safetensors", DATA / "neighbours.safetensors"
    train, test = split["train"], split["test"][:TEST_MOLECULES]

    def of(rows: np.ndarray, target: str) -> Dataset:
        return load_dataset(*tables, rows, target, 5.0)

    def labels(path: Path, rows: np.ndarray) -> Dataset:
        return load_labels(path, molecules.index[rows], 5.0, header["digest"])

    parts = {
        "minima": of(train, "energy"),
        "u0": of(train, "u0"),
        "test": of(test, "energy"),
        "test_u0": of(test, "u0"),
        "labels": labels(DATA / "labels.safetensors", train),
        "off": labels(off, test),
    }
    arrays: dict[str, np.ndarray] = {}
    for name, part in parts.items():
        minima = parts["u0" if name.endswith("u0") else "minima"]
        each = atomic_references(
            minima.atomic_numbers().numpy(), minima.sizes.numpy(), minima.target.numpy()
        )
        rows = torch.arange(len(part))
        z, ptr = part.atomic_numbers().numpy(), row_ends(part.sizes.numpy())
        reference = np.array([each.get(z, 0.0) for z in range(10)])[z]
        energy = part.target.numpy() - np.add.reduceat(reference, ptr[:-1])
        pos = part.pos[part.atoms(rows)[0]].float().numpy()
        found = {"z": z, "pos": pos, "ptr": ptr, "energy": energy}
        if (forces := part.force_labels(rows)) is not None:
            found["forces"] = forces.numpy()
        arrays |= {f"{name}_{key}": value for key, value in found.items()}
    arrays["scale"] = np.array(arrays["minima_energy"].std())
    arrays["source"] = np.array(source)
    with atomic(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)
    return path


def interpreter(name: str) -> Path:
    """Return the Python of a model's environment, which is created if necessary."""
    environment = PEERS[name].environment if name in PEERS else None
    if environment is None:
        return Path(sys.executable)
    folder, recipe = OUT / "envs" / environment, HERE / f"envs/{environment}.txt"
    done = folder / "done.txt"
    if not done.is_file() or done.read_text() != recipe.read_text():
        venv.create(folder, clear=True, with_pip=True)
        pip = [folder / "bin/python", "-m", "pip", "install", "-q", "-r", recipe]
        subprocess.run(pip, check=True)
        done.write_text(recipe.read_text())
    return folder / "bin/python"


class Process:
    """A model in a separate process. `failed` holds the reason after a failure."""

    def __init__(self, name: str, setting: str, threads: int) -> None:
        self.name, self.setting, self.failed, self.parameters = name, setting, "", 0
        data = prepare()
        variables = {"OMP_NUM_THREADS": str(threads), "GOMP_SPINCOUNT": "10000"}
        try:
            command = [interpreter(name), HERE / "worker.py", name, setting, data, str(threads)]
        except subprocess.CalledProcessError as error:
            self.failed = f"cannot be installed: pip ended with {error.returncode}"
            return
        log = OUT / f"{name}_{setting}.log"
        self.process = subprocess.Popen(
            list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=log.open("w"), text=True, env=os.environ | variables,
        )  # fmt: skip
        self.parameters = self._read().get("parameters", 0)

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout
        for line in self.process.stdout:
            if line.startswith("{"):  # packages print other lines
                return json.loads(line)
        last = (OUT / f"{self.name}_{self.setting}.log").read_text().strip().splitlines()[-1:]
        code = self.process.wait()
        said = " ".join(last) or f"ended with {code}"
        self.failed = "killed, probably for lack of memory" if code == -signal.SIGKILL else said
        return {}

    def ask(self, task: str, **arguments: Any) -> dict[str, Any]:
        """Return the answer to a task, empty after a failure."""
        if self.failed:
            return {}
        assert self.process.stdin
        with suppress(BrokenPipeError):  # _read reports the reason
            self.process.stdin.write(json.dumps({"task": task, **arguments}) + "\n")
            self.process.stdin.flush()
        return self._read()

    def end(self) -> None:
        """End the process."""
        if hasattr(self, "process"):
            self.process.kill()
            self.process.wait()

    def record(self, kind: str, rows: list[dict[str, Any]], options: Any, **about: Any) -> None:
        """Record `rows` in the tables of the model's setting; gnn belongs to each setting."""
        if self.failed:
            print(f"{self.name}, {self.setting}: {self.failed}", flush=True)
            return
        about = {"data": DATA_SET, "split": 0, "seed": 0} | about
        for setting in options.settings if self.name == "gnn" else [self.setting]:
            record("peers", f"{kind}{setting}", rows, model=LABELS[self.name], **about)


def throughput(contenders: list[tuple[str, str]], options: argparse.Namespace) -> None:
    """Record molecules/s of training steps, optimiser included."""
    kinds = {
        "training on energies": {"forces": False},
        "training on energies and forces": {"forces": True},
    }
    take_turns(contenders, options, "run", kinds, "molecules/s")


def dynamics(contenders: list[tuple[str, str]], options: argparse.Namespace) -> None:
    """Record the time per MD step in ASE."""
    kinds = {f"MD step, {atoms} atoms": {"atoms": atoms} for atoms in CHAINS}
    take_turns(contenders, options, "dynamics", kinds, "ms", data="alkane chain", split="")


def take_turns(
    contenders: list[tuple[str, str]],
    options: argparse.Namespace,
    task: str,
    kinds: dict[str, dict[str, Any]],
    unit: str,
    **about: Any,
) -> None:
    """Record medians over rounds in which the models take turns; the first round warms up."""
    processes = [Process(*one, options.threads) for one in contenders]
    found: dict[tuple[int, str], list[float]] = {}
    for turn in progress_bar(range(1 + ROUNDS), unit="rounds"):
        for number, process in enumerate(processes):
            for kind, arguments in kinds.items():
                answer = process.ask(task, **arguments, seconds=SECONDS if turn else 1.0)
                if turn and answer:
                    found.setdefault((number, kind), []).append(answer["result"])
    for number, process in enumerate(processes):
        rows = [
            {
                "quantity": kind,
                "value": float(np.median(found[number, kind])),
                "unit": unit,
                "note": f"Median of {ROUNDS} rounds; the models take turns",
            }
            for kind in kinds
            if (number, kind) in found
        ]
        rows.append({"quantity": "parameters", "value": process.parameters})
        process.record("", rows, options, **about)
        process.end()


def accuracy(contenders: list[tuple[str, str]], options: argparse.Namespace) -> None:
    """Record errors against time, with `at_once` models training at a time."""
    what = "U0" if options.energy else "energy"

    def one(contender: tuple[str, str]) -> tuple[Process, list[dict[str, Any]]]:
        process = Process(*contender, options.threads // options.at_once)
        task = {"forces": not options.energy, "seconds": 60 * options.minutes}
        history = process.ask("train", **task).get("result", [])
        process.end()
        return process, history

    note = f"{options.minutes:g} min on {options.threads // options.at_once} threads"
    with ThreadPool(options.at_once) as pool:
        trainings = pool.imap(one, contenders, 1)
        for process, history in progress_bar(trainings, total=len(contenders), unit="trainings"):
            suffix = f", {process.setting}" if process.setting == FORCES_FIRST else ""
            for entry in history:
                row = {"quantity": f"{what}, MAE{suffix}", "value": 1000 * entry["energy_mae"]}
                row |= {"unit": "meV", "case": f"{entry['seconds'] / 60:.2f} min"}
                process.record("history_", [row], options, note=note)
            if not history:
                process.record("", [], options)
                continue
            last = history[-1]
            n = f"{TEST_MOLECULES:,} test minima"
            rows = [{"quantity": f"{what}, MAE{suffix}", "value": 1000 * last["energy_mae"]}]
            rows[0] |= {"unit": "meV", "n": n}
            if "force_mae" in last:
                n = f"distorted geometries of {DISTORTED_MOLECULES} test molecules"
                row = {"quantity": "forces, MAE", "value": 1000 * last["force_mae"]}
                rows.append(row | {"unit": "meV/Å", "n": n})
            process.record("", rows, options, note=note)


@styled
def figure() -> Figure:
    """Return the recorded energy MAE against the time of an MD step, a point per model."""
    drawn, (axes,) = panels(2, width=3.8, height=3.4, sharey=True)
    titles = {"equal": "equal numbers of parameters", "published": "published sizes"}
    for axis, (setting, title) in zip(axes, titles.items(), strict=True):
        for (model, _), row in numbers("peers", setting).items():
            ours = model == "gnn"
            point = row["MD step, 20 atoms"], row["energy, MAE"]
            axis.loglog(*point, "o" if ours else "x", color=BLUE if ours else GREY, markersize=6)
            name = readable_name(model).replace("equivariant transformer", "ET")
            shift = SHIFTS.get((setting, model), (5, 0))
            axis.annotate(name, point, shift, textcoords="offset points", va="center", fontsize=9)
        axis.set_title(title)
        axis.margins(x=0.25)
        axis.set_xlabel("MD step of 20 atoms (ms)")
        for side in (axis.xaxis, axis.yaxis):
            side.set_major_locator(LogLocator(subs=(1, 2, 5)))
            side.set_major_formatter(FormatStrFormatter("%g"))
            side.set_minor_formatter(NullFormatter())
    axes[0].set_ylabel("energy MAE (meV)")
    return drawn


def memory(contenders: list[tuple[str, str]], options: argparse.Namespace) -> None:
    """Record the memory that an evaluation with forces, or a training step, adds to the process."""
    for one in progress_bar(contenders, unit="models"):
        for train, what in ((False, "energy and forces"), (True, "training step")):
            for size in SIZES:
                process = Process(*one, options.threads)
                process.ask("big", atoms=SIZES[0], train=train)
                added = process.ask("big", atoms=size, train=train).get("added_mb", np.nan)
                atoms = len(chain(size)[0])
                row = {"quantity": f"{what}, {atoms:,} atoms", "value": added, "unit": "MB"}
                about = {"data": f"alkane chain of {atoms:,} atoms", "split": "", "seed": ""}
                process.record("memory_", [row], options, **about)
                process.end()


TASKS = {
    "throughput": throughput,
    "accuracy": accuracy,
    "dynamics": dynamics,
    "memory": memory,
}
SHIFTS = {  # of names that would overlap, in points
    ("equal", "ViSNet"): (5, 5), ("equal", "TensorNet"): (5, -4), ("equal", "MACE"): (5, 4),
    ("published", "PaiNN"): (5, -7), ("published", "NequIP"): (5, 3),
    ("published", "ViSNet"): (-40, 0), ("published", "equivariant transformer"): (5, -3),
}  # fmt: skip
FIGURE = HERE.parents[1] / "docs/figures/peers.svg"


def main() -> None:
    """Run one task."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", choices=[*TASKS, "figure"])
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=PEERS)
    parser.add_argument("--settings", nargs="*", default=["published", "equal"])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--energy", action="store_true")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--at-once", type=int, default=1)
    options = parser.parse_args()
    if options.task == "figure":
        save_light_and_dark(figure, FIGURE)
        return
    contenders = [("gnn", "default")]
    if options.energy:
        contenders.append(("gnn", FORCES_FIRST))
    contenders += [(peer, setting) for setting in options.settings for peer in options.peers]
    prepare()  # before models start at the same time
    TASKS[options.task](contenders, options)


if __name__ == "__main__":
    main()
