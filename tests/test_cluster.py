"""The workflow on a private Slurm: resources of each job, and jobs that are killed."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from helpers import copy_to, entries, submitted
from nnpipe.runtime.files import sha256
from slurm import missing, slurm

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())
WEIGHTS = "results/models/gnn/model.safetensors"
SLURM = ("--workflow-profile", "slurm", "--slurm-init-seconds-before-status-checks", "2")
# enough epochs to be killed in the middle; a learning rate at which rounding errors stay small
CHANGE = {
    "training": {"learning_rate": 1e-3},
    "models": {"gnn": {"training": {"stages": [{"epochs": 12}], "checkpoint_seconds": 0.2}}},
    "resources": {"threads": 1},
}


def start(
    folder: Path, environment: dict[str, str], target: str, *profile: str, **resources: int
) -> subprocess.Popen[str]:
    """Start Snakemake with a profile and the smoke preset."""
    change = CHANGE | {"resources": CHANGE["resources"] | resources}
    (folder / "change.yaml").write_text(yaml.safe_dump(change))
    return subprocess.Popen(
        [
            sys.executable, "-m", "snakemake", target, *(profile or SLURM), "--latency-wait", "10",
            "--configfile", "workflow/presets/smoke.yaml", "change.yaml",
        ],
        cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def read_records(path: Path) -> dict[int, dict[str, str]]:
    """Return the last record of each job by the number of the job."""
    return dict(entries(path))


@pytest.mark.long
def test_jobs_of_slurm_killed_ones_and_those_of_two_nodes(tmp_path_factory):
    folder = copy_to(tmp_path_factory.mktemp("cluster"))
    metrics = folder / "results/models/gnn/metrics.jsonl"
    with slurm(nodes=2) as (environment, records):
        printed, _ = start(folder, environment, WEIGHTS).communicate(timeout=400)
        jobs, kept = submitted(printed), read_records(records)
        assert {"convert_molecules", "find_neighbours", "merge_labels", "train"} <= set(
            jobs.values()
        ), printed
        assert (folder / WEIGHTS).is_file(), printed
        for number, rule in jobs.items():
            assert kept[number]["JobState"] == "COMPLETED", printed
            on_gpu = rule == "train"
            assert kept[number]["Partition"] == ("gpu" if on_gpu else "cpu")
            shown = ["scontrol", "show", "job", "-o", str(number)]
            entry = subprocess.check_output(shown, env=environment, text=True)
            assert ("TresPerJob=gres:gpu:1" in entry) == on_gpu, entry
        (training,) = [number for number, rule in jobs.items() if rule == "train"]
        assert "cpu=1,mem=4000M" in kept[training]["Tres"]
        assert kept[training]["TimeLimit"] == "720"

        whole = sha256(folder / WEIGHTS)
        alone = [json.loads(line)["train_loss"] for line in metrics.open()]
        for path in (folder / "results/models/gnn").iterdir():
            path.unlink()
        running = start(folder, environment, WEIGHTS)
        checkpoint = folder / "results/models/gnn/checkpoint.safetensors"
        while not checkpoint.is_file() and running.poll() is None:
            time.sleep(0.1)
        queued = ["squeue", "-h", "-o", "%i"]
        (killed,) = subprocess.check_output(queued, env=environment, text=True).split()
        subprocess.run(["scancel", killed], env=environment, check=True)
        printed, _ = running.communicate(timeout=400)
        kept = read_records(records)
        (first, second) = submitted(printed)
        assert kept[first]["JobState"] == "CANCELLED"
        assert kept[second]["JobState"] == "COMPLETED"
        assert "mem=8000M" in kept[second]["Tres"]
        assert kept[second]["TimeLimit"] == "1440"
        (said,) = (folder / ".snakemake/slurm_logs").glob("*/*/*.log")  # of failed jobs
        assert "training was asked to stop" in said.read_text()
        assert "going on from epoch" in (folder / "results/logs/train/gnn.log").read_text()
        assert sha256(folder / WEIGHTS) == whole

        for path in (folder / "results/models/gnn").iterdir():
            path.unlink()
        running = start(folder, environment, WEIGHTS, *SLURM, gpus=2, nodes=2)
        printed, _ = running.communicate(timeout=400)
        ((number, _),) = submitted(printed).items()
        shown = ["scontrol", "show", "job", "-o", str(number)]
        entry = subprocess.check_output(shown, env=environment, text=True)
        assert read_records(records)[number]["NodeCnt"] == "2", printed
        assert "TresPerJob=gres:gpu:2 TresPerNode=gres:gpu:1" in entry
        shared = [json.loads(line)["train_loss"] for line in metrics.open()]
        # sums in another order: the difference starts at rounding error and grows with every epoch
        np.testing.assert_allclose(shared[0], alone[0], rtol=1e-4)
        np.testing.assert_allclose(shared[1], alone[1], rtol=2e-3)
        np.testing.assert_allclose(shared[-1], alone[-1], rtol=3e-2)
        assert shared != alone


def test_other_schedulers_run_the_same_jobs(tmp_path_factory):
    """One script wraps the commands of a scheduler; here the commands of Slurm."""
    folder = copy_to(tmp_path_factory.mktemp("cluster"))
    target = "results/data/neighbours.safetensors"
    with slurm() as (environment, records):
        running = start(folder, environment, target, "--workflow-profile", "generic")
        printed, _ = running.communicate(timeout=200)
        assert (folder / target).is_file(), printed
        ran = {entry["Name"]: entry for entry in read_records(records).values()}
    assert set(ran) == {"convert_molecules", "find_neighbours"}
    assert {entry["JobState"] for entry in ran.values()} == {"COMPLETED"}
    assert "mem=2000M" in ran["find_neighbours"]["Tres"]
    assert ran["find_neighbours"]["TimeLimit"] == "30"
