"""Plain docstrings as reStructuredText: code in backticks, indented blocks and lists kept."""

import re
from typing import Any

from sphinx.application import Sphinx

CODE = re.compile(r"`+([^`]+)`+")
ITEM = re.compile(r"^(\w{1,2}[.)]|[-*+])\s", re.MULTILINE)


def plain(text: str) -> str:
    """Return prose in which nothing but code in backticks has a meaning."""
    parts = CODE.split(text)
    prose = [re.sub(r"([*|_\\])", r"\\\1", part) for part in parts[::2]]
    code = [f"``{' '.join(part.split())}``\\ " for part in parts[1::2]]
    return "".join(a + b for a, b in zip(prose, [*code, ""], strict=True))


def convert(text: str) -> str:
    """Return a docstring with its paragraphs escaped and its indented paragraphs literal."""
    blocks = []
    for block in re.split(r"\n\s*\n", text.strip("\n")):
        lines = block.split("\n")
        if all(line.startswith((" ", "\t")) for line in lines):
            literal = ".. code-block:: text\n"
            before = blocks.pop() if blocks and blocks[-1].startswith(literal) else literal
            blocks.append(f"{before}\n{block}\n")
        else:
            text = plain("\n".join(line.strip() for line in lines))
            if ITEM.search(text):  # a list, or what looks like one: its lines as they are
                text = "\n".join(f"| {line}" for line in text.split("\n"))
            blocks.append(text)
    return "\n\n".join(blocks)


def process(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Replace the lines of a docstring."""
    lines[:] = convert("\n".join(lines)).split("\n")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the conversion; the event belongs to autodoc, and autoapi sends it."""
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-process-docstring", process)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
