"""JavaScript libraries that the viewer brings along: what they are, and their text.

`.ci/vendor` writes the folder vendor/ from vendor/manifest.json.
"""

import json
from functools import cache
from pathlib import Path
from typing import NamedTuple

VENDOR = Path(__file__).parent / "vendor"


class Library(NamedTuple):
    """A JavaScript library, as vendor/manifest.json describes it."""

    name: str  # of the npm package
    version: str
    licence: str  # SPDX identifier
    integrity: str  # of the npm archive
    files: dict[str, str]  # path in the archive: file in vendor/
    sha256: dict[str, str]  # of each file in vendor/


@cache
def libraries() -> tuple[Library, ...]:
    """Return the libraries, in the order in which a page loads them."""
    return tuple(Library(**one) for one in json.loads((VENDOR / "manifest.json").read_text()))


def script(name: str) -> str:
    """Return the JavaScript of the library `name`."""
    library = next(one for one in libraries() if one.name == name)
    return (VENDOR / next(file for file in library.sha256 if file.endswith(".js"))).read_text()
