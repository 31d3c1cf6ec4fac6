"""The data of a player, the page around it, and the JavaScript libraries that it brings along."""

import hashlib
import html
import json
import re

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator

from nnpipe.errors import InputError
from nnpipe.structures.bonds import bond_lengths, bonded_pairs
from nnpipe.structures.smiles import from_smiles
from nnpipe.viewer import vendor
from nnpipe.viewer.player import fragment, modes_data, page, player, structure_data, trajectory_data
from nnpipe.viewer.trajectory import decode, encode


def trajectory(smiles: str = "CCO", count: int = 30, replica: int = 0) -> list[Atoms]:
    """Frames as dynamics writes them, of a molecule that trembles and tumbles."""
    start, rng, frames = from_smiles(smiles), np.random.default_rng(replica), []
    for number in range(count):
        frame = start.copy()
        frame.positions += 0.05 * rng.normal(size=frame.positions.shape)
        frame.rotate(11 * number, (1, 2, 3))
        frame.positions += number
        frame.arrays["forces_uncertainty"] = rng.random(len(frame))
        frame.info |= {
            "replica": replica, "time_fs": 4.0 * number, "temperature_k": 300 + number,
            "total_energy": -4000.0 + 0.01 * number, "max_bond_deviation_a": 0.01 * number,
        }  # fmt: skip
        forces = rng.normal(size=frame.positions.shape)
        frame.calc = SinglePointCalculator(frame, energy=-4001.0 - number, forces=forces)
        frames.append(frame)
    return frames


def test_distances_survive_rounding_and_superposition() -> None:
    frames = trajectory()
    positions = decode(trajectory_data(frames)["positions"])
    for frame, shown in zip(frames, positions, strict=True):
        found = Atoms(frame.numbers, shown).get_all_distances()
        np.testing.assert_allclose(found, frame.get_all_distances(), atol=0.002)


def test_superposition_keeps_hands_and_stills_the_molecule() -> None:
    frames = trajectory("C[C@H](O)F")
    positions = decode(trajectory_data(frames)["positions"])
    turned = decode(trajectory_data(frames, superpose=False)["positions"])
    carbon = slice(0, 4)

    def handedness(one: np.ndarray) -> np.ndarray:
        vectors = one[:, 1:4] - one[:, :1]
        return np.sign(np.linalg.det(vectors))

    assert (handedness(positions) == handedness(turned)).all()
    assert positions[:, carbon].std(0).max() < 0.2 < turned[:, carbon].std(0).max()


def test_molecules_of_a_periodic_system_are_whole_and_do_not_jump() -> None:
    water = molecule("H2O", cell=[6.0, 7.0, 8.0], pbc=True)
    water.set_cell([[6.0, 0, 0], [1.0, 7.0, 0], [0, 0.5, 8.0]])
    frames = []
    for number in range(25):
        frame = water.copy()
        frame.positions += [0.5 * number, 0.3 * number, 0.0]
        frame.wrap()
        frame.info["time_fs"] = float(number)
        frames.append(frame)
    data = trajectory_data(frames)
    positions = decode(data["positions"])
    np.testing.assert_allclose(np.diff(positions, axis=0), [[[0.5, 0.3, 0]] * 3] * 24, atol=0.002)
    for a, b in data["bonds"]:
        lengths = np.linalg.norm(positions[:, a] - positions[:, b], axis=1)
        np.testing.assert_allclose(lengths, water.get_distance(a, b), atol=0.002)
    assert len(data["bonds"]) == 2
    assert np.allclose(data["cell"], water.cell.array)


def test_a_bond_across_the_cell_that_no_move_can_close_is_not_drawn() -> None:
    chain = Atoms("C4", [[1.5 * x, 0, 0] for x in range(4)], cell=[6, 8, 8], pbc=True)
    assert len(bonded_pairs(chain)) == 4
    assert len(structure_data(chain)["bonds"]) == 3


@pytest.mark.parametrize(("count", "most"), [(30, 7), (30, 30), (30, 100), (3, 1), (1, 5)])
def test_thinning_keeps_first_and_last(count: int, most: int) -> None:
    data = trajectory_data(trajectory(count=count), max_frames=most)
    shown = data["shown"]
    assert (shown[0], shown[-1]) == (0, count - 1)
    assert len(shown) == min(count, max(most, 2))
    assert decode(data["positions"]).shape[0] == len(shown)
    if count > 1:
        points = decode(data["traces"]["times"])
        assert len(points) == count  # all frames have a point in the traces
        np.testing.assert_allclose(points[data["traces"]["shown"]], decode(data["times"]))


def test_colours_and_traces_have_the_values_of_the_frames() -> None:
    frames = trajectory(count=9)
    data = trajectory_data(frames)
    colours = {name: decode(one["values"]) for name, one in data["colours"].items()}
    forces = np.array([np.linalg.norm(frame.get_forces(), axis=1) for frame in frames])
    np.testing.assert_allclose(colours["force"], forces, atol=forces.max() / 1000)
    given = np.array([frame.arrays["forces_uncertainty"] for frame in frames])
    np.testing.assert_allclose(colours["uncertainty"], 1000 * given, atol=1)
    assert data["colours"]["uncertainty"]["unit"] == "meV/Å"
    bonds = bonded_pairs(frames[0])
    change = np.abs(bond_lengths(frames[5], bonds) - bond_lengths(frames[0], bonds))
    assert colours["bond_deviation"][5].max() == pytest.approx(change.max(), abs=0.002)
    traces = {name: decode(one["values"]) for name, one in data["traces"]["quantities"].items()}
    np.testing.assert_allclose(traces["potential_energy"], -np.arange(9.0), atol=1e-6)
    np.testing.assert_allclose(traces["total_energy"], 1 + 0.01 * np.arange(9), atol=1e-6)
    np.testing.assert_allclose(traces["temperature"], 300 + np.arange(9))


def test_frames_without_quantities_show_none() -> None:
    frames = trajectory(count=4)
    bare = [Atoms(frame.numbers, frame.positions) for frame in frames]
    data = trajectory_data(bare)
    assert set(data["colours"]) == {"bond_deviation"}
    assert data["times"] is None
    assert data["traces"] is None
    assert not structure_data(bare[0])["colours"]


def test_one_replica_is_shown() -> None:
    both = [one for pair in zip(trajectory(), trajectory(replica=1), strict=True) for one in pair]
    assert trajectory_data(both)["positions"] == trajectory_data(trajectory())["positions"]
    second = trajectory_data(both, replica=1)
    assert second["positions"] == trajectory_data(trajectory(replica=1))["positions"]
    with pytest.raises(InputError, match="replica 2"):
        trajectory_data(both, replica=2)


def test_frames_of_two_molecules_are_refused() -> None:
    with pytest.raises(InputError, match="not of one system"):
        trajectory_data([molecule("H2O"), molecule("CH4")])


def test_modes_keep_their_displacements() -> None:
    water, rng = molecule("H2O"), np.random.default_rng(0)
    frames = [water.copy() for _ in range(3)]
    for frame in frames:
        frame.arrays["displacement"] = rng.uniform(-1, 1, (3, 3))
    found = decode(modes_data(frames)["modes"])
    np.testing.assert_allclose(
        found, [frame.arrays["displacement"] for frame in frames], atol=0.0005
    )


@pytest.mark.parametrize("step", [None, 0.001])
def test_missing_values_stay_missing(step: float | None) -> None:
    values = np.array([[1.5, np.nan], [-40.25, np.inf]])
    found = decode(encode(values, step))
    np.testing.assert_allclose(found, [[1.5, np.nan], [-40.25, np.nan]], atol=0.001)


def test_a_title_or_a_missing_value_cannot_break_the_page() -> None:
    data = structure_data(molecule("H2O"), title="</script><script>alert(1)</script>")
    data["note"] = float("nan")
    made = player(data)
    assert made.count("</script>") == 1
    held = json.loads(re.search(r'json">(.*)</script>', made).group(1))  # NaN would be read, too
    assert held["data"]["title"] == data["title"]
    assert held["data"]["note"] is None


def test_a_page_fetches_nothing() -> None:
    made = page(player(trajectory_data(trajectory(count=5))), "A & B")
    assert "<title>A &amp; B</title>" in made
    assert not re.search(
        r"<(link|img|iframe)\b|<script[^>]*\bsrc\b|@import|url\(", without_libraries(made)
    )
    assert "default-src 'none'" in made
    assert "$3Dmol" in made
    assert "plotly.js (basic" in made


def without_libraries(text: str) -> str:
    for library in vendor.libraries():
        text = text.replace(vendor.script(library.name), "")
    return text


def test_a_fragment_is_one_element_and_leaves_out_plots_of_nothing() -> None:
    whole, single = fragment(trajectory(count=5), title="A"), fragment(molecule("H2O"))
    for made in (whole, single):
        assert made.startswith("<iframe")
        assert made.endswith("</iframe>")
        inner = html.unescape(re.search(r'srcdoc="([^"]*)"', made).group(1))
        assert 'class="nnpipe-player"' in inner
    assert len(single) < 300_000 < len(whole) < 1_200_000


def test_libraries_are_those_of_the_manifest() -> None:
    files = {"manifest.json"}
    for library in vendor.libraries():
        assert library.integrity.startswith("sha512-")
        assert any("LICENSE" in name for name in library.sha256)
        assert set(library.files.values()) == set(library.sha256)
        for name, digest in library.sha256.items():
            found = hashlib.sha256((vendor.VENDOR / name).read_bytes()).hexdigest()
            assert found == digest, name
            files.add(name)
    assert files == {path.name for path in vendor.VENDOR.iterdir()}
