"""What happens to the workflow on a cluster when something goes wrong, tried one by one.

    python benchmarks/faults.py         # or some of them: cancelled memory time node killed ...

Starts a Slurm of one node (tests/slurm.py: root and Slurm's daemons are needed) and the smoke
preset on it, hurts the running training, and compares the weights in the end with those of an
undisturbed run. The table goes to results/benchmarks/faults.csv.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd
import yaml

from nnpipe.runtime.files import sha256, write_csv

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from helpers import ROOT, copy_to, entries, submitted
from slurm import missing, slurm

MODEL = "results/models/gnn"
WEIGHTS = f"{MODEL}/model.safetensors"
CHANGE = {
    "models": {"gnn": {"training": {"stages": [{"epochs": 60}], "checkpoint_seconds": 0.5}}},
    "resources": {"threads": 1},
}


class Cluster:
    """A copy of the project on a Slurm of its own."""

    def __init__(self, folder: Path, environment: dict[str, str], records: Path) -> None:
        self.folder, self.environment, self.records = folder, environment, records
        (folder / "change.yaml").write_text(yaml.safe_dump(CHANGE))

    def snakemake(self, *options: str) -> subprocess.Popen[str]:
        """The workflow up to the weights."""
        command = [
            sys.executable, "-m", "snakemake", WEIGHTS, "--workflow-profile", "slurm",
            "--slurm-init-seconds-before-status-checks", "2", "--latency-wait", "10", *options,
            "--configfile", "workflow/presets/smoke.yaml", "change.yaml",
        ]  # fmt: skip
        return subprocess.Popen(
            command, cwd=self.folder, env=self.environment, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip

    def call(self, *command: str) -> str:
        """What one of Slurm's commands prints."""
        return subprocess.check_output(command, env=self.environment, text=True)

    def training(self, running: subprocess.Popen[str]) -> str:
        """Number of the job of the training, once its first checkpoint is there."""
        checkpoint = self.folder / MODEL / "checkpoint.safetensors"
        while not checkpoint.is_file():
            if running.poll() is not None:
                raise RuntimeError(f"ended too early:\n{running.communicate()[0]}")
            time.sleep(0.1)
        return self.call("squeue", "-h", "-t", "R", "-o", "%i").split()[0]

    def forget(self) -> None:
        """Take the trained model away."""
        for path in (self.folder / MODEL).iterdir():
            path.unlink()


def undisturbed(cluster: Cluster) -> str:
    """From nothing to the weights."""
    return cluster.snakemake().communicate()[0]


def cancelled(cluster: Cluster) -> str:
    """The job of the training is cancelled."""
    running = cluster.snakemake()
    cluster.call("scancel", cluster.training(running))
    return running.communicate()[0]


def memory(cluster: Cluster) -> str:
    """It needs more memory than its first attempt may have."""
    return cluster.snakemake("--set-resources", "train:mem_mb=attempt * 400").communicate()[0]


def limit(cluster: Cluster) -> str:
    """It needs more time than its first attempt may have."""
    return cluster.snakemake("--set-resources", "train:runtime=attempt").communicate()[0]


def node(cluster: Cluster) -> str:
    """The node fails under it and comes back."""
    running = cluster.snakemake()
    cluster.training(running)
    name = cluster.call("sinfo", "-h", "-N", "-o", "%N").split()[0]
    cluster.call("scontrol", "update", f"NodeName={name}", "State=DOWN", "Reason=fault")
    time.sleep(10)
    # a node that is alive may have come back by itself
    if "down" in cluster.call("sinfo", "-h", "-N", "-o", "%T"):
        cluster.call("scontrol", "update", f"NodeName={name}", "State=RESUME")
    return running.communicate()[0]


def stopped(cluster: Cluster, how: signal.Signals) -> str:
    """Snakemake is stopped and started again."""
    running = cluster.snakemake()
    cluster.training(running)
    os.killpg(running.pid, how)
    printed = running.communicate()[0]
    return printed + cluster.snakemake().communicate()[0]


def twice(cluster: Cluster) -> str:
    """A second snakemake is started beside it."""
    running = cluster.snakemake()
    cluster.training(running)
    second, _ = cluster.snakemake().communicate()
    refusal = next((line for line in second.splitlines() if "nnpipe.lock" in line), "not refused")
    return running.communicate()[0] + f"\nsecond snakemake: {refusal}"


FAULTS: dict[str, tuple[str, Callable[[Cluster], str]]] = {
    "cancelled": ("scancel", cancelled),
    "memory": ("400 MB, then 800", memory),
    "time": ("a limit of one minute, then two", limit),
    "node": ("node set to DOWN, 10 s later back", node),
    "killed": (
        "SIGKILL to snakemake, the same command again",
        partial(stopped, how=signal.SIGKILL),
    ),
    "interrupted": ("Ctrl-C, the same command again", partial(stopped, how=signal.SIGINT)),
    "twice": ("a second snakemake in the folder", twice),
}


def main() -> None:
    """Try the faults and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("faults", nargs="*", default=list(FAULTS))
    chosen = parser.parse_args().faults
    if missing():
        sys.exit(missing())
    # what a shell starts in the background ignores Ctrl-C, and so would snakemake
    signal.signal(signal.SIGINT, signal.default_int_handler)
    rows = []
    with tempfile.TemporaryDirectory() as place, slurm() as (environment, records):
        cluster = Cluster(copy_to(Path(place)), environment, records)
        print(undisturbed(cluster))
        whole = sha256(cluster.folder / WEIGHTS)
        for name in chosen:
            cluster.forget()
            what, fault = FAULTS[name]
            printed = fault(cluster)
            print(printed, flush=True)
            jobs, ended = submitted(printed), entries(records)
            log = (cluster.folder / "results/logs/train/gnn.log").read_text()
            weights = cluster.folder / WEIGHTS
            unfinished = [p.name for p in (cluster.folder / MODEL).iterdir() if ".part" in p.name]
            rows.append(
                {
                    "fault": what,
                    # one that Slurm itself sent again has a record of each time
                    "jobs": ", ".join(e["JobState"] for n, e in ended if jobs.get(n) == "train"),
                    "went_on_from_checkpoint": "going on from epoch" in log,
                    "partial_files": len(unfinished),
                    "same_weights": weights.is_file() and sha256(weights) == whole,
                    "said": printed.rsplit("second snakemake: ", 1)[1] if name == "twice" else "",
                }
            )
            print(pd.DataFrame(rows).to_string(index=False), flush=True)
    write_csv(pd.DataFrame(rows), ROOT / "results/benchmarks/faults.csv")


if __name__ == "__main__":
    main()
