"""The comparison of two runs finds every difference except those in time and memory."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import ROOT
from nnpipe.analysis.compare import differences

TABLE = "model,mae,train_seconds\ngnn,{mae},{seconds}\n"


def write(folder: Path, mae: float = 1.5, seconds: float = 3.0, weights: bytes = b"w") -> Path:
    """Write a small folder of results."""
    for name in ("tables", "models/gnn", "md", "logs", "figures"):
        (folder / name).mkdir(parents=True)
    (folder / "tables/accuracy.csv").write_text(TABLE.format(mae=mae, seconds=seconds))
    info = {"settings": {"seed": 0}, "train_seconds": seconds, "scale": float("nan")}
    (folder / "models/gnn/model.json").write_text(json.dumps(info))
    lines = [json.dumps({"epoch": epoch, "seconds": seconds * epoch}) for epoch in (1, 2)]
    (folder / "models/gnn/metrics.jsonl").write_text("\n".join(lines))
    (folder / "models/gnn/model.safetensors").write_bytes(weights)
    (folder / "models/gnn/checkpoint.safetensors").write_bytes(str(seconds).encode())
    (folder / "md/gnn_aspirin.xyz").write_text("1\n\nH 0 0 0\n")
    (folder / "md/gnn_aspirin.json").write_text(
        json.dumps([{"ms_per_step": seconds, "drift": mae}])
    )
    (folder / "logs/train.log").write_text(f"{seconds} s")
    (folder / "figures/md.png").write_bytes(str(seconds).encode())
    return folder


def test_times_are_no_difference(tmp_path):
    assert differences(write(tmp_path / "a"), write(tmp_path / "b", seconds=4.0)) == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"mae": 1.5000001}, ["md/gnn_aspirin.json: differs", "tables/accuracy.csv: differs"]),
        ({"weights": b"W"}, ["models/gnn/model.safetensors: differs"]),
    ],
)
def test_any_other_value_is_a_difference(tmp_path, change, expected):
    assert differences(write(tmp_path / "a"), write(tmp_path / "b", **change)) == expected


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("models/gnn/metrics.jsonl", '"epoch": 2', '"epoch": 3'),
        ("models/gnn/model.json", '"seed": 0', '"seed": 1'),
        ("md/gnn_aspirin.xyz", "0 0 0", "0 0 1"),
    ],
)
def test_every_kind_of_file_is_compared(tmp_path, name, old, new):
    first, second = write(tmp_path / "a"), write(tmp_path / "b")
    text = (second / name).read_text()
    assert old in text
    (second / name).write_text(text.replace(old, new))
    assert differences(first, second) == [f"{name}: differs"]


def test_the_command_prints_the_differences_and_fails(tmp_path):
    first, second = write(tmp_path / "a"), write(tmp_path / "b")
    shutil.rmtree(second / "tables")
    library = os.environ | {"PYTHONPATH": str(ROOT / "workflow/scripts")}
    command = [sys.executable, "-m", "nnpipe.analysis.compare"]
    done = subprocess.run([*command, first, second], env=library, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout == f"tables/accuracy.csv: only in {first}\n"
    done = subprocess.run([*command, first, first], env=library, capture_output=True, text=True)
    assert done.returncode == 0
    done = subprocess.run([*command, first], env=library, capture_output=True, text=True)
    assert "usage: python -m nnpipe.analysis.compare" in done.stderr
