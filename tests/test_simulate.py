"""Dynamics in one call: what it accepts, refuses and returns, and how a notebook shows it."""

import inspect
import subprocess
import sys
from dataclasses import fields, replace
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ase.build import molecule
from ase.io import read, write

from helpers import ROOT
from nnpipe import simulate, view
from nnpipe.errors import InputError
from nnpipe.notebook.progress import notebook_bar
from nnpipe.simulation.calculator import load_calculator
from nnpipe.simulation.md import write_trajectory
from nnpipe.simulation.settings import Settings
from nnpipe.structures.load import load_structure

SHORT = {"length_ps": 0.01, "frame_fs": 2.0}


@pytest.fixture(scope="module")
def shipped():
    return load_calculator("gnn", device="cpu")


def positions(frames):
    return np.array([frame.positions for frame in frames])


def test_simulate_returns_the_trajectory_that_is_written(tmp_path):
    """Of a SMILES with the shipped model, bit for bit; without a path, no file is kept."""
    path, start = tmp_path / "run.xyz", load_structure("CCO", seed=3)
    settings = Settings(temperature_k=200, seed=3, **SHORT)
    (summary,) = write_trajectory(start, load_calculator("gnn"), settings, path, "gnn", ["CCO"])
    run = simulate("CCO", temperature_k=200, seed=3, **SHORT)
    known = read(path, ":", format="extxyz")
    assert len(run.frames) == len(known) == 6
    for frame, other in zip(run.frames, known, strict=True):
        np.testing.assert_array_equal(frame.positions, other.positions)
        np.testing.assert_array_equal(frame.get_forces(), other.get_forces())
        assert frame.get_potential_energy() == other.get_potential_energy()
        assert frame.info == other.info
    assert positions(run.frames).std(0).max() > 1e-3  # the molecule moves
    assert run.summary.model == "gnn"
    assert run.summary.molecule == "CCO"
    times = {"ms_per_step": 0, "cpu_share": 0}
    assert repr(replace(run.summary, **times)) == repr(replace(summary, **times))  # nan is not nan
    assert run.path is None


def test_simulate_takes_smiles_files_atoms_and_names(tmp_path, shipped):
    path = tmp_path / "water.xyz"
    write(path, molecule("H2O"))
    ethanol, ether = molecule("CH3CH2OH"), molecule("CH3OCH3")
    before = ethanol.positions.copy()
    run = simulate(["CO", path, ethanol, ether], shipped, **SHORT)
    names = ["CO", "water", "C2H6O", "C2H6O (4)"]
    assert [one.molecule for one in run.summaries] == names
    assert [one.replica for one in run.summaries] == [0, 0, 0, 0]
    parts = run.systems()
    assert [len(part.frames[0]) for part in parts] == [6, 3, 9, 9]
    assert [part.summary for part in parts] == run.summaries
    assert sum(len(part.frames) for part in parts) == len(run.frames)
    np.testing.assert_array_equal(ethanol.positions, before)
    assert ethanol.calc is None
    named = simulate({"ether": ether, "water": str(path)}, shipped, **SHORT)
    assert [one.molecule for one in named.summaries] == ["ether", "water"]
    with pytest.raises(InputError, match=r"2 systems; take summaries"):
        named.summary  # noqa: B018


def test_simulate_runs_replicas_and_accepts_a_settings_object(tmp_path, shipped):
    """The former arguments of write_trajectory, which the documentation had, are accepted."""
    path, water = tmp_path / "run.xyz", molecule("H2O")
    run = simulate([water] * 2, shipped, Settings(**SHORT), path)
    assert run.path == path
    np.testing.assert_array_equal(positions(run.frames), positions(read(path, ":")))
    assert [one.replica for one in run.summaries] == [0, 1]
    again = simulate(water, shipped, Settings(**SHORT), replicas=2)
    np.testing.assert_array_equal(positions(run.frames), positions(again.frames))
    first, second = run.systems()
    assert np.abs(positions(first.frames) - positions(second.frames)).max() > 1e-3


def test_simulate_goes_on_from_a_checkpoint(tmp_path, shipped):
    known = {"frame_fs": 2.0, "checkpoint": tmp_path / "run.safetensors"}
    simulate("O", shipped, length_ps=0.01, **known)
    longer = simulate("O", shipped, length_ps=0.02, **known)
    whole = simulate("O", shipped, length_ps=0.02, frame_fs=2.0)
    np.testing.assert_array_equal(positions(longer.frames), positions(whole.frames))
    assert not list(tmp_path.glob("*.xyz.part"))


def test_simulate_leaves_the_threads_of_torch_alone(two_threads, shipped):
    simulate("O", shipped, **SHORT)
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(
    ("molecule", "arguments", "message"),
    [
        ("CCO", {"temprature_k": 300}, "temprature_k: not a setting .* 'temperature_k'"),
        ("CCO", {"replica": 3}, "replica: not a setting .* 'replicas'"),
        ("CCO", {"length_ps": -1}, "length_ps: -1 is not above"),
        ("CCO", {"settings": {"length_ps": 1}}, "settings: dict is not Settings"),
        ("CCO", {"replicas": 0}, "replicas: 0 is below"),
        ("CCO", {"path": "."}, "path: . is a folder; give a file"),
        ("CCO", {"model": "gn"}, "gn: no such folder"),
        ("CCO", {"timestep_fs": 2.0}, "timestep_fs 2.0 is not in"),
        ("CCX", {}, "'CCX' does not parse"),
        ("water.xyz", {}, "water.xyz: no such structure file"),
        (7, {}, "molecule: int is not a SMILES"),
        ([], {}, "a list of at least one"),
        ({"bromide": "CBr"}, {}, "bromide: element Br is not in the training set"),
    ],
)
def test_simulate_refuses_in_one_line(molecule, arguments, message):
    with pytest.raises(InputError, match=message) as error:
        simulate(molecule, **{"length_ps": 0.01} | arguments)
    assert "\n" not in str(error.value)


def test_simulate_refuses_options_of_a_calculator_that_is_there(shipped):
    with pytest.raises(InputError, match="dtype: a calculator keeps its parameters"):
        simulate("CCO", shipped, dtype="float64")


def test_simulate_shows_every_setting_in_its_signature():
    """Which a notebook prints and completes."""
    shown = inspect.signature(simulate).parameters
    for field in fields(Settings):
        assert shown[field.name].default == getattr(Settings(), field.name)


def test_run_spectrum_has_the_frequencies_of_the_bonds(shipped):
    """Of HCN, whose fundamentals are 712, 2097 and 3311 cm^-1; NIST, harmonic ones are higher."""
    run = simulate("C#N", shipped, length_ps=0.4, timestep_fs=1.0, ensemble="nve")
    spectrum = run.spectrum()
    wavenumber, density = spectrum["wavenumber_cm1"], spectrum["density_cm"]
    assert np.trapezoid(density, wavenumber) == pytest.approx(1)
    stretch = density.where(wavenumber > 2700).idxmax()
    assert 3250 < wavenumber[stretch] < 3550
    assert density[stretch] > 20 * density[(wavenumber > 2500) & (wavenumber < 3000)].median()
    with pytest.raises(InputError, match="2 systems"):
        simulate(["C#N", "O"], shipped, **SHORT).spectrum()


class Tags(HTMLParser):
    """The tags, addresses and text of HTML; a tag must be closed in the right order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.seen, self.addresses, self.text = [], [], [], ""
        self.frames = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.seen.append(tag)
        if tag not in ("meta", "br", "input", "link", "img"):
            self.open.append(tag)
        for name, value in attributes:
            if name in ("src", "href"):
                self.addresses.append(value)
            if name == "srcdoc":
                self.frames.append(value)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_run_is_html_that_needs_nothing_else(shipped):
    run = simulate(["CCO", "O"], shipped, ensemble="nve", **SHORT)
    shown = Tags(run._repr_html_())
    assert shown.seen.count("tr") == 3
    for text in ("CCO", "energy drift", "0.01 of 0.01 ps", "complete"):
        assert text in shown.text
    (frame,) = shown.frames
    player = Tags(frame)
    assert "script" in player.seen
    assert not [one for one in shown.addresses + player.addresses if not one.startswith("#")]


def test_run_text_says_what_was_run(shipped):
    text = repr(simulate("CCO", shipped, replicas=2, **SHORT))
    assert text.splitlines()[0] == "Run of 12 frames"
    assert "CCO, replica 1" in text.splitlines()[2]


def test_run_escapes_names(shipped):
    run = simulate({"<b>x</b>": "O"}, shipped, **SHORT)
    assert "<b>" not in run._repr_html_()


def test_view_shows_atoms_frames_runs_and_files(tmp_path, shipped):
    run = simulate("O", shipped, path=tmp_path / "run.xyz", **SHORT)
    for what in (run, run.frames, run.path, str(run.path)):
        assert len(view(what).frames) == len(run.frames)
    one = view(molecule("H2O"), title="water")
    assert "View of H2O" in repr(one)
    assert Tags(one._repr_html_()).frames
    one.save(tmp_path / "water.html")
    assert "water" in Tags((tmp_path / "water.html").read_text()).text
    for what, message in (
        ("nothing.xyz", "nothing.xyz: not readable"),
        (5, "view: int is not Atoms"),
        ([molecule("H2O"), molecule("CH4")], "not of one system"),
        ([], "at least one frame"),
    ):
        with pytest.raises(InputError, match=message):
            view(what)


def test_progress_in_a_notebook_disappears(monkeypatch):
    """Elsewhere it is a bar on a terminal or lines of a log."""
    about = {"total": 1.0, "unit": "ps", "label": "gnn CCO", "initial": 0.5}
    with notebook_bar(**about) as bar:
        assert bar.leave
    kernel = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: kernel))
    with notebook_bar(**about) as bar:
        assert not bar.leave
        assert bar.n == 0.5


def test_view_needs_no_torch():
    """As a notebook that only looks at frames starts at once."""
    program = "import sys; from nnpipe import view; print('torch' in sys.modules)"
    environment = {"PYTHONPATH": str(ROOT / "workflow/scripts")}
    done = subprocess.check_output([sys.executable, "-c", program], env=environment)
    assert done == b"False\n"
