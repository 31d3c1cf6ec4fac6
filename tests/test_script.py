"""Locks of jobs and folders, threads of a script, and answers of schedulers about a job."""

import fcntl
import os
import shutil
import subprocess
import sys

import pytest

from helpers import ROOT
from nnpipe.errors import InputError
from nnpipe.runtime.job import lock_folder

CODE = """
import sys, time
from nnpipe.runtime.job import job

with job(sys.argv[1]):
    with open(sys.argv[2], "a") as file:
        print("begins", file=file, flush=True)
        time.sleep(1)
        print("ends", file=file, flush=True)
"""


def test_jobs_with_the_same_log_run_one_after_the_other(tmp_path):
    """On a cluster, jobs outlive a killed Snakemake, and may meet the jobs of the next run."""
    log, order = tmp_path / "rule/one.log", tmp_path / "order"
    library = os.environ | {"PYTHONPATH": str(ROOT / "workflow/scripts")}
    code = [sys.executable, "-c", CODE, log, order]
    jobs = [subprocess.Popen(code, env=library) for _ in range(3)]
    jobs[2].kill()  # a killed job releases its lock
    assert [job.wait(timeout=30) for job in jobs[:2]] == [0, 0]
    assert order.read_text().split() == ["begins", "ends"] * 2
    assert "another job is at the same work" in log.read_text()


@pytest.mark.parametrize(
    ("imports", "expected"),
    [("sys", "False"), ("sys, torch, nnpipe.runtime.device", "1")],
    ids=["without torch", "with torch"],
)
def test_job_sets_the_threads_of_torch_without_importing_it(tmp_path, imports, expected):
    code = f"""
import {imports}
from nnpipe.runtime.job import job

if torch := sys.modules.get("torch"):
    torch.set_num_threads(2)
with job(sys.argv[1], threads=1):
    torch = sys.modules.get("torch")
    print(torch is not None and torch.get_num_threads())
"""
    library = os.environ | {"PYTHONPATH": str(ROOT / "workflow/scripts")}
    command = [sys.executable, "-c", code, tmp_path / "log"]
    done = subprocess.run(command, env=library, capture_output=True, text=True)
    assert done.stdout.strip() == expected, done.stderr


def test_folder_has_one_owner_if_the_file_system_has_locks(tmp_path, monkeypatch):
    lock_folder(tmp_path / "x/lock")
    with pytest.raises(InputError, match="another snakemake is at work in this folder"):
        lock_folder(tmp_path / "x/lock")

    def none(file, how):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", none)
    lock_folder(tmp_path / "x/lock")


@pytest.mark.parametrize(
    ("command", "said", "code", "expected"),
    [
        ("scontrol", "JobId=1 JobState=COMPLETED Reason=None", 0, "success"),
        ("scontrol", "JobId=1 JobState=OUT_OF_MEMORY Reason=None", 0, "failed"),
        ("scontrol", "slurm_load_jobs error: Invalid job id specified", 1, "failed"),
        ("scontrol", "slurm_load_jobs error: Unable to contact slurm controller", 1, "running"),
        ("bjobs", "RUN", 0, "running"),
        ("bjobs", "Job <1> is not found", 255, "failed"),
        ("bjobs", "LSF is down. Please wait ...", 255, "running"),
        ("qstat", "    job_state = F\n    Exit_status = 0", 0, "success"),
        ("qstat", "    job_state = F\n    Exit_status = 271", 0, "failed"),
        ("qstat", "qstat: cannot connect to server", 1, "running"),
    ],
)
def test_scheduler_without_an_answer_does_not_mean_a_failed_job(
    tmp_path, command, said, code, expected
):
    submit = {"scontrol": "sbatch", "bjobs": "bsub", "qstat": "pbsnodes"}[command]
    for tool in ("sed", "cat"):
        (tmp_path / tool).symlink_to(shutil.which(tool))
    for name in (submit, command):
        (tmp_path / name).write_text(f"#!/bin/sh\ncat << END\n{said}\nEND\nexit {code}\n")
        (tmp_path / name).chmod(0o755)
    ask = ["/bin/sh", ROOT / "profiles/generic/scheduler.sh", "status", "1"]
    found = subprocess.run(ask, env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    assert found.stdout.strip() == expected
