"""What surrounds every script, and how other schedulers are asked of its job."""

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


def test_of_two_jobs_at_the_same_work_one_waits_for_the_other(tmp_path):
    """As when a Snakemake on a cluster is killed and started again, and its jobs go on."""
    log, order = tmp_path / "rule/one.log", tmp_path / "order"
    library = os.environ | {"PYTHONPATH": str(ROOT / "workflow/scripts")}
    code = [sys.executable, "-c", CODE, log, order]
    jobs = [subprocess.Popen(code, env=library) for _ in range(3)]
    jobs[2].kill()  # whoever dies keeps nobody waiting
    assert [job.wait(timeout=30) for job in jobs[:2]] == [0, 0]
    assert order.read_text().split() == ["begins", "ends"] * 2
    assert "another job is at the same work" in log.read_text()


def test_a_folder_has_one_owner_where_locks_are_to_be_had(tmp_path, monkeypatch):
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
def test_a_scheduler_without_an_answer_has_not_said_that_a_job_failed(
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
