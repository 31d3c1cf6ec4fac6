"""Copies of the project and calls of Snakemake, shared by the tests of the workflow."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
SMOKE = "workflow/presets/smoke.yaml"
FILES = (
    "Snakefile", "config.yaml", "workflow", "envs", "profiles", "tests/data", "resources",
)  # fmt: skip


def copy_to(folder: Path) -> Path:
    """Copy the files of a clone that the workflow needs."""
    for name in FILES:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, target)
    return folder


def command(
    folder: Path, *arguments: str, change: dict | None = None, preset: str = SMOKE
) -> list[str]:
    """Return the command line of Snakemake with a preset and a change of the configuration."""
    (folder / "change.yaml").write_text(yaml.safe_dump(change or {}))
    return [sys.executable, "-m", "snakemake", *arguments, "--configfile", preset, "change.yaml"]


def snakemake(
    folder: Path,
    *arguments: str,
    change: dict | None = None,
    check: bool = True,
    preset: str = SMOKE,
) -> str:
    """Run Snakemake in the folder and return its output."""
    done = subprocess.run(
        command(folder, *arguments, change=change, preset=preset),
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    assert not check or done.returncode == 0, done.stdout
    return done.stdout


def entries(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Return Slurm's records in order: number of the job, and the fields of one of its ends."""
    fields = [dict(re.findall(r"(\w+)=(\S*)", line)) for line in path.read_text().splitlines()]
    return [(int(entry["JobId"]), entry) for entry in fields]


def submitted(printed: str) -> dict[int, str]:
    """Return the rule, or the group, of each Slurm job that Snakemake reports."""
    found = re.findall(r"SLURM jobid (\d+) \(log: \S*/(?:rule|group)_(\w+?)/", printed)
    return {int(number): name for number, name in found}
