"""Run the workflow with other settings in a separate folder."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
OUT = ROOT / "results/benchmarks"


def run_variant(name: str, change: dict[str, Any], targets: Sequence[str], cores: int) -> Path:
    """Make `targets` with `change` on top of config.yaml and return the folder with `results`.

    Output of an earlier run that the change does not affect is kept.
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
