"""Draw overview.png: the stages of the workflow above the frequency parity of frequencies.png."""

from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.patches import FancyBboxPatch

HERE = Path(__file__).parent
STAGES = (
    ("QM9", "download, check,\nconvert, split"),
    ("label", "distorted geometries,\nenergies and forces"),
    ("train", "gnn, mlp, schnet\nor your own model"),
    ("evaluate", "energies, forces,\nminima, frequencies"),
    ("simulate", "molecular dynamics\nof any molecule"),
)
PARITY_ROWS = 398  # pixels from the top of frequencies.png: predictions, without the deviations

mpl.rcParams["font.family"] = "DejaVu Sans"
parity = imread(HERE / "frequencies.png")[:PARITY_ROWS]
height, width = parity.shape[:2]
strip = 0.42 * height
drawn = Figure(figsize=(width / 100, (height + strip) / 100), dpi=100, facecolor="white")
top = drawn.add_axes((0, height / (height + strip), 1, strip / (height + strip)))
top.set(xlim=(0, len(STAGES)), ylim=(0, 1))
top.axis("off")
for place, (name, text) in enumerate(STAGES):
    box = FancyBboxPatch(
        (place + 0.09, 0.16), 0.78, 0.68, boxstyle="round,pad=0,rounding_size=0.06",
        mutation_aspect=width / len(STAGES) / strip, facecolor="#eef4f8", edgecolor="#31688e",
    )  # fmt: skip
    top.add_patch(box)
    top.text(place + 0.48, 0.68, name, ha="center", va="center", fontsize=15, weight="bold")
    top.text(place + 0.48, 0.37, text, ha="center", va="center", fontsize=11.5, linespacing=1.3)
    if place:
        arrow = dict(arrowstyle="-|>", color="#31688e", lw=1.4, shrinkA=1, shrinkB=1)
        top.annotate("", (place + 0.09, 0.5), (place - 0.13, 0.5), arrowprops=arrow)
bottom = drawn.add_axes((0, 0, 1, height / (height + strip)))
bottom.imshow(parity, aspect="auto", interpolation="none")
bottom.axis("off")
drawn.savefig(HERE / "overview.png")
