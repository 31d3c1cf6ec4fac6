"""The scripts of benchmarks/ import, and figures are drawn from the records."""

import os
import subprocess
import sys

from helpers import ROOT

BENCHMARKS = ROOT / "benchmarks"


def run(code, *folders):
    paths = [ROOT / "workflow/scripts", BENCHMARKS, BENCHMARKS / "peers", *folders]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths))}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_benchmarks_import():
    scripts = [path.stem for path in [*BENCHMARKS.glob("*.py"), *BENCHMARKS.glob("peers/*.py")]]
    assert {"accuracy", "records", "run", "worker"} <= set(scripts)
    run("\n".join(f"import {script}" for script in sorted(scripts)))


def test_benchmarks_draw_from_the_records(tmp_path):
    code = f"""
import accuracy, records, run, scale
from nnpipe.analysis.plots import save

assert len(accuracy.figure_of_ablations().axes[0].get_yticks()) == 18
assert accuracy.figure_of_curve().axes[0].get_lines()
records.RESULTS = records.Path({str(tmp_path)!r})
for n in (1000, 10_000, 100_000):
    rows = [
        {{"model": rule, "quantity": quantity, "value": factor * n**0.5, "unit": unit}}
        for rule, factor in (("train", 1.0), ("labels", 2.0))
        for quantity, unit in scale.QUANTITIES.values()
    ]
    records.record("scale", "rules", rows, case=f"{{n:,}}")
drawn = scale.figure()
labels = [text.get_text() for text in drawn.axes[0].get_legend().get_texts()]
assert labels == ["labels  $n^{{0.5}}$", "train  $n^{{0.5}}$"], labels
assert [axis.get_ylabel() for axis in drawn.axes] == [
    "time of all jobs (s)", "peak memory of the largest job (MiB)", "disk space of the output (MB)"
]
for model, mae in (("gnn", 20.0), ("SchNet", 200.0)):
    for minutes in (1, 10):
        row = {{"quantity": "energy, MAE", "value": mae / minutes, "case": f"{{minutes:.2f}} min"}}
        records.record("peers", "history_published", [row], model=model)
lines = run.figure("published").axes[0].get_lines()
assert [line.get_label() for line in lines] == ["gnn", "SchNet"]
assert list(lines[0].get_ydata()) == [20.0, 2.0]
"""
    run(code)
