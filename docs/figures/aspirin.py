"""Draw aspirin.webp, which moves: the end of a trajectory of aspirin, in the player of the report.

    python docs/figures/aspirin.py results/md/gnn_aspirin.xyz

The frames play forwards and backwards, and the molecule sways, so that the picture has no jump.
Needs Playwright (pip install playwright) and Chromium at CHROMIUM, or where Playwright puts it.
"""

import base64
import io
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from ase.io import read
from PIL import Image
from playwright.sync_api import sync_playwright

from nnpipe.viewer.player import page, player, trajectory_data

HERE = Path(__file__).parent
WIDTH, HEIGHT = 480, 320  # pixels
FRAMES = 72  # of the trajectory, 4 fs apart
FRAME_MS = 50
SWAY_DEGREES = 36.0
ZOOM = 1.2
DRAW = """async ([frame, degrees]) => {
    const made = document.querySelector(".nnpipe-player").nnpipePlayer;
    made.setFrame(frame);
    made.viewer.rotate(degrees, "y");
    return made.viewer.pngURI();
}"""
STYLE = f"<style>.nnpipe-player {{ width: {WIDTH}px; }} .nnpipe-view {{ border: 0; }}</style>"

path = sys.argv[1] if len(sys.argv) > 1 else "results/md/gnn_aspirin.xyz"
frames = read(path, f"-{FRAMES}:")
centred = frames[0].positions - frames[0].positions.mean(0)
axes = np.linalg.svd(centred)[2]  # the longest first: along x; the shortest last: to the viewer
axes[2] *= np.linalg.det(axes)
for frame in frames:
    frame.positions = frame.positions @ axes.T
data = trajectory_data(frames, max_frames=FRAMES)
shown = player(data, autoplay=False, traces=False, controls=False, height=f"{HEIGHT}px")
order = [*range(FRAMES), *range(FRAMES - 2, 0, -1)]
angles = SWAY_DEGREES * np.sin(2 * np.pi * np.arange(len(order)) / len(order))
turns = np.diff(angles, prepend=0.0)
pictures = []
with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
    place = Path(folder) / "aspirin.html"
    place.write_text(page(STYLE + shown, "aspirin"))
    browser = playwright.chromium.launch(
        executable_path=os.environ.get("CHROMIUM"),
        args=["--use-angle=swiftshader", "--enable-unsafe-swiftshader"],
        chromium_sandbox=False,
    )
    tab = browser.new_page(
        viewport={"width": WIDTH + 40, "height": HEIGHT + 200},
        device_scale_factor=2,
        bypass_csp=True,
    )
    tab.goto(place.as_uri())
    tab.wait_for_function("document.querySelector('.nnpipe-player').nnpipePlayer?.viewer")
    tab.evaluate(f"void document.querySelector('.nnpipe-player').nnpipePlayer.viewer.zoom({ZOOM})")
    for number, turn in zip(order, turns, strict=True):
        picture = tab.evaluate(DRAW, [number, float(turn)]).partition(",")[2]
        drawn = Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGBA")
        pictures.append(drawn.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS))
    browser.close()
pictures[0].save(
    HERE / "aspirin.webp", save_all=True, append_images=pictures[1:], duration=FRAME_MS, loop=0,
    quality=50, alpha_quality=60, method=4,
)  # fmt: skip
