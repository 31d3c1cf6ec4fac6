"""Copies of the project and calls of Snakemake, shared by the tests of the workflow."""

import json
import re
import shutil
import subprocess
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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


def options(
    folder: Path, *arguments: str, change: dict | None = None, preset: str | Path = SMOKE
) -> list[str]:
    """Return options of Snakemake: `arguments`, a preset and a change of the configuration."""
    text = yaml.safe_dump(change or {})
    file = folder / f"change-{zlib.crc32(text.encode())}.yaml"
    file.write_text(text)
    return [*arguments, "--configfile", str(preset), str(file)]


def command(folder: Path, *arguments: str, **settings: Any) -> list[str]:
    """Return the command line of Snakemake with such options."""
    return [sys.executable, "-m", "snakemake", *options(folder, *arguments, **settings)]


def snakemake(
    folder: Path,
    *arguments: str,
    change: dict | None = None,
    check: bool = True,
    preset: str | Path = SMOKE,
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


# Snakemake and the library are imported once and forked for each call, which takes a third of the
# time of a new process
CALLS = """
import json, os, sys
from pathlib import Path

sys.path.insert(0, "workflow/scripts")
import snakemake.cli, snakemake.scheduling.job_scheduler
import nnpipe.config
from nnpipe.runtime.digest import digest
from nnpipe.structures.load import atomic_numbers

snakemake.cli.get_argument_parser()  # imports the plugins
atomic_numbers("C")  # imports RDKit
for script in Path("workflow/scripts").glob("*.py"):
    digest(script)  # parses the library
for options, file in json.load(sys.stdin):
    text = Path(file).read_text() if file else ""
    if file:
        Path(file).write_text(text + "\\nCHANGED = True\\n")
    read, write = os.pipe()
    if os.fork() == 0:
        os.dup2(write, 1)
        os.dup2(write, 2)
        os.close(read)
        sys.argv = ["snakemake", *options]
        snakemake.cli.main()
    os.close(write)
    with os.fdopen(read) as pipe:
        print(json.dumps(pipe.read()), flush=True)
    os.wait()
    if file:
        Path(file).write_text(text)
"""


def snakemake_calls(folder: Path, calls: Sequence[tuple[list[str], str]]) -> list[str]:
    """Return the output of Snakemake for each call: its options, and a Python file of the folder
    (or "") that is changed during the call."""
    done = subprocess.run(
        [sys.executable, "-c", CALLS],
        cwd=folder,
        text=True,
        input=json.dumps(calls),
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    printed = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(printed) == len(calls)
    return printed


def entries(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Return Slurm's records in order: number of the job, and the fields of one of its ends."""
    fields = [dict(re.findall(r"(\w+)=(\S*)", line)) for line in path.read_text().splitlines()]
    return [(int(entry["JobId"]), entry) for entry in fields]


def submitted(printed: str) -> dict[int, str]:
    """Return the rule, or the group, of each Slurm job that Snakemake reports."""
    found = re.findall(r"SLURM jobid (\d+) \(log: \S*/(?:rule|group)_(\w+?)/", printed)
    return {int(number): name for number, name in found}
