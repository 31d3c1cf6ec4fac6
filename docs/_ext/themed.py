"""Sphinx directive that shows a figure as the page is: light or dark.

```` ```{themed} ../figures/curve.svg ```` shows `curve-light.svg` on a light page and
`curve-dark.svg` on a dark one, with the options and the caption of the directive `figure`.
"""

from pathlib import PurePosixPath
from typing import Any

from docutils import nodes
from docutils.parsers.rst.directives.images import Figure
from sphinx.application import Sphinx

THEMES = ("light", "dark")


def themed(path: str, theme: str) -> str:
    """Return the path of the figure for a theme."""
    plain = PurePosixPath(path)
    return str(plain.with_stem(f"{plain.stem}-{theme}"))


class Themed(Figure):
    """A figure with an image for light pages and one for dark pages, of which one is shown."""

    def run(self) -> list[nodes.Node]:
        """Return one figure with two images and one caption."""
        (figure,) = super().run()
        image = figure[0]
        both = []
        for theme in THEMES:
            one = image.deepcopy()
            one["uri"] = themed(image["uri"], theme)
            one["classes"] = [*image["classes"], f"only-{theme}"]
            both.append(one)
        figure[0:1] = both
        return [figure]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("themed", Themed)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
