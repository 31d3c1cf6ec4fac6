"""A line at the bottom of a terminal that stays while other text scrolls above it."""

import os
from typing import TextIO


def has_screen(stream: TextIO) -> bool:
    """Whether a stream is a terminal that obeys control sequences."""
    return stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"


class StatusLine:
    """The last line of a terminal, outside the region that scrolls (DECSTBM of a VT100).

    Programs that write to the same terminal, progress bars included, write above it.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.rows = 0

    def show(self, text: str) -> None:
        """Replace the line; adapt to the present size of the terminal."""
        columns, rows = os.get_terminal_size(self.stream.fileno())
        if rows < 3:
            return
        if rows != self.rows:  # a free line, then all lines but the last scroll
            self._write(f"\n\x1b7\x1b[1;{rows - 1}r\x1b8\x1b[1A")
            self.rows = rows
        self._write(f"\x1b7\x1b[{rows};1H\x1b[2K{text[: columns - 1]}\x1b8")

    def close(self) -> None:
        """Remove the line, and let the whole terminal scroll again."""
        if self.rows:
            self._write(f"\x1b7\x1b[{self.rows};1H\x1b[2K\x1b[r\x1b8")
            self.rows = 0

    def _write(self, text: str) -> None:
        self.stream.write(text)  # at once, so that no other text comes between
        self.stream.flush()
