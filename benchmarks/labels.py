"""Cost of merging labels and of opening them for training, against their number.

    python benchmarks/labels.py 1 8 32          # numbers of chunks; the workflow's, repeated

The workflow must have run. Each measurement runs in a separate process with one thread. Values are
recorded in benchmarks/results/scale.csv, table `labels`. Memory-mapped pages, which the system may
reclaim, do not count as own memory.
"""

import argparse
import multiprocessing
import time
from pathlib import Path

import torch
import yaml
from records import record

from nnpipe.config import hyperparameters_of, training_of
from nnpipe.data.molecules import read_molecules
from nnpipe.graphs.dataset import load_labels
from nnpipe.labelling.correction import read_correction
from nnpipe.labelling.table import write_labels
from nnpipe.runtime.device import peak_memory_mb, use_threads
from nnpipe.training.batching import shuffled_batches
from nnpipe.training.settings import Settings

ROOT = Path(__file__).parents[1]
DATA, OUT = ROOT / "results/data", ROOT / "results/benchmarks"
NETWORK = ROOT / "resources/teacher/model.safetensors"
BATCHES = 200
UNITS = {
    "disk": "MB",
    "time of rule labels": "s",
    "peak memory of rule labels": "MiB",
    "time to open for training": "s",
    "own memory of the training": "MiB",
    "time per batch": "ms",
}


def merged(number: int) -> Path:
    """Return the path of the labels of `number` chunks."""
    return OUT / f"labels_{number}.safetensors"


def own_memory_mb() -> float:
    """Return the anonymous memory (MiB) of this process; Linux only."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 2**10


def merge(number: int) -> dict[str, float]:
    """Merge `number` chunks and return what it took."""
    use_threads(1)
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    molecules, header = read_molecules(DATA / "qm9.safetensors")
    chunks = sorted((DATA / "labels").glob("*.safetensors"))
    some = [chunks[place % len(chunks)] for place in range(number)]
    correction, about = read_correction(DATA / "correction.json"), {"molecules": header["digest"]}
    began, path = time.perf_counter(), merged(number)
    cutoff, delta = config["data"]["cutoff"], NETWORK
    geometries = write_labels(some, molecules, correction, cutoff, path, about, delta=delta)
    return {
        "geometries": geometries,
        "time of rule labels": time.perf_counter() - began,
        "peak memory of rule labels": peak_memory_mb(torch.device("cpu")),
        "disk": path.stat().st_size / 1e6,
    }


def open_labels(number: int) -> dict[str, float]:
    """Open the merged labels, collate batches and return what it took."""
    use_threads(1)
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    settings = Settings(**training_of(config, "gnn"))
    molecules, header = read_molecules(DATA / "qm9.safetensors")
    before, began = own_memory_mb(), time.perf_counter()
    cutoff = hyperparameters_of(config, "gnn")["cutoff"]
    data = load_labels(merged(number), molecules.index, cutoff, header["digest"])
    batches = shuffled_batches(data, settings, 0)
    done = time.perf_counter()
    for rows in batches[:BATCHES]:
        data.batch(rows)
    batch_ms = 1000 * (time.perf_counter() - done) / len(batches[:BATCHES])
    own = own_memory_mb() - before
    merged(number).unlink()
    return {
        "time to open for training": done - began,
        "own memory of the training": own,
        "time per batch": batch_ms,
    }


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chunks", type=int, nargs="+")
    numbers = parser.parse_args().chunks
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        parts = [pool.map(part, numbers, chunksize=1) for part in (merge, open_labels)]
    for costs in zip(*parts, strict=True):
        found = costs[0] | costs[1]
        rows = [
            {"quantity": name, "value": found[name], "unit": unit} for name, unit in UNITS.items()
        ]
        about = {"data": "labels of the workflow, repeated", "split": 0, "seed": 0}
        record("scale", "labels", rows, case=f"{found['geometries']:,}", **about)


if __name__ == "__main__":
    main()
