"""The page of a run and the player of a notebook, in a real browser.

NNPIPE_REPORT=results/report.html tests the page of another run.
"""

import io
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

from helpers import copy_to, snakemake
from nnpipe import simulate

playwright = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")
pypdf = pytest.importorskip("pypdf")

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), "")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
    "--disable-background-networking", "--disable-component-update", "--no-first-run",
]  # fmt: skip
MOST_BYTES = 15e6
SMALLEST_TEXT_PX = 12
# axes that count or name something
WITHOUT_UNIT = re.compile(r"epoch|number|atoms|element|molecules|model", re.IGNORECASE)
UNITS = "ps|K|eV|meV|Å|°|degrees|s|min|h|meV/Å|MB|%|cm|cm⁻¹|D|a₀"
WITH_UNIT = re.compile(rf"[,(] ?(10⁻³ )?({UNITS})\)?$")
pytestmark = [pytest.mark.long, pytest.mark.skipif(not CHROMIUM, reason="needs chromium")]


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    """The page of a run of the smoke preset: two runs of aspirin, four models."""
    if given := os.environ.get("NNPIPE_REPORT"):
        return Path(given).resolve()
    folder = copy_to(tmp_path_factory.mktemp("page"))
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["molecules"] = {"aspirin": config["molecules"]["aspirin"]}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    snakemake(folder, "--cores", "2", "results/report.html", change={"md": {"length_ps": 0.1}})
    return folder / "results/report.html"


@pytest.fixture(scope="module")
def chromium() -> Iterator["playwright.Browser"]:
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


Open = Callable[..., "playwright.Page"]


@pytest.fixture
def show(chromium) -> Iterator[Open]:
    """A function that opens a file without a network; any message of the page fails the test."""
    said, asked, contexts = [], [], []

    def opened(path: Path, width: int = 1280, script: str = "", **options) -> "playwright.Page":
        context = chromium.new_context(
            viewport={"width": width, "height": 900}, offline=True, **options
        )
        contexts.append(context)
        page = context.new_page()
        if script:
            page.add_init_script(script)
        page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: said.append(f"error: {error}"))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(path.as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    # messages about the graphics driver come from the browser
    assert [text for text in said if "WebGL-" not in text and "GPU stall" not in text] == []
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []


def player_at(page, stage, drawn: bool = True):
    """Scroll to a player and return a handle of its JavaScript object."""
    stage.scroll_into_view_if_needed()
    page.wait_for_function(
        "([e, drawn]) => e.nnpipePlayer && (!drawn || e.nnpipePlayer.viewer)",
        arg=[stage.element_handle(), drawn],
    )
    return stage.evaluate_handle("e => e.nnpipePlayer")


def frame_of(player) -> int:
    return player.evaluate("p => p.frame")


def picture(stage) -> np.ndarray:
    """Return the pixels of the molecule as drawn."""
    from matplotlib.image import imread

    return imread(io.BytesIO(stage.locator(".nnpipe-canvas").screenshot()), format="png")


def differ(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape != other.shape or bool((np.abs(one - other).max(-1) > 0.1).sum() > 20)


def moves(page, stage, before: np.ndarray, seconds: float = 10.0) -> bool:
    """Return whether the molecule as drawn differs from `before` within `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        page.wait_for_timeout(100)
        if differ(before, picture(stage)):
            return True
    return False


def still(page, stage):
    """Return a player that is paused."""
    player = player_at(page, stage)
    player.evaluate("p => { p.pause(); p.spin(false); }")
    return player


def trajectory_stage(page):
    return page.locator(".trajectory .stage[data-player]").first


def test_the_page_loads_from_disk_alone(report, show, record_property):
    size = report.stat().st_size
    start = time.perf_counter()
    page = show(report)
    page.wait_for_function("document.querySelector('.stage')?.nnpipePlayer?.viewer")
    seconds = time.perf_counter() - start
    record_property("bytes", size)
    record_property("seconds_to_first_molecule", round(seconds, 2))
    print(f"{size / 1e6:.1f} MB, {seconds:.1f} s to the first molecule")
    assert size < MOST_BYTES
    assert page.title()
    assert page.locator("h1").count() == 1
    assert not re.search(r"\bNaN\b|undefined|\[object", page.inner_text("body"))


def test_every_player_plays(report, show):
    page = show(report)
    stages = page.locator(".stage[data-player]")
    assert stages.count() >= 4
    for number in range(stages.count()):
        stage = stages.nth(number)
        player = still(page, stage)
        before, frame = picture(stage), frame_of(player)
        assert before.std() > 0.01, "nothing is drawn"
        stage.get_by_role("button", name="Play").click()
        vibrates = "mode" in (stage.get_attribute("data-options") or "")
        if not vibrates:
            page.wait_for_function("([p, f]) => p.frame !== f", arg=[player, frame])
        # one picture may be at the frame of the start
        assert moves(page, stage, before), f"player {number} stands still"
        player.evaluate("p => p.pause()")


def test_hovering_a_trace_shows_the_frame_of_that_time(report, show):
    page = show(report)
    stage = trajectory_stage(page)
    player = still(page, stage)
    place = stage.locator(".nnpipe-traces")
    page.wait_for_function("e => e._fullLayout", arg=place.element_handle())
    player.evaluate("p => p.play()")
    for part in (0.2, 0.8):
        box = place.locator(".nsewdrag").first.bounding_box()
        page.mouse.move(box["x"] + part * box["width"], box["y"] + box["height"] / 2)
        frames = player.evaluate("p => p.frames")
        page.wait_for_function(
            "([p, f]) => Math.abs(p.frame / (p.frames - 1) - f) < 0.1 + 1 / p.frames",
            arg=[player, part],
        )
    assert frames > 1
    assert not player.evaluate("p => p.playing")


def test_spinning_colouring_and_speed(report, show):
    page = show(report)
    stage = trajectory_stage(page)
    player = still(page, stage)
    before = player.evaluate("p => p.viewer.getView()")
    stage.get_by_role("button", name="Spin").click()
    page.wait_for_timeout(600)
    stage.get_by_role("button", name="Spin").click()
    after = player.evaluate("p => p.viewer.getView()")
    assert np.abs(np.subtract(after, before)[4:]).max() > 0.02
    colour = stage.get_by_label("Colour")
    names = colour.locator("option").evaluate_all("all => all.map(one => one.value)")
    assert {"element", "force", "bond_deviation", "uncertainty"} <= set(names)
    seen = []
    for name in names:
        colour.select_option(name)
        page.wait_for_timeout(100)
        seen.append(picture(stage))
        if name != "element":
            assert re.search(r"Å", stage.locator(".nnpipe-legend").inner_text())
    assert all(differ(seen[0], other) for other in seen[1:])
    stage.get_by_label("Speed").select_option("2")


def test_a_measured_distance_is_the_distance_of_the_positions(report, show):
    page = show(report)
    stage = trajectory_stage(page)
    player = still(page, stage)
    player.evaluate("p => p.setFrame(3)")
    stage.get_by_role("button", name="Measure").click()
    where = """p => {
        const n = p.data.symbols.length, all = nnpipe.decode(p.data.positions);
        return p.data.symbols.map((_, k) => {
            const at = 3 * (3 * n + k), [x, y, z] = all.slice(at, at + 3);
            const {x: sx, y: sy} = p.viewer.modelToScreen({x, y, z});
            return [x, y, z, sx - window.scrollX, sy - window.scrollY];
        });
    }"""
    places = np.array(player.evaluate(where))
    screen = places[:, 3:]
    # two atoms that no other atom covers
    gaps = np.linalg.norm(screen[:, None] - screen, axis=-1) + 1e3 * np.eye(len(screen))
    first, second = np.argsort(gaps.min(1))[-2:]
    for atom in (first, second):
        page.mouse.click(*screen[atom])
    expected = np.linalg.norm(places[first, :3] - places[second, :3])
    text = stage.locator(".nnpipe-hint").inner_text()
    found = float(re.search(r"distance .*: ([\d.]+) Å", text)[1])
    assert found == pytest.approx(expected, abs=2e-3)


POINTS = """e => {
    const box = e.querySelector('.nsewdrag').getBoundingClientRect(), found = [];
    e._fullData.forEach((trace, number) => {
        const x = e._fullLayout[(trace.xaxis || 'x').replace('x', 'xaxis')];
        const y = e._fullLayout[(trace.yaxis || 'y').replace('y', 'yaxis')];
        if (!trace.customdata) return;
        for (let k = 0; k < trace.x.length; k++) {
            const at = [box.left + x.d2p(trace.x[k]), box.top + y.d2p(trace.y[k])];
            const inside = at[0] > box.left + 4 && at[0] < box.right - 4
                && at[1] > box.top - 4 && at[1] < box.bottom + 4;
            if (inside) found.push([...at, trace.customdata[k], trace.y[k]]);
        }
    });
    return found;
}"""


def alone(points: list) -> list:
    """Return the points whose neighbours are farthest away, the best first."""
    places = np.array([point[:2] for point in points])
    gaps = np.linalg.norm(places[:, None] - places, axis=-1) + 1e6 * np.eye(len(points))
    return [points[number] for number in np.argsort(-gaps.min(1))]


def plot_that_opens(page, kind: str):
    """Return a plot whose points open something, drawn."""
    names = page.evaluate(
        """kind => [...document.querySelectorAll('[data-plot]')].filter(e =>
            JSON.parse(document.getElementById(e.dataset.plot).textContent).opens === kind
        ).map(e => e.dataset.plot)""",
        kind,
    )
    assert names, f"no plot opens a {kind}"
    plot = page.locator(f'[data-plot="{names[0]}"]')
    plot.scroll_into_view_if_needed()
    page.wait_for_function("e => e._fullLayout?.xaxis", arg=plot.element_handle())
    page.wait_for_timeout(300)
    return plot


def test_a_click_on_a_mode_vibrates(report, show):
    page = show(report)
    plot = plot_that_opens(page, "mode")
    pair = page.locator("[data-linked]").filter(has=plot)
    stage = pair.locator(".stage")
    player_at(page, stage)
    select = pair.locator("[data-modes]")
    before = select.input_value()
    points = alone(plot.evaluate(POINTS))
    x, y, mode, _ = next(one for one in points if str(one[2]) != before)
    page.mouse.move(x, y)
    page.mouse.click(x, y)
    page.wait_for_function("([e, old]) => e.value !== old", arg=[select.element_handle(), before])
    assert int(select.input_value()) == mode
    assert moves(page, stage, picture(stage))


def test_points_and_worst_molecules_open(report, show):
    page = show(report)
    dialog = page.locator("dialog#molecule")
    plot = plot_that_opens(page, "molecule")
    x, y, number, _ = alone(plot.evaluate(POINTS))[0]
    page.mouse.move(x, y)
    page.mouse.click(x, y)
    dialog.wait_for(state="visible")
    assert f"Molecule no. {number}" in dialog.inner_text()
    page.keyboard.press("Escape")
    dialog.wait_for(state="hidden")
    worst = page.locator("[data-molecule]")
    assert worst.count() >= 10
    number = worst.first.get_attribute("data-molecule")
    worst.first.click()
    dialog.wait_for(state="visible")
    assert f"Molecule no. {number}" in dialog.inner_text()
    still(page, dialog.locator(".stage"))
    assert picture(dialog.locator(".stage")).std() > 0.01
    dialog.get_by_role("button", name="Close").click()
    dialog.wait_for(state="hidden")


AXES = """e => Object.entries(e._fullLayout).filter(([key]) => /^[xy]axis\\d*$/.test(key))
    .filter(([, one]) => one.visible && one.showticklabels !== false)
    .map(([key, one]) => [e.getAttribute('aria-label') || e.className, key, one.title.text || '',
                          one.type])"""


def test_plots_exist_and_every_axis_has_a_unit(report, show):
    page = show(report)
    text = page.inner_text("main")
    for name in ("Learning curves", "Vibrations", "Energy along a bond", "Cost", "Provenance"):
        assert name in text
    bare = []
    plots = page.locator("[data-plot], .nnpipe-traces")
    for number in range(plots.count()):
        plot = plots.nth(number)
        plot.scroll_into_view_if_needed()
        page.wait_for_function("e => e._fullLayout?.xaxis", arg=plot.element_handle())
        for label, key, title, kind in plot.evaluate(AXES):
            known = WITH_UNIT.search(title) or WITHOUT_UNIT.search(title) or kind == "category"
            if not known:
                bare.append((label, key, title))
    assert plots.count() > 8
    assert bare == []


def test_it_prints(report, show):
    page = show(report)
    player_at(page, page.locator(".stage[data-player]").first)
    data = page.pdf(format="A4", print_background=True)
    printed = pypdf.PdfReader(io.BytesIO(data))
    assert len(printed.pages) >= 4
    text = "\n".join(one.extract_text() for one in printed.pages)
    for heading in ("Summary", "Trajectories", "Accuracy", "Provenance", "Learning curves"):
        assert heading in text
    assert "Which model is better" in text
    stills = [
        np.asarray(image.image.convert("L"))
        for one in printed.pages
        for image in one.images
        if image.image.width > 100
    ]
    assert any(pixels.std() > 5 for pixels in stills), "no molecule on paper"


TEXTS = """least => {
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), small = [];
    while (walker.nextNode()) {
        const node = walker.currentNode, parent = node.parentElement;
        if (!node.textContent.trim() || parent.closest('script, style, noscript')) continue;
        if (!parent.checkVisibility() || parent.closest('sub, sup')) continue; // of formulas
        const size = parseFloat(getComputedStyle(parent).fontSize);
        if (size < least) small.push([parent.outerHTML.slice(0, 120), size]);
    }
    return small;
}"""


def see_all(page) -> None:
    """Scroll through the page, so that everything is made that is made when it is seen."""
    height = page.evaluate("document.documentElement.scrollHeight")
    for top in range(0, height, 600):
        page.evaluate("top => window.scrollTo(0, top)", top)
        page.wait_for_timeout(60)
    page.wait_for_timeout(500)


@pytest.mark.parametrize("width", [1280, 390])
def test_it_is_readable(report, show, width):
    page = show(report, width)
    see_all(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(TEXTS, SMALLEST_TEXT_PX) == []
    for stage in page.locator(".stage .nnpipe-stage").all()[:2]:
        assert stage.bounding_box()["width"] > 0.6 * min(width, 700)


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_accessible(report, show, scheme, width):
    page = show(report, width, color_scheme=scheme, reduced_motion="reduce")
    see_all(page)
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = np.mean([float(one) for one in re.findall(r"[\d.]+", background)[:3]])
    assert (brightness > 128) == (scheme == "light")
    wanted = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}}
    found = axe.Axe().run(page, options=wanted).response["violations"]
    assert [
        (one["id"], one["help"], node["target"], node.get("failureSummary", "")[:200])
        for one in found
        for node in one["nodes"][:3]
    ] == []


FOCUSED = """() => {
    const e = document.activeElement;
    if (!e || e === document.body) return '';
    e.dataset.visited = '1';
    return e.tagName;
}"""
UNVISITED = """() => [...document.querySelectorAll(
        'a[href], button, select, input, summary, [tabindex="0"]')]
    .filter(e => e.checkVisibility() && !e.disabled && e.tabIndex >= 0 && !e.dataset.visited
        && !e.closest('dialog:not([open])'))
    .map(e => e.outerHTML.slice(0, 120))"""


def test_the_keyboard_alone_reaches_and_plays_everything(report, show):
    page = show(report, reduced_motion="reduce")
    see_all(page)
    page.evaluate("window.scrollTo(0, 0)")
    for _ in range(2000):
        page.keyboard.press("Tab")
        if not page.evaluate(FOCUSED):
            break
    missed = page.evaluate(UNVISITED)
    assert missed == []
    stage = trajectory_stage(page)
    player = still(page, stage)
    stage.locator(".nnpipe-stage").focus()
    page.keyboard.press("Space")
    assert player.evaluate("p => p.playing")
    page.keyboard.press("Space")
    assert not player.evaluate("p => p.playing")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert frame_of(player) == 1
    stage.get_by_role("button", name="Play").focus()
    page.keyboard.press("Enter")
    assert player.evaluate("p => p.playing")
    worst = page.locator("[data-molecule]").first
    worst.focus()
    page.keyboard.press("Enter")
    page.locator("dialog#molecule").wait_for(state="visible")
    page.keyboard.press("Escape")
    assert worst.evaluate("e => e === document.activeElement")


def test_nothing_moves_by_itself_for_readers_who_ask_for_it(report, show):
    page = show(report, reduced_motion="reduce")
    stages = page.locator(".stage[data-player]")
    moving = []
    for number in range(stages.count()):
        player = player_at(page, stages.nth(number))
        before = player.evaluate("p => [p.frame, p.playing, ...p.viewer.getView()]")
        page.wait_for_timeout(250)
        after = player.evaluate("p => [p.frame, p.playing, ...p.viewer.getView()]")
        if after != before or before[1]:
            moving.append(number)
    assert moving == []


NO_WEBGL = """const real = HTMLCanvasElement.prototype.getContext;
HTMLCanvasElement.prototype.getContext = function (kind, ...more) {
    return kind.startsWith('webgl') ? null : real.call(this, kind, ...more);
};"""


def test_without_webgl_the_page_says_so(report, show):
    page = show(report, script=NO_WEBGL)
    stage = page.locator(".stage[data-player]").first
    player_at(page, stage, drawn=False)
    stage.get_by_text("WebGL is missing").wait_for()
    assert "Which model is better" in page.inner_text("main")


def test_the_player_of_a_notebook_plays(show, tmp_path):
    run = simulate("O", length_ps=0.02, frame_fs=1.0)
    (tmp_path / "cell.html").write_text(
        f"<!DOCTYPE html><html lang=en><meta charset=utf-8><title>cell</title>{run._repr_html_()}"
    )
    page = show(tmp_path / "cell.html")
    inside = page.locator("iframe").first.element_handle().content_frame()
    inside.wait_for_function("document.querySelector('.nnpipe-player')?.nnpipePlayer?.viewer")
    stage = inside.locator(".nnpipe-player").first
    player = stage.evaluate_handle("e => e.nnpipePlayer")
    player.evaluate("p => p.pause()")
    frame, before = frame_of(player), picture(stage)
    stage.get_by_role("button", name="Play").click()
    inside.wait_for_function("([p, f]) => p.frame !== f", arg=[player, frame])
    inside.wait_for_timeout(200)
    player.evaluate("p => p.pause()")
    assert differ(before, picture(stage))
