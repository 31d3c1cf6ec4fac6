"""Logging, threads, error reporting and shutdown of the scripts."""

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import InputError
from .files import lock

PARENT = "NNPIPE_PARENT"  # environment variable: number of the process that runs the workflow
GRACE_SECONDS = 10  # between SIGTERM and the forced end of a script


@contextmanager
def job(log: str | Path, threads: int | None = None, alone: bool = True) -> Iterator[None]:
    """Run a script: log into the file `log` and to the terminal, and report errors.

    An InputError is logged as one line, any other exception with its traceback; both end the script
    with exit status 1. If the script computes with torch, it uses `threads` threads. The script
    ends when the process that runs the workflow ends, so that a new run meets no other writer. Jobs
    on a cluster continue: if `alone`, the script first waits for the end of any other script with
    the same log.
    """
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(message)s",
        datefmt="%H:%M:%S",
        handlers=[logging.FileHandler(log), logging.StreamHandler()],
        force=True,
    )
    if parent := os.environ.get(PARENT):
        threading.Thread(target=_end_with, args=[int(parent)], daemon=True).start()
    if threads and (device := sys.modules.get(f"{__package__}.device")):  # not without torch
        device.use_threads(threads)
    if alone:
        _wait_for_turn(Path(log).with_suffix(".lock"))
    try:
        yield
    except InputError as error:
        logging.getLogger("nnpipe").error("error: %s", error)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        logging.getLogger("nnpipe").error("interrupted")
        raise SystemExit(130) from None
    except Exception:
        logging.getLogger("nnpipe").exception("unexpected error")
        raise SystemExit(1) from None


def prepend_pythonpath(folder: str | Path) -> None:
    """Make scripts import from `folder` before any installed copy of nnpipe."""
    paths = [str(folder), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _end_with(process: int) -> None:
    """End this process soon after `process` ends."""
    while True:
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(GRACE_SECONDS)
            os._exit(1)
        except PermissionError:
            return  # the number now belongs to a process of another user
        time.sleep(1)


def _wait_for_turn(path: Path) -> None:
    """Lock `path` until this process ends; wait while another process has the lock."""
    if lock(path, wait=False) is None:
        logging.getLogger("nnpipe").info("another job is at the same work; waiting for its end")
        lock(path)


def lock_folder(path: str | Path) -> None:
    """Lock `path` until this process ends, in whatever way it ends.

    Raises InputError if another process holds the lock.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    if lock(path, wait=False) is None:
        raise InputError(
            f"{path}: another snakemake is at work in this folder; wait for it or stop it"
        )
