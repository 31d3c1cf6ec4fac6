"""Time, memory and input/output of every job of a run."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

# Columns of tables and keys of JSON files that measure time and memory; equal runs differ in these
# alone.
COST_COLUMNS = [
    "seconds", "cpu_seconds", "cpu_share", "train_seconds", "ms_per_step", "peak_memory_mb",
    "read_mb", "written_mb",
]  # fmt: skip


def cost(benchmarks: Sequence[str | Path]) -> pd.DataFrame:
    """Return one row per job from the benchmark files of Snakemake: wall and processor time (s),
    memory and data read and written (MB).
    """
    rows = []
    for path in benchmarks:
        measured = pd.read_csv(path, sep="\t", na_values="-").iloc[-1]
        rows.append(
            {
                "rule": Path(path).parent.name,
                "job": Path(path).stem,
                "seconds": measured["s"],
                "cpu_seconds": measured["cpu_time"],
                "peak_memory_mb": measured["max_rss"],
                "read_mb": measured["io_in"],
                "written_mb": measured["io_out"],
            }
        )
    return pd.DataFrame(rows)
