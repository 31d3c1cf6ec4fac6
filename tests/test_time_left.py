"""How long a workflow still takes: the estimate, the line on a terminal, and Snakemake's events."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest

from helpers import ROOT
from nnpipe.config.work import work_of
from nnpipe.runtime.time_left import (
    Record,
    Task,
    append_record,
    benchmark_seconds,
    expected_seconds,
    read_records,
    readable_time,
    relative_speed,
    seconds_left,
)


def task(seconds, *after, cores=1, **more):
    return Task(seconds, frozenset(after), {"_cores": cores}, **more)


@pytest.mark.parametrize(
    ("tasks", "cores", "seconds"),
    [
        ({}, 2, 0),
        ({"a": task(10), "b": task(10), "c": task(10)}, 3, 10),
        ({"a": task(10), "b": task(10), "c": task(10)}, 2, 20),
        ({"a": task(10), "b": task(5, "a"), "c": task(1, "b")}, 8, 16),
        # a training on all cores, after which one job and then nothing runs beside another
        ({"train": task(60, cores=8), "a": task(10, "train"), "b": task(30, "train")}, 8, 90),
        ({"train": task(60, cores=8), "other": task(10)}, 2, 70),
        # the long job first: 30 beside 10 + 10 + 10
        ({"a": task(10), "b": task(10), "c": task(10), "d": task(30)}, 2, 30),
        ({"a": task(10), "b": task(10), "c": task(10), "d": task(30, priority=-1)}, 2, 40),
        ({"a": task(30, elapsed=20.0), "b": task(5, "a")}, 1, 15),
        ({"a": task(30, elapsed=50.0)}, 1, 5),  # overdue
        ({"a": task(None), "b": task(5, "a")}, 1, 5),
    ],
)
def test_jobs_run_as_soon_as_cores_and_inputs_allow(tasks, cores, seconds):
    assert seconds_left(tasks, {"_cores": cores}) == pytest.approx(seconds)


def test_without_a_limit_of_cores_all_jobs_run_at_once():
    tasks = {number: task(10, cores=8) for number in range(100)}
    assert seconds_left(tasks, {}) == 10
    counted = {number: Task(10, uses={"_nodes": 1}) for number in range(100)}
    assert seconds_left(counted, {"_nodes": 50}) == 20


def test_a_slow_machine_scales_what_is_left():
    assert relative_speed([]) == 1
    speed = relative_speed([(600, 1200), (600, 1200)])
    assert speed == pytest.approx(0.5, abs=0.02)
    assert seconds_left({"a": task(100)}, {}, speed) == pytest.approx(200, rel=0.03)
    assert relative_speed([(1, 5)]) > 0.8  # a single short job says little


RECORDS = [
    Record("train", "gnn", 100, 2, 20),
    Record("train", "gnn", 1100, 2, 220),
    Record("train", "mlp", 1000, 2, 50),
    Record("run_md", "gnn_a", 1000, 1, 10),
    Record("run_md", "gnn_b", 1000, 1, 30),
]


@pytest.mark.parametrize(
    ("rule", "job", "work", "cores", "seconds"),
    [
        ("train", "gnn", 100, 2, 20),
        ("train", "gnn", 600, 2, 120),  # between two records
        ("train", "gnn", 2200, 2, 440),  # above the largest
        ("train", "gnn", 10, 2, 20),  # starting a job takes time, too
        ("train", "gnn", 100, 4, 10),
        ("train", "mlp", 1000, 1, 100),
        ("run_md", "gnn_new", 2000, 1, 40),  # mean of the rule
        ("predict", "gnn", 1, 1, None),
    ],
)
def test_expected_times(rule, job, work, cores, seconds):
    assert expected_seconds(RECORDS, rule, job, work, cores) == seconds
    newer = [*RECORDS, Record(rule, job, work, cores, 7.0)]
    assert expected_seconds(newer, rule, job, work, cores) == 7


def test_records_and_benchmarks_are_read_as_written(tmp_path):
    assert read_records(tmp_path / "none.csv") == []
    for record in RECORDS:
        append_record(record, tmp_path / "times.csv")
    assert read_records(tmp_path / "times.csv") == RECORDS
    path = tmp_path / "a.tsv"
    assert benchmark_seconds(path) is None
    path.write_text("s\th:m:s\n12.5\t0:00:12\n")
    assert benchmark_seconds(path) == 12.5
    path.write_text("s\th:m:s\n")  # of a job that is running
    assert benchmark_seconds(path) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "5 s"), (38, "40 s"), (58, "1 min"), (1500, "25 min"), (3580, "1 h"),
        (7000, "1 h 55 min"), (90000, "25 h"),
    ],
)  # fmt: skip
def test_times_as_people_say_them(seconds, text):
    assert readable_time(seconds) == text


def test_the_work_of_a_training_grows_with_its_epochs_and_geometries():
    config = {
        "split": {"train": 1000, "validation": 100, "test": 50},
        "labels": {"geometries": 2, "chunks": 4, "molecules": 0},
        "training": {"stages": [{"epochs": 5}], "minima_passes": 3},
        "models": {
            "gnn": {"target": "energy"},
            "gap": {"target": "gap"},
            "long": {"target": "energy", "training": {"stages": [{"epochs": 10}]}},
        },
        "md": {"length_ps": 10, "timestep_fs": 0.5, "replicas": 1},
        "molecules": {"water": "O", "more": {"structure": "O", "length_ps": 20}},
        "data": {"sources": ["figshare"]},
    }
    work = {name: work_of(config, "train", {"model": name}) for name in config["models"]}
    assert work == {"gnn": 5 * 1000 * 5, "gap": 5 * 1000, "long": 2 * 5 * 1000 * 5}
    steps = [work_of(config, "run_md", {"molecule": name}) for name in config["molecules"]]
    assert steps == [20_000, 40_000]
    assert work_of(config, "label_chunk", {"chunk": "0"}) == 550
    config["labels"]["molecules"] = 200
    assert work_of(config, "label_chunk", {"chunk": "0"}) == 150
    assert work_of(config, "train", {"model": "gnn"}) == 5 * (200 * 2 + 1000 * 3)


# three jobs of which two must wait for the first
NAPS = """
configfile: "{root}/config.yaml"

include: "{root}/workflow/rules/common.smk"

rule all:
    input: "done/b", "done/c"

rule first:
    output: "done/a"
    benchmark: "results/benchmarks/first/a.tsv"
    shell: "sleep 0.2; touch {{output}}"

rule nap:
    input: "done/a"
    output: "done/{{name}}"
    benchmark: "results/benchmarks/nap/{{name}}.tsv"
    shell: "sleep 0.2; touch {{output}}"
"""


@pytest.fixture
def naps(tmp_path):
    (tmp_path / "Snakefile").write_text(NAPS.format(root=ROOT))
    return tmp_path


def run(folder, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "snakemake", *arguments],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True,
    ).stdout  # fmt: skip


def took(folder, **seconds):
    """Write benchmark files of an earlier run."""
    for name, value in seconds.items():
        path = folder / f"results/benchmarks/{'first' if name == 'a' else 'nap'}/{name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"s\th:m:s\n{value}\t-\n")


def test_a_run_says_how_long_it_takes_and_remembers_it(naps):
    printed = run(naps, "--cores", "2")
    assert "Time for 4 jobs on 2 cores: unknown" in printed
    assert "Time left: unknown. Running: first\n" in printed
    assert "Time left: unknown. Running: nap b, nap c" in printed or "nap c, nap b" in printed
    records = read_records(naps / ".snakemake/nnpipe_times.csv")
    assert {(record.rule, record.job) for record in records} == {
        ("first", "a"), ("nap", "b"), ("nap", "c"),
    }  # fmt: skip
    assert all(0.1 < record.seconds < 60 for record in records)
    again = run(naps, "--cores", "2", "--forceall")
    assert re.search(r"Time for 4 jobs on 2 cores: about \d+ s\n", again)
    assert re.search(r"Time left: about \d+ s. Running: first \(\d+ s\)\n", again)


def test_a_dry_run_estimates_from_benchmark_files(naps):
    took(naps, a=600, b=1200, c=600)
    assert "Time for 4 jobs on 2 cores: about 30 min\n" in run(naps, "-n", "--cores", "2")
    assert "Time for 4 jobs on 1 core: about 40 min\n" in run(naps, "-n", "-q", "--cores", "1")
    took(naps, a=60, b="-")
    assert "about 11 min\n" in run(naps, "-n", "--cores", "2")  # b as its rule
    (naps / "results/benchmarks/first/a.tsv").unlink()
    assert "about 10 min, without first (unknown)\n" in run(naps, "-n", "--cores", "2")


def test_quiet_runs_say_nothing_and_errors_stay_inside(naps):
    assert "Time" not in run(naps, "--cores", "2", "--quiet")
    assert len(read_records(naps / ".snakemake/nnpipe_times.csv")) == 3  # noted all the same
    (naps / ".snakemake/nnpipe_times.csv").write_text("not,a\ntable,of times\n")
    printed = run(naps, "--cores", "2", "--forceall")
    assert "4 of 4 steps (100%) done" in printed
    assert "Time" not in printed
    assert "no estimate of the time left: Traceback" in run(naps, "-n", "-F", "--verbose")


def test_a_terminal_has_one_line_at_its_bottom(naps):
    """The line lies outside the region that scrolls, which the end of the run restores."""
    took(naps, a=600, b=1200, c=600)
    (naps / "Snakefile").write_text(NAPS.format(root=ROOT).replace("sleep 0.2", "sleep 3"))
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "snakemake", "--cores", "2"],
        cwd=naps, stdout=theirs, stderr=theirs, env=os.environ | {"TERM": "xterm"},
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:
            break
        if not part:
            break
        shown += part
    assert process.wait() == 0
    text = shown.decode()
    assert "\x1b[1;23r" in text
    assert "\x1b[24;1H\x1b[2K0 of 4 jobs. Left: about 30 min. Running: first (10 min)\x1b8" in text
    assert "Time left:" not in text  # the line says it
    assert text.rindex("\x1b[r") > text.rindex("Left: about")
