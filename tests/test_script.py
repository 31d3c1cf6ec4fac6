"""What surrounds every script."""

import subprocess
import sys

CODE = """
import sys, time
from nnpipe.script import script
with script(sys.argv[1]):
    with open(sys.argv[2], "a") as file:
        print("begins", file=file, flush=True)
        time.sleep(1)
        print("ends", file=file, flush=True)
"""


def test_of_two_jobs_at_the_same_work_one_waits_for_the_other(tmp_path):
    """As when a Snakemake on a cluster is killed and started again, and its jobs go on."""
    log, order = tmp_path / "rule/one.log", tmp_path / "order"
    jobs = [subprocess.Popen([sys.executable, "-c", CODE, log, order]) for _ in range(3)]
    jobs[2].kill()  # whoever dies keeps nobody waiting
    assert [job.wait(timeout=30) for job in jobs[:2]] == [0, 0]
    assert order.read_text().split() == ["begins", "ends"] * 2
    assert "another job is at the same work" in log.read_text()
