"""Files that are written completely or not at all, locks, and reports of progress."""

import threading

import pandas as pd
import pytest
import tqdm.std

from nnpipe.runtime.files import atomic, lock, unlock, write_csv
from nnpipe.runtime.progress import progress_bar


def test_atomic_keeps_the_old_file_after_an_error(tmp_path):
    path = tmp_path / "new" / "file"
    with atomic(path) as temporary:
        temporary.write_text("old")
        assert not path.exists()
    with pytest.raises(RuntimeError), atomic(path) as temporary:
        temporary.write_text("torn")
        raise RuntimeError
    assert path.read_text() == "old"
    write_csv(pd.DataFrame({"a": [1, 2]}), path)
    assert path.read_text() == "a\n1\n2\n"
    assert list(path.parent.iterdir()) == [path]


def test_lock_has_one_holder_and_waits_for_its_release(tmp_path):
    path = tmp_path / "lock"
    held = lock(path, wait=False)
    assert held is not None
    assert lock(path, wait=False) is None
    unlock(None)
    waiting = threading.Thread(target=lambda: unlock(lock(path)))
    waiting.start()
    waiting.join(timeout=0.2)
    assert waiting.is_alive()
    unlock(held)
    waiting.join(timeout=60)
    assert not waiting.is_alive()
    unlock(lock(path, wait=False))


def test_progress_logs_a_line_per_minute_without_a_terminal(monkeypatch, caplog):
    seconds = [0.0]
    monkeypatch.setattr(tqdm.std, "time", lambda: seconds[0])
    caplog.set_level("INFO")
    with progress_bar(total=10, unit="molecules", label="aspirin") as bar:
        for _ in range(10):
            seconds[0] += 25
            bar.update()
    lines = [message.split(" [")[0] for message in caplog.messages]
    counts = [3, 6, 9, 10]  # after 75, 150, 225 s and at the end
    assert lines == [f"aspirin: {count} of 10 molecules" for count in counts]
    caplog.clear()
    assert list(progress_bar("ab", unit="letters")) == ["a", "b"]  # takes no time
    with progress_bar(total=10, unit="molecules", hidden=True) as bar:
        seconds[0] += 100
        bar.update()
    assert not caplog.messages
