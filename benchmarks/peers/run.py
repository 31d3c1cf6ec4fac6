"""AtomGNN beside its peers, each from its own package in its own environment, one table a command.

    python benchmarks/peers/run.py throughput          # molecules/s in training, alternating
    python benchmarks/peers/run.py accuracy            # errors after 10 minutes of training each
    python benchmarks/peers/run.py accuracy --energy   # of U0; gnn also as the workflow's gnn_u0
    python benchmarks/peers/run.py dynamics            # ms a step of 20 and of 300 atoms
    python benchmarks/peers/run.py memory              # of one molecule of 10 to 1,000 atoms

The workflow must have run. Environments are made as they are needed, in results/benchmarks/peers.
`--settings equal` takes every peer at AtomGNN's number of parameters instead of its published
setting, `--peers mace painn` these alone, `--minutes 1` a shorter training, `--at-once 2` trains
two side by side, each on half of the threads. Every contender trains on the same molecules, labels
and loss, whose weights change late in the training for all; peers by Adam at their published rate
and batch, of 32 molecules at most, as ten minutes are short. What cannot be installed or does not
run is said in the table.
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
import pandas as pd
import torch
import yaml
from matplotlib.figure import Figure
from models import PEERS
from ours import FORCES_FIRST
from worker import TEST

from nnpipe.analysis.plots import logarithmic, panels, save
from nnpipe.config import training_of
from nnpipe.data.molecules import read_molecules, row_ends
from nnpipe.data.splits import read_split
from nnpipe.graphs.dataset import Dataset, load_dataset, load_labels
from nnpipe.labelling.chunks import write_chunk
from nnpipe.labelling.correction import read_correction
from nnpipe.labelling.methods import method
from nnpipe.labelling.settings import Settings
from nnpipe.labelling.table import write_labels
from nnpipe.runtime.files import atomic, sha256, write_csv
from nnpipe.runtime.progress import progress_bar
from nnpipe.training.atomic_references import atomic_references

HERE = Path(__file__).parent
DATA = HERE.parents[1] / "results/data"
OUT = HERE.parents[1] / "results/benchmarks/peers"
OFF = 300  # test molecules that are distorted
ROUNDS, SECONDS = 5, 5.0
SIZES = (10, 30, 100, 300, 1000)
CHAINS = (20, 302)  # atoms of alkanes


@cache
def prepare() -> Path:
    """All that a contender sees, as plain arrays in one archive, anew if its source changed."""
    path = OUT / "data.npz"
    config = yaml.safe_load((HERE.parents[1] / "config.yaml").read_text())
    files = ("correction.json", "labels.safetensors", "qm9.safetensors", "split.csv")
    digests = {name: sha256(DATA / name) for name in files}
    source = json.dumps({"training": training_of(config, "gnn"), **digests})
    if path.is_file() and str(np.load(path).get("source")) == source:
        return path
    OUT.mkdir(parents=True, exist_ok=True)
    os.environ["OMP_NUM_THREADS"] = "1"  # GFN2-xTB is far slower on more
    molecules, header = read_molecules(DATA / "qm9.safetensors")
    split = read_split(DATA / "split.csv", molecules.index)
    about = {"molecules": header["digest"], "method": "xtb"}
    chunk, off = OUT / "off_chunk.safetensors", OUT / "off.safetensors"
    write_chunk(molecules, split["test"][:OFF], method("xtb"), Settings(seed=1), chunk, about)
    correction = read_correction(DATA / "correction.json")
    write_labels([chunk], molecules, correction, 5.0, off, about)
    tables = DATA / "qm9.safetensors", DATA / "neighbours.safetensors"
    train, test = split["train"], split["test"][:TEST]

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
    """The Python of a contender's environment, which is made if it is not there."""
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
    """A contender in its own process. `failed` says what went wrong, from then on."""

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
            if line.startswith("{"):  # packages print, too
                return json.loads(line)
        last = (OUT / f"{self.name}_{self.setting}.log").read_text().strip().splitlines()[-1:]
        code = self.process.wait()
        said = " ".join(last) or f"ended with {code}"
        self.failed = "killed, for memory most likely" if code == -signal.SIGKILL else said
        return {}

    def ask(self, task: str, **arguments: Any) -> dict[str, Any]:
        """What the contender answers; nothing once it has failed."""
        if self.failed:
            return {}
        assert self.process.stdin
        with suppress(BrokenPipeError):  # killed, for memory most likely; reading says so
            self.process.stdin.write(json.dumps({"task": task, **arguments}) + "\n")
            self.process.stdin.flush()
        return self._read()

    def end(self) -> None:
        """Close it."""
        if hasattr(self, "process"):
            self.process.kill()
            self.process.wait()

    @property
    def row(self) -> dict[str, Any]:
        """The first columns of every table."""
        return {"model": self.name, "setting": self.setting, "parameters": self.parameters}


def throughput(contenders: list[tuple[str, str]], options: argparse.Namespace) -> pd.DataFrame:
    """Molecules/s of training steps, optimiser included."""
    kinds = {"energy": {"forces": False}, "energy_forces": {"forces": True}}
    return turns(contenders, options, "run", kinds, "per_s")


def dynamics(contenders: list[tuple[str, str]], options: argparse.Namespace) -> pd.DataFrame:
    """Milliseconds of a step through ASE."""
    kinds = {f"{atoms}_atoms": {"atoms": atoms} for atoms in CHAINS}
    return turns(contenders, options, "dynamics", kinds, "ms")


def turns(
    contenders: list[tuple[str, str]],
    options: argparse.Namespace,
    task: str,
    kinds: dict[str, dict[str, Any]],
    unit: str,
) -> pd.DataFrame:
    """Medians over rounds in which all contenders take turns; the first one does not count."""
    processes = [Process(*one, options.threads) for one in contenders]
    rates: dict[tuple[int, str], list[float]] = {}
    for turn in progress_bar(range(1 + ROUNDS), unit="rounds"):
        for number, process in enumerate(processes):
            for kind, arguments in kinds.items():
                found = process.ask(task, **arguments, seconds=SECONDS if turn else 1.0)
                if turn and found:
                    rates.setdefault((number, kind), []).append(found["result"])
    rows = []
    for number, process in enumerate(processes):
        medians = {
            f"{kind}_{unit}": np.median(rates.get((number, kind), [np.nan])) for kind in kinds
        }
        rows.append(process.row | medians | {"failed": process.failed})
        process.end()
    return pd.DataFrame(rows)


def accuracy(contenders: list[tuple[str, str]], options: argparse.Namespace) -> pd.DataFrame:
    """Errors against time, one contender after the other or as many as `at_once` side by side."""

    def one(contender: tuple[str, str]) -> list[dict[str, Any]]:
        process = Process(*contender, options.threads // options.at_once)
        task = {"forces": not options.energy, "seconds": 60 * options.minutes}
        history = process.ask("train", **task).get("result", [{}])
        process.end()
        return [process.row | entry | {"failed": process.failed} for entry in history]

    rows = []
    with ThreadPool(options.at_once) as pool:
        for found in progress_bar(
            pool.imap(one, contenders, 1), total=len(contenders), unit="trainings"
        ):
            rows += found
            write_csv(pd.DataFrame(rows), OUT / "accuracy.partial.csv")
    return pd.DataFrame(rows)


def figure(table: pd.DataFrame) -> Figure:
    """Error of energies against the time of training, a line for each contender."""
    drawn, ((axis,),) = panels(width=6, height=4)
    for (model, setting), rows in table.groupby(["model", "setting"], sort=False):
        style = {"gnn": "k-", "published": "--"}
        line = style.get(model, style.get(setting, "-"))
        errors = 1000 * rows["energy_mae"]
        axis.plot(rows["seconds"] / 60, errors, line, label=f"{model}, {setting}")
    logarithmic(axis)
    axis.set_xlabel("training, compilation included (min)")
    axis.set_ylabel("MAE of energies, test minima (meV)")
    drawn.legend(frameon=False, fontsize="small", loc="outside right")
    return drawn


def memory(contenders: list[tuple[str, str]], options: argparse.Namespace) -> pd.DataFrame:
    """Megabytes that an evaluation with forces, or a training step, adds to the process."""
    rows = []
    for one in progress_bar(contenders, unit="contenders"):
        for train in (False, True):
            for size in SIZES:
                process = Process(*one, options.threads)
                process.ask("big", atoms=SIZES[0], train=train)
                found = process.ask("big", atoms=size, train=train)
                added = found.get("added_mb", np.nan)
                row = {"atoms": size, "train": train, "added_mb": added, "failed": process.failed}
                rows.append(process.row | row)
                process.end()
    return pd.DataFrame(rows)


TABLES = {
    "throughput": throughput,
    "accuracy": accuracy,
    "dynamics": dynamics,
    "memory": memory,
}


def main() -> None:
    """Make one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=PEERS)
    parser.add_argument("--settings", nargs="*", default=["published", "equal"])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--energy", action="store_true")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--at-once", type=int, default=1)
    options = parser.parse_args()
    contenders = [("gnn", "default")]
    if options.energy:
        contenders.append(("gnn", FORCES_FIRST))
    contenders += [(peer, setting) for setting in options.settings for peer in options.peers]
    prepare()  # once: contenders may start side by side
    found = TABLES[options.table](contenders, options)
    suffix = "_u0" if options.energy else ""
    write_csv(found, OUT / f"{options.table}{suffix}.csv")
    if options.table == "accuracy":
        save(figure(found), OUT / f"accuracy{suffix}.png")
    print(found.to_string(index=False))


if __name__ == "__main__":
    main()
