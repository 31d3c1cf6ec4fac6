"""Progress of long work: a bar on a terminal, a line per minute in a log."""

import logging
import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

log = logging.getLogger(__name__)
LINE = "{desc}{n_fmt} of {total_fmt}{unit} [{elapsed}<{remaining}, {rate_fmt}{postfix}]"


class _Log:
    """A file for tqdm whose lines go to the logger."""

    def write(self, text: str) -> None:
        if text.strip():
            log.info(text.strip())

    def flush(self) -> None:
        pass


def progress_bar(
    items: Iterable | None = None,
    *,
    unit: str,
    total: float | None = None,
    label: str | None = None,
    hidden: bool = False,
    initial: float = 0,
) -> tqdm:
    """Return `items` with a report of how many are done, or, without items, a tqdm to update.

    `unit` is the plural noun of what is counted, `total` its final number, if `items` has no
    length, and `initial` what was done before. On a terminal the report is a bar. Elsewhere work of
    more than a minute logs a line per minute.
    """
    desc = f"{label}: " if label else None
    style: dict[str, Any] = {"mininterval": 1, "initial": initial}
    if not sys.stderr.isatty():
        style |= {"file": _Log(), "bar_format": LINE, "mininterval": 60, "miniters": 0, "delay": 60}
    return tqdm(items, total=total, unit=f" {unit}", desc=desc, disable=hidden, **style)
