"""The workflow with other settings, in a folder of its own."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from nnpipe.runtime.files import write_csv

ROOT = Path(__file__).parents[1]
OUT = ROOT / "results/benchmarks"


def run(name: str, change: dict[str, Any], targets: Sequence[str], cores: int) -> Path:
    """Make `targets` with `change` on top of config.yaml; the folder in which `results` lies.

    What an earlier run left there and the change does not touch is kept.
    """
    folder = OUT / name
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "change.yaml"
    file.write_text(yaml.safe_dump(change))
    command = [
        sys.executable, "-m", "snakemake", *targets, "--cores", str(cores),
        "--snakefile", ROOT / "Snakefile", "--directory", folder,
        "--configfile", ROOT / "config.yaml", file,
    ]  # fmt: skip
    subprocess.run(command, check=True)
    return folder


def add(rows: pd.DataFrame, path: Path, keys: Sequence[str]) -> pd.DataFrame:
    """The table at `path`, with `rows` in place of those of the same `keys`, and in their order."""
    if path.is_file():
        rows = pd.concat([pd.read_csv(path), rows]).drop_duplicates(keys, keep="last")
    rows = rows.sort_values(list(keys), ignore_index=True)
    write_csv(rows, path)
    return rows
