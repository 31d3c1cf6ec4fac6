"""How putting labels together and training on them grow with their number.

    python benchmarks/labels.py 1 8 32          # chunks: those of the workflow, over and over

The workflow must have run. Everything is measured in a process of its own, one thread. The table
goes to results/benchmarks/labels.csv: seconds and peak memory of putting the chunks together, then
seconds of opening the result for a training, the memory that it takes of its own, and milliseconds
a batch. What is mapped from disk, which the system may take back, is no memory of its own.
"""

import argparse
import multiprocessing
import time
from pathlib import Path

import pandas as pd
import torch
import yaml

from nnpipe.config import hyperparameters_of, training_of
from nnpipe.data.molecules import read_molecules
from nnpipe.graphs.dataset import load_labels
from nnpipe.labelling.correction import read_correction
from nnpipe.labelling.table import write_labels
from nnpipe.runtime.device import peak_memory_mb, use_threads
from nnpipe.runtime.files import write_csv
from nnpipe.training.batching import shuffled_batches
from nnpipe.training.settings import Settings

ROOT = Path(__file__).parents[1]
DATA, OUT = ROOT / "results/data", ROOT / "results/benchmarks"
BATCHES = 200


def made(number: int) -> Path:
    """Where that many chunks are put together."""
    return OUT / f"labels_{number}.safetensors"


def own_memory_mb() -> float:
    """MiB of this process that no file holds; Linux only."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 2**10


def together(number: int) -> dict[str, float]:
    """Put that many chunks together."""
    use_threads(1)
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    molecules, header = read_molecules(DATA / "qm9.safetensors")
    chunks = sorted((DATA / "labels").glob("*.safetensors"))
    some = [chunks[place % len(chunks)] for place in range(number)]
    correction, about = read_correction(DATA / "correction.json"), {"molecules": header["digest"]}
    began, path = time.perf_counter(), made(number)
    geometries = write_labels(some, molecules, correction, config["data"]["cutoff"], path, about)
    return {
        "chunks": number,
        "geometries": geometries,
        "together_s": time.perf_counter() - began,
        "together_peak_mb": peak_memory_mb(torch.device("cpu")),
        "disk_mb": path.stat().st_size / 1e6,
    }


def opened(number: int) -> dict[str, float]:
    """Open what was put together, and cut batches from it."""
    use_threads(1)
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    settings = Settings(**training_of(config, "gnn"))
    molecules, header = read_molecules(DATA / "qm9.safetensors")
    before, began = own_memory_mb(), time.perf_counter()
    cutoff = hyperparameters_of(config, "gnn")["cutoff"]
    data = load_labels(made(number), molecules.index, cutoff, header["digest"])
    batches = shuffled_batches(data, settings, 0)
    done = time.perf_counter()
    for rows in batches[:BATCHES]:
        data.batch(rows)
    batch_ms = 1000 * (time.perf_counter() - done) / len(batches[:BATCHES])
    own = own_memory_mb() - before
    made(number).unlink()
    return {"open_s": done - began, "own_memory_mb": own, "ms_per_batch": batch_ms}


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chunks", type=int, nargs="+")
    numbers = parser.parse_args().chunks
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        parts = [pd.DataFrame(pool.map(part, numbers, chunksize=1)) for part in (together, opened)]
    table = pd.concat(parts, axis=1)
    write_csv(table, OUT / "labels.csv")
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
