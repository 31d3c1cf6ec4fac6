"""Where a script's messages go: the terminal and its log file."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import InputError


@contextmanager
def logged(path: str | Path) -> Iterator[None]:
    """Log into `path` and to the terminal; an error the user can mend ends in one line.

    Any other exception leaves its traceback in the log and goes on.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    handlers = [logging.FileHandler(path), logging.StreamHandler()]
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(message)s",
        datefmt="%H:%M:%S",
        handlers=handlers,
        force=True,
    )
    log = logging.getLogger("nnpipe")
    try:
        yield
    except InputError as error:
        log.error("%s", error)
        raise SystemExit(1) from None
    except Exception:
        log.exception("unexpected error")
        raise SystemExit(1) from None
