"""What surrounds every script: its log, its last words, and its end when the workflow is gone."""

import fcntl
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import InputError

PARENT = "NNPIPE_PARENT"  # environment variable: process that started the scripts
CORES = "NNPIPE_CORES"  # environment variable: cores that are shared out among the scripts
GRACE_SECONDS = 10  # between SIGTERM and the forced end of a script


@contextmanager
def job(log: str | Path, alone: bool = True) -> Iterator[None]:
    """Log into the file `log` and to the terminal; end with one line where the user can mend it.

    Any other exception leaves its traceback in the log. If the process that started the script is
    killed, the script ends too, so that the next run meets no stray writer. On a cluster its jobs
    go on: `alone`, the script first waits for one that has the same log.
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


def cores_of_workflow() -> int | None:
    """Cores that the workflow shares out among its scripts, if a workflow runs this one."""
    return int(os.environ[CORES]) if os.environ.get(CORES) else None


def prepend_pythonpath(folder: str | Path) -> None:
    """Let scripts import from `folder` first, whichever copy of nnpipe is installed."""
    paths = [str(folder), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))


def _end_with(process: int) -> None:
    while True:
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(GRACE_SECONDS)
            os._exit(1)
        except PermissionError:
            return  # another user's process took the number: nothing to watch
        time.sleep(1)


def try_lock(path: Path) -> int | None:
    """Hold `path` until this process ends; its descriptor if another one does."""
    file = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return file
    except OSError:
        pass  # a file system without locks
    return None


def _wait_for_turn(path: Path) -> None:
    """Hold `path` until this process ends, once no other one does."""
    if (file := try_lock(path)) is not None:
        logging.getLogger("nnpipe").info("another job is at the same work; waiting for its end")
        fcntl.flock(file, fcntl.LOCK_EX)


def lock(path: str | Path) -> None:
    """Hold `path` until this process ends, in whatever way; InputError if another one holds it."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    if try_lock(Path(path)) is not None:
        raise InputError(
            f"{path}: another snakemake is at work in this folder; wait for it or stop it"
        )
