"""Fine-tuning in one call."""

import json

import numpy as np
import pytest
import torch
from ase import Atoms

from conftest import distorted
from nnpipe import fine_tune, load_calculator
from nnpipe.errors import InputError


def test_fine_tune_learns_another_level_of_theory(tmp_path, two_threads):
    """Forces of GFN2-xTB on water, from the shipped model, trained on B3LYP."""
    frames = distorted("O", 20)
    tuned, errors = fine_tune(frames, tmp_path / "tuned", epochs=20)
    assert torch.get_num_threads() == 2
    assert list(errors.index) == ["start", "tuned"]
    force, energy = errors["forces, MAE (meV/Å)"], errors["energy, MAE (meV)"]
    assert force["tuned"] < 0.5 * force["start"]
    assert energy["tuned"] < energy["start"]
    again = load_calculator(tmp_path / "tuned").get_forces(frames[0].copy())
    np.testing.assert_array_equal(tuned.get_forces(frames[0].copy()), again)
    info = json.loads((tmp_path / "tuned/model.json").read_text())
    assert info["n_train"] == 12
    lines = (tmp_path / "tuned/metrics.jsonl").read_text().splitlines()
    assert len(lines) == 21  # the start and the epochs
    again, same = fine_tune(frames, tmp_path / "again", epochs=20)
    np.testing.assert_array_equal(errors, same)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epoch": 3}, "epoch: not a setting of fine_tune; did you mean 'epochs'"),
        ({"learning_rate": -1.0}, "learning_rate: -1.0 is not above"),
        ({"start": "nothing"}, "nothing: no such folder"),
        ({"frames": []}, "frames: 0; give at least 10"),
        ({"frames": [Atoms("H2", [[0, 0, 0], [0, 0, 0.8]])] * 10}, "frame 0 has no energy"),
    ],
)
def test_fine_tune_refuses_in_one_line(change, message, tmp_path):
    arguments = {"frames": distorted("O", 10), "folder": tmp_path / "tuned"} | change
    with pytest.raises(InputError, match=message) as error:
        fine_tune(**arguments)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "tuned").exists()
