"""Faults of a cluster during a training, one by one, and how the workflow recovers.

    python benchmarks/faults.py         # or some of them: cancelled memory time node killed ...

Starts a Slurm of one node (tests/slurm.py; needs root and the daemons of Slurm) and runs the smoke
preset on it, disturbs the running training, and compares the final weights with the weights of an
undisturbed run. Records go to benchmarks/results/faults.csv.
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

import yaml
from records import record

from nnpipe.runtime.files import sha256

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from helpers import copy_to, entries, submitted
from slurm import missing, slurm

MODEL = "results/models/gnn"
WEIGHTS = f"{MODEL}/model.safetensors"
CHANGE = {
    "models": {"gnn": {"training": {"stages": [{"epochs": 60}], "checkpoint_seconds": 0.5}}},
    "resources": {"threads": 1},
}


class Cluster:
    """A copy of the project on a temporary Slurm cluster."""

    def __init__(self, folder: Path, environment: dict[str, str], records: Path) -> None:
        self.folder, self.environment, self.records = folder, environment, records
        (folder / "change.yaml").write_text(yaml.safe_dump(CHANGE))

    def snakemake(self, *options: str) -> subprocess.Popen[str]:
        """Start the workflow up to the weights."""
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
        """Return the output of a command of Slurm."""
        return subprocess.check_output(command, env=self.environment, text=True)

    def training(self, running: subprocess.Popen[str]) -> str:
        """Wait for the first checkpoint and return the job number of the training."""
        checkpoint = self.folder / MODEL / "checkpoint.safetensors"
        while not checkpoint.is_file():
            if running.poll() is not None:
                raise RuntimeError(f"ended too early:\n{running.communicate()[0]}")
            time.sleep(0.1)
        return self.call("squeue", "-h", "-t", "R", "-o", "%i").split()[0]

    def forget(self) -> None:
        """Delete the trained model."""
        for path in (self.folder / MODEL).iterdir():
            path.unlink()


def undisturbed(cluster: Cluster) -> str:
    """Train without a fault."""
    return cluster.snakemake().communicate()[0]


def cancelled(cluster: Cluster) -> str:
    """Cancel the job of the training."""
    running = cluster.snakemake()
    cluster.call("scancel", cluster.training(running))
    return running.communicate()[0]


def memory(cluster: Cluster) -> str:
    """Give the first attempt too little memory."""
    return cluster.snakemake("--set-resources", "train:mem_mb=attempt * 400").communicate()[0]


def limit(cluster: Cluster) -> str:
    """Give the first attempt too little time."""
    return cluster.snakemake("--set-resources", "train:runtime=attempt").communicate()[0]


def node(cluster: Cluster) -> str:
    """Take the node down and bring it back."""
    running = cluster.snakemake()
    cluster.training(running)
    name = cluster.call("sinfo", "-h", "-N", "-o", "%N").split()[0]
    cluster.call("scontrol", "update", f"NodeName={name}", "State=DOWN", "Reason=fault")
    time.sleep(10)
    # a live node may have come back without help
    if "down" in cluster.call("sinfo", "-h", "-N", "-o", "%T"):
        cluster.call("scontrol", "update", f"NodeName={name}", "State=RESUME")
    return running.communicate()[0]


def stopped(cluster: Cluster, how: signal.Signals) -> str:
    """Stop Snakemake with a signal and start it again."""
    running = cluster.snakemake()
    cluster.training(running)
    os.killpg(running.pid, how)
    printed = running.communicate()[0]
    return printed + cluster.snakemake().communicate()[0]


def twice(cluster: Cluster) -> str:
    """Start a second Snakemake in the same folder."""
    running = cluster.snakemake()
    cluster.training(running)
    second, _ = cluster.snakemake().communicate()
    refusal = next((line for line in second.splitlines() if "nnpipe.lock" in line), "not refused")
    return running.communicate()[0] + f"\nsecond snakemake: {refusal}"


FAULTS: dict[str, tuple[str, Callable[[Cluster], str]]] = {
    "cancelled": ("`scancel` of the job", cancelled),
    "memory": ("400 MB of memory, then 800 MB", memory),
    "time": ("time limit of one minute, then two", limit),
    "node": ("node set to DOWN, back after 10 s", node),
    "killed": (
        "`SIGKILL` to Snakemake, same command again",
        partial(stopped, how=signal.SIGKILL),
    ),
    "interrupted": ("Ctrl-C, same command again", partial(stopped, how=signal.SIGINT)),
    "twice": ("second Snakemake in the same folder", twice),
}


def main() -> None:
    """Provoke the faults and record the outcomes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("faults", nargs="*", default=list(FAULTS))
    chosen = parser.parse_args().faults
    if missing():
        sys.exit(missing())
    # a process that a shell starts in the background ignores Ctrl-C, and so would Snakemake
    signal.signal(signal.SIGINT, signal.default_int_handler)
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
            ended_as = ", ".join(e["JobState"] for n, e in ended if jobs.get(n) == "train")
            if name == "twice":
                ended_as += f"; the second: {printed.rsplit('second snakemake: ', 1)[1]}"
            outcome = {
                "job states in Slurm's records": ended_as,
                "resumed from the checkpoint": "yes" if "going on from epoch" in log else "no",
                "half-written files": len(unfinished),
                "weights of an undisturbed run": (
                    "yes" if weights.is_file() and sha256(weights) == whole else "no"
                ),
            }
            rows = [{"quantity": quantity, "value": value} for quantity, value in outcome.items()]
            about = {"model": "gnn", "data": "smoke preset, 60 epochs", "split": 0, "seed": 0}
            record("faults", "faults", rows, case=what, **about)
            print(outcome, flush=True)


if __name__ == "__main__":
    main()
