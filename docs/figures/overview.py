"""Draw the figures of the default run: the stages above frequencies, and frequencies alone.

    python docs/figures/overview.py            # after a run, from results/minima
    python docs/figures/overview.py FOLDER     # from FOLDER/minima

Writes overview-light.svg, overview-dark.svg, frequencies-light.svg and frequencies-dark.svg.
"""

import sys
from functools import partial
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from nnpipe.analysis.plots import frequencies_against_reference, frequency_parity
from nnpipe.analysis.style import BLUE, ink, save_light_and_dark, styled

HERE = Path(__file__).parent
MODELS = ("gnn", "mlp", "GFN2-xTB")
STAGES = (
    ("QM9", "download, check,\nconvert, split"),
    ("Label", "distorted geometries,\nenergies and forces"),
    ("Train", "AtomGNN, AtomMLP,\nSchNet or your own"),
    ("Evaluate", "energies, forces,\nminima, frequencies"),
    ("Simulate", "molecular dynamics\nof any molecule"),
)


def draw_stages(axis: Axes) -> None:
    """Draw a box for each stage, with arrows between them."""
    axis.set(xlim=(0, len(STAGES)), ylim=(0, 1))
    axis.axis("off")
    for place, (name, text) in enumerate(STAGES):
        box = FancyBboxPatch(
            (place + 0.02, 0.03), 0.88, 0.94, boxstyle="round,pad=0,rounding_size=0.06",
            mutation_aspect=1.6, facecolor="none", edgecolor=BLUE, linewidth=1.2,
        )  # fmt: skip
        axis.add_patch(box)
        middle = place + 0.46
        axis.text(middle, 0.75, name, ha="center", va="center", fontsize=12, weight="bold")
        axis.text(middle, 0.34, text, ha="center", va="center", fontsize=8.8, linespacing=1.3)
        if place:
            arrow = dict(arrowstyle="-|>", color=ink(), lw=1.2, shrinkA=1, shrinkB=1)
            axis.annotate("", (place + 0.02, 0.5), (place - 0.1, 0.5), arrowprops=arrow)


@styled
def overview(tables: dict[str, pd.DataFrame]) -> Figure:
    """Return the stages above the frequencies of each model against QM9."""
    figure = Figure(figsize=(8.3, 4.1), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=(1, 3))
    for part in (top, bottom):
        part.set_facecolor("none")
    draw_stages(top.subplots())
    axes = bottom.subplots(1, len(tables), sharey=True)
    for axis, (model, table) in zip(axes, tables.items(), strict=True):
        frequencies_against_reference(axis, model, table)
    axes[0].set_ylabel("harmonic frequency (cm$^{-1}$)")
    axes[1].set_xlabel("B3LYP frequency of QM9 (cm$^{-1}$)")
    return figure


def main() -> None:
    """Draw both figures."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "results") / "minima"
    tables = {model: pd.read_csv(folder / f"{model}.csv") for model in MODELS}
    save_light_and_dark(partial(overview, tables), HERE / "overview.svg")
    save_light_and_dark(partial(frequency_parity, tables), HERE / "frequencies.svg")


if __name__ == "__main__":
    main()
