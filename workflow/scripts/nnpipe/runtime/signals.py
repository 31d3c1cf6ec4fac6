"""Signals that ask long work to stop after it has saved its state."""

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

STOP = (signal.SIGTERM, signal.SIGUSR1)  # clusters send them before a time limit


@contextmanager
def signals_received(numbers: Sequence[int] = STOP) -> Iterator[list[int]]:
    """Yield the list of the signals of these numbers received within the block, which do not end
    the process there.
    """
    received: list[int] = []
    with signal_handler(lambda number, frame: received.append(number), numbers):
        yield received


@contextmanager
def signal_handler(
    handler: Callable[[int, Any], Any], numbers: Sequence[int] = STOP
) -> Iterator[None]:
    """Handle signals of these numbers by `handler` within the block."""
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)
