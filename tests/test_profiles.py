"""Energy profiles off the minimum: their DFT geometries, errors and figure."""

import re
from itertools import pairwise

import numpy as np
import pytest
from ase import Atoms
from ase.io import read
from rdkit.Chem import rdmolops

from helpers import ROOT
from nnpipe.analysis.profiles import PROFILES, profile_curves, profile_errors
from nnpipe.labelling.tight_binding import gfn2
from nnpipe.structures.bonds import bond_matrix
from nnpipe.structures.smiles import parse_smiles
from nnpipe.units import ENERGY

KCAL = ENERGY["kcal/mol"]


@pytest.fixture(scope="module")
def frames() -> list[Atoms]:
    return read(ROOT / "resources/profiles.xyz", ":")


def of(frames: list[Atoms], kind: str, molecule: str) -> list[Atoms]:
    """The frames of a profile, in the order of its coordinate."""
    wanted = (kind, molecule)
    found = [f for f in frames if (f.info["profile"], f.info["molecule"]) == wanted]
    return sorted(found, key=lambda frame: frame.info["at"])


def coordinate(frame: Atoms) -> float:
    """The length (Å) or dihedral (degrees) that a profile changes."""
    places = [int(n) for n in re.findall(r"\d+", frame.info["coordinate"])]
    return frame.get_distance(*places) if len(places) == 2 else frame.get_dihedral(*places)


def test_geometries_are_the_molecules_at_the_stated_coordinates(frames):
    starts = {}
    for frame in frames:
        info = frame.info
        (known,) = parse_smiles(info["smiles"])
        assert [atom.GetAtomicNum() for atom in known.GetAtoms()] == frame.numbers.tolist()
        name = info["profile"], info["molecule"]
        if info["profile"] == "stretch":
            if info["at"] == 0:
                starts[name] = coordinate(frame)
        else:
            bonded = rdmolops.GetAdjacencyMatrix(known) > 0
            assert (bond_matrix(frame.numbers, frame.positions) == bonded).all()
            if info["profile"] != "conformers":
                turn = (coordinate(frame) - info["at"] + 180) % 360 - 180
                assert turn == pytest.approx(0, abs=0.01)
    for frame in frames:
        if start := starts.get((frame.info["profile"], frame.info["molecule"])):
            assert coordinate(frame) - start == pytest.approx(frame.info["at"], abs=1e-5)


def test_reference_forces_are_the_slope_of_the_reference_energies(frames):
    """Along a stretched bond, by the trapezoidal rule."""
    for molecule in ("methane", "methanol", "hydrazine"):
        path = of(frames, "stretch", molecule)
        for before, after in pairwise(path[2:7]):
            step = after.positions - before.positions
            work = -0.5 * ((before.get_forces() + after.get_forces()) * step).sum()
            rise = after.get_potential_energy() - before.get_potential_energy()
            assert work == pytest.approx(rise, abs=0.03)
            assert abs(rise) > 0.05


def test_stored_energies_of_gfn2(frames):
    for frame in (frames[0], of(frames, "inversion", "methylamine")[3]):
        energy, _ = gfn2(frame.numbers)(frame.positions)
        assert frame.info["gfn2_energy"] == pytest.approx(energy, abs=1e-4)


def test_barriers_of_inversion_agree_with_experiment(frames):
    """5.8 kcal/mol of ammonia, 4.8 of methylamine."""
    table = profile_errors(frames, {"B3LYP": [frame.get_potential_energy() for frame in frames]})
    heights = table.set_index(["profile", "molecule"])["reference_height_kcal_mol"]
    assert heights["inversion", "ammonia"] == pytest.approx(5.8, abs=0.8)
    assert heights["inversion", "methylamine"] == pytest.approx(4.8, abs=0.8)
    assert heights["inversion", "ammonia"] > heights["inversion", "methylamine"]
    assert table[["mae_kcal_mol", "max_kcal_mol"]].eq(0).all(axis=None)


def test_errors_are_relative_to_the_lowest_reference_energy(frames):
    path = of(frames, "stretch", "methane")
    known = np.array([frame.get_potential_energy() for frame in path])
    changed = known + 7.0  # any constant
    changed[-1] += 11 * KCAL  # stretched by 1.5 Å
    changed[path.index(next(f for f in path if f.info["at"] == 0.1))] -= 1 * KCAL
    order = np.random.default_rng(0).permutation(len(path))
    table = profile_errors([path[n] for n in order], {"m": changed[order]})
    assert list(table.columns) == PROFILES
    (row,) = table.to_dict("records")
    assert (row["profile"], row["molecule"], row["n_points"]) == ("stretch", "methane", len(path))
    assert row["mae_kcal_mol"] == pytest.approx(12 / (len(path) - 1))
    assert row["near_mae_kcal_mol"] == pytest.approx(1 / 7)
    assert row["max_kcal_mol"] == pytest.approx(11)
    assert row["height_kcal_mol"] - row["reference_height_kcal_mol"] == pytest.approx(11)
    turned = of(frames, "inversion", "ammonia")
    (row,) = profile_errors(turned, {"m": np.zeros(len(turned))}).to_dict("records")
    assert np.isnan(row["near_mae_kcal_mol"])
    assert row["height_kcal_mol"] == 0
    assert profile_errors(turned[:1], {"m": [0.0]}).empty  # one point


def test_figure_has_a_panel_with_units_for_each_profile(frames):
    shown = of(frames, "inversion", "methylamine") + of(frames, "stretch", "methane")
    conformers = [frame.copy() for frame in shown[:4]]
    for frame, known in zip(conformers, shown, strict=False):
        frame.info["profile"], frame.calc = "conformers", known.calc
    shown = conformers + shown
    energies = [frame.info["gfn2_energy"] for frame in shown]
    figure = profile_curves(shown, {"GFN2-xTB": energies, "gnn": energies})
    turned, stretched, parity = (axis for axis in figure.axes if axis.axison)
    assert turned.get_xlabel() == "inversion C–H–H–N (°)"
    assert (stretched.get_title("left"), stretched.get_xlabel()) == ("methane", "stretch C–H (Å)")
    assert parity.get_xlabel() == "conformers, B3LYP (kcal/mol)"
    for axis in (turned, stretched):
        drawn = {line.get_label(): line.get_ydata() for line in axis.get_lines()}
        assert set(drawn) == {"GFN2-xTB", "AtomGNN", "B3LYP"}
        assert min(drawn["B3LYP"]) == 0
        low, high = axis.get_ylim()
        assert low < 0 < max(drawn["B3LYP"]) < high
    assert "energy (kcal/mol)" in figure.get_supylabel()
