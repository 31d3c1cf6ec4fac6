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


def test_the_default_run_records_the_force_errors_of_all_references():
    """Which are larger than 50 meV/Å with GFN2-xTB on each."""
    code = f"""
import default_run
import pandas as pd
from ase.io import read
from nnpipe.analysis.forces import force_errors

frames = read("{ROOT}/resources/forces.xyz", ":")
found = force_errors("GFN2-xTB", frames, [frame.arrays["gfn2_forces"] for frame in frames])
columns = ["n_molecules", "n_modes", "mae_cm1", "imaginary_fraction", "minima_within_03a_fraction"]
frequencies = pd.DataFrame([{{"model": "GFN2-xTB"}} | dict.fromkeys(columns, 0)])
found += [row | {{"model": "labels"}} for row in found]
rows = default_run.surface(frequencies, pd.DataFrame(found))
assert {{row["model"] for row in rows}} == {{"GFN2-xTB", "labels"}}
rows = [row for row in rows if row["model"] == "labels"]
rows = [row for row in rows if row["unit"] == "meV/Å"]
references = {{frame.info["reference"] for frame in frames}}
assert len({{row["quantity"] for row in rows}}) == len(references)
assert sum(int(row["n"].split()[0]) for row in rows) == len(frames)
assert all(50 < float(row["value"]) < 500 for row in rows), rows
"""
    run(code)


def test_benchmarks_draw_from_the_records(tmp_path):
    code = f"""
import accuracy, records, run, scale, uncertainty

assert len(accuracy.figure_of_ablations().axes[0].get_yticks()) == 18
assert accuracy.figure_of_curve().axes[0].get_lines()
assert len(uncertainty.figure().axes[0].get_lines()) == 7  # six kinds and the diagonal
peers = run.figure()
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
assert [axis.get_title("left") for axis in peers.axes] == [
    "equal numbers of parameters", "published sizes"
]
assert "AtomGNN" in [text.get_text() for text in peers.axes[0].texts]
"""
    run(code)
