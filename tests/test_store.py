"""Stores are safetensors files, complete or absent."""

import numpy as np
import pytest
from safetensors import safe_open

from nnpipe.data import store
from nnpipe.errors import InputError


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "table"
    with store.writer(path, {"kind": "things"}) as append:
        for start in range(3):
            append(a=np.full((2, 3), start, np.float64), b=np.arange(start, dtype=np.uint8))
    return path


def test_store_chunks_read_back_as_in_safetensors(path):
    arrays, header = store.read(path, "things")
    assert arrays["a"].tolist() == [[i] * 3 for i in (0, 0, 1, 1, 2, 2)]
    assert arrays["b"].tolist() == [0, 0, 1]
    assert header["kind"] == "things"
    with safe_open(path, "np") as file:
        for name in file.keys():  # noqa: SIM118
            np.testing.assert_array_equal(file.get_tensor(name), arrays[name])


def test_store_arrays_are_mapped_and_read_only(path):
    array = store.read(path, "things")[0]["a"]
    assert not array.flags.owndata
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


def test_store_digest_depends_on_content_only(path, tmp_path):
    with store.writer(tmp_path / "other", {"kind": "things"}) as append:
        append(a=np.repeat(np.arange(3.0), 6).reshape(6, 3), b=np.array([0, 0, 1], np.uint8))
    digests = [store.read(p, "things")[1]["digest"] for p in (path, tmp_path / "other")]
    assert digests[0] == digests[1]


@pytest.mark.parametrize("size", [0, 4, 60, -1])
def test_store_refuses_a_cut_file(path, size):
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(InputError, match="not a complete nnpipe store"):
        store.read(path, "things")


def test_store_refuses_another_kind_and_a_missing_file(path, tmp_path):
    with pytest.raises(InputError, match="holds things, not molecules"):
        store.read(path, "molecules")
    with pytest.raises(InputError, match="no such file"):
        store.read(tmp_path / "nowhere", "things")


def test_store_error_keeps_the_old_file_and_leaves_no_other(path, tmp_path):
    before = path.read_bytes()
    with pytest.raises(RuntimeError), store.writer(path, {"kind": "things"}) as append:
        append(a=np.zeros(1))
        raise RuntimeError
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["table"]


def test_store_refuses_chunks_that_differ(tmp_path):
    with (
        pytest.raises(ValueError, match="a: a chunk differs"),
        store.writer(tmp_path / "x", {"kind": "x"}) as append,
    ):
        append(a=np.zeros((1, 2)))
        append(a=np.zeros((1, 3)))
