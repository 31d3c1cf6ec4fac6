"""Molecules and trajectories as HTML that needs nothing but a browser.

A player is an element with its data; the JavaScript of the page (player.js, on 3Dmol.js and Plotly)
makes it move when it is seen.
"""

import base64
import gzip
import html
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ase import Atoms

from .trajectory import modes_data, structure_data, trajectory_data
from .vendor import libraries, script

__all__ = ["fragment", "modes_data", "page", "player", "structure_data", "trajectory_data"]

HERE = Path(__file__).parent
# nothing is fetched: a browser refuses what this does not name
POLICY = "default-src 'none'; script-src 'unsafe-inline' blob:; style-src 'unsafe-inline'; img-src data: blob:; worker-src blob:"  # noqa: E501
PLOTS = "plotly.js-basic-dist-min"


def as_json(value: Any) -> str:
    """Return JSON for a script element, which no text in it can end; null for NaN and infinity."""
    text = json.dumps(_finite(value), allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def player(data: dict[str, Any], **options: Any) -> str:
    """Return the HTML of a player for a `page`; `options` are the options in player.js."""
    held = as_json({"data": data, "options": options})
    return f'<div class="nnpipe-player"><script type="application/json">{held}</script></div>'


def page(body: str, title: str, head: str = "") -> str:
    """Return a page that holds the libraries and is complete in itself, around the HTML `body`.

    `head` is more HTML for the head of the page, such as a style element; it comes last there.
    """
    scripts = [script(library.name) for library in libraries()] + [_text("player.js")]
    return _document(body, title, "".join(f"<script>{one}</script>\n" for one in scripts) + head)


def fragment(frames: Sequence[Atoms] | Atoms, title: str = "", **options: Any) -> str:
    """Return the HTML of a player for a notebook: one frame element that needs nothing else.

    `frames` as in `trajectory_data`, or one structure; `options` as in player.js. The libraries are
    compressed; Plotly is left out if there is nothing to plot.
    """
    data = trajectory_data([frames] if isinstance(frames, Atoms) else frames, title=title)
    plots = data["traces"] is not None and options.get("traces", True)
    names = [library.name for library in libraries() if plots or library.name != PLOTS]
    scripts = [script(name) for name in names] + [_text("player.js")]
    packed = "".join(f'<script type="text/gzip">{_packed(one)}</script>' for one in scripts)
    style = "<style>body{margin:0;padding:1px;background:transparent}</style>"
    body = f"{player(data, **options)}\n{packed}<script>{_text('fragment.js')}</script>"
    document = html.escape(_document(body, title or data["formula"], style))
    height = 520 if plots else 420
    return (
        f'<iframe class="nnpipe-frame" title="{html.escape(title or data["formula"])}"'
        f' style="width:100%;height:{height}px;border:0" srcdoc="{document}"></iframe>'
    )


def _document(body: str, title: str, head: str) -> str:
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>{html.escape(title)}</title>
<style>{_text("player.css")}</style>
{head}
</head>
<body>
{body}
</body>
</html>
"""


def _packed(text: str) -> str:
    return base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode()


def _text(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")
