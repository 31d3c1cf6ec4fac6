"""One style of all figures: fonts, lines and colours, on a light and on a dark page.

The colours are the palette of Okabe and Ito (https://jfly.uni-koeln.de/color/), which readers with
a colour vision deficiency can tell apart. Every model has the same colour and marker in all
figures; reference methods are grey and dashed.
"""

from collections.abc import Callable, Iterable
from functools import wraps
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import Colormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.rcsetup import cycler

from ..runtime.files import atomic

BLUE, VERMILION, GREEN = "#0072B2", "#D55E00", "#009E73"
PURPLE, ORANGE, SKY = "#CC79A7", "#E69F00", "#56B4E9"
GREY = "#8A8A8A"  # legible on light and dark pages
# colour, marker and line of models and methods
FIXED = {
    "gnn": (BLUE, "o", "-"),
    "gnn_u0": (PURPLE, "s", "-"),
    "mlp": (VERMILION, "^", "-"),
    "schnet": (GREEN, "D", "-"),
    "GFN2-xTB": (GREY, "x", "--"),
    "GFN2-xTB, refitted": (GREY, "1", "-."),  # the teacher without its network
    "labels": (ORANGE, "+", ":"),
    "teacher": (ORANGE, "+", ":"),  # which makes the labels
}
FREE = [
    (SKY, "P", "-"), (ORANGE, "v", "-"), *((c, "*", ":") for c in (BLUE, VERMILION, GREEN)),
]  # fmt: skip
STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.prop_cycle": cycler(color=[BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY]),
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "grid.linewidth": 0.4,
    "figure.dpi": 160,
}


INK = {False: "#1A1A1A", True: "#E6E6E6"}  # text and axes on a light and on a dark page


def style(dark: bool = False) -> Any:  # settings by name, which the types of matplotlib list
    """Return matplotlib's settings of all figures, for a light or a dark page."""
    inked = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    page = {"axes.facecolor": "none", "figure.facecolor": "none" if dark else "white"}
    faint = {"grid.color": "#4A4A4A" if dark else "#CCCCCC"}
    return STYLE | dict.fromkeys(inked, INK[dark]) | page | faint


def ink() -> str:
    """Return the colour of text and axes of the present style."""
    return mpl.rcParams["text.color"]


def count_colours() -> Colormap:
    """Return the perceptually uniform colours of counts, whose ends differ from the page."""
    ends = (0.35, 1.0) if ink() == INK[True] else (0.0, 0.9)
    return ListedColormap(mpl.colormaps["viridis"](np.linspace(*ends, 256)), name="counts")


def model_styles(models: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return color, marker and linestyle of each model or method, as arguments of `Axes.plot`.

    Other models than the ones of FIXED take the entries of FREE in turn.
    """
    found, free = {}, 0
    for model in models:
        if model not in FIXED:
            free += 1
        values = FIXED.get(model) or FREE[(free - 1) % len(FREE)]
        found[model] = dict(zip(("color", "marker", "linestyle"), values, strict=True))
    return found


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Return a function that draws in the style of all figures; `dark` chooses the page."""

    @wraps(draw)
    def drawn(*arguments: Any, dark: bool = False, **options: Any) -> Figure:
        with mpl.rc_context(style(dark)):
            figure = draw(*arguments, **options)
            figure.draw_without_rendering()  # ticks take their style when they are first drawn
        return figure

    return drawn


def save(figure: Figure, path: str | Path) -> None:
    """Write the figure as PNG or SVG, by the suffix of `path`, atomically and reproducibly."""
    kind = Path(path).suffix[1:]
    metadata = {"svg": {"Date": None}}.get(kind)
    with atomic(path) as temporary, mpl.rc_context({"svg.hashsalt": "nnpipe"}):
        figure.savefig(temporary, format=kind, metadata=metadata)
        if kind == "svg":  # matplotlib leaves spaces at the ends of lines
            lines = temporary.read_text().splitlines()
            temporary.write_text("".join(f"{line.rstrip()}\n" for line in lines))


def save_light_and_dark(draw: Callable[..., Figure], path: str | Path) -> None:
    """Write what `draw`, a function of `styled`, draws on a light and on a dark page.

    `name.svg` becomes `name-light.svg` and `name-dark.svg`.
    """
    path = Path(path)
    for theme in ("light", "dark"):
        figure = draw(dark=theme == "dark")
        save(figure, path.with_stem(f"{path.stem}-{theme}"))
