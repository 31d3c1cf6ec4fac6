"""Refitted tight binding: what a refit finds, dimers, its file, the shipped one; and fast DFT."""

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import read
from ase.units import kcal, mol
from scipy.optimize import minimize

from nnpipe.errors import InputError
from nnpipe.labelling import kohn_sham
from nnpipe.labelling.anchor import anchored
from nnpipe.labelling.correction import Correction, no_correction
from nnpipe.labelling.kohn_sham import dft
from nnpipe.labelling.refit import (
    DISTANCES,
    Geometry,
    Refit,
    anchor_matrix,
    anchored_rows,
    free_parameters,
    geometries,
    moved,
    s22x5,
    start,
    steps_of,
)
from nnpipe.labelling.table import label_forces
from nnpipe.labelling.tight_binding import (
    gfn2,
    read_parameters,
    refitted,
    tight_binding,
    write_parameters,
)
from nnpipe.structures.smiles import from_smiles

RESOURCES = Path(__file__).parents[1] / "resources"
SHIPPED, FRAMES = RESOURCES / "teacher/tight_binding.toml", RESOURCES / "dft_frames.xyz"


def bent(pos: np.ndarray, scale: float = 0.05, seed: int = 0) -> np.ndarray:
    return pos + np.random.default_rng(seed).normal(scale=scale, size=pos.shape)


def row_of(method, z: np.ndarray, pos: np.ndarray) -> np.ndarray:
    """Energy and forces as a row (1 + 3N), eV and eV/Å."""
    energy, forces = method(z)(pos)
    return np.array([energy, *forces.ravel()])


def test_without_steps_refitted_tight_binding_is_gfn2():
    """The written factors of pairs and of s and p shells change nothing."""
    atoms = from_smiles("NC(=O)CF")
    assert set(atoms.numbers) == {1, 6, 7, 8, 9}
    same, plain = (
        row_of(method, atoms.numbers, bent(atoms.positions))
        for method in (tight_binding(start()), gfn2)
    )
    np.testing.assert_allclose(same, plain, atol=1e-6)
    parameters = free_parameters(start())
    one = moved(start(), parameters, np.full(len(parameters), 0.1))
    other = row_of(tight_binding(one), atoms.numbers, bent(atoms.positions))
    assert np.abs(other - plain).max() > 0.1


def relaxed(method, z: np.ndarray, pos: np.ndarray) -> np.ndarray:
    function = method(z)

    def value(flat: np.ndarray):
        energy, forces = function(flat.reshape(pos.shape))
        return energy, -forces.ravel()

    return minimize(value, pos.ravel(), jac=True, options={"gtol": 1e-4}).x.reshape(pos.shape)


def test_a_refit_finds_the_parameters_that_made_its_data(molecules):
    """Frames with absurd forces are held out, or left out as their field does not converge."""
    steps = {
        ("hamiltonian", "xtb", "kpair", "H-C"): 2.0, ("hamiltonian", "xtb", "kpair", "C-O"): -1.5,
        ("element", "O", "arep"): 1.0, ("element", "H", "gam"): -1.0,
    }  # fmt: skip
    free = [parameter for parameter in free_parameters(start()) if parameter.path in steps]
    expected = np.array([steps[parameter.path] for parameter in free])
    truth = tight_binding(moved(start(), free, expected))
    found = []
    for row in (2, 5, 7):  # water, formaldehyde, methanol
        z, guess = molecules.geometry(row)[1:]
        minimum, place = relaxed(truth, z, guess), len(found)
        energy = row_of(truth, z, minimum)[0]
        found.append(Geometry(z, minimum, np.zeros_like(minimum), energy, place))
        for seed in range(2):
            pos = bent(minimum, 0.08, seed)
            row = row_of(truth, z, pos)
            found.append(Geometry(z, pos, row[1:].reshape(-1, 3), row[0] - energy, place))
    for pos in (bent(minimum), 3 * minimum):
        found.append(Geometry(z, pos, np.full_like(minimum, 99.0), 99.0, place))
    refit = Refit(found, free, prior=1e-6, held_out={len(found) - 2})
    losses = list(refit.run(rounds=2, trials=8, cores=1))
    assert refit.rows[-1] is None
    assert all(rows is not None for rows in refit.rows[:-1])
    assert losses[1] <= losses[0] < 1e-3
    np.testing.assert_allclose(refit.x, expected, atol=0.02)
    np.testing.assert_allclose(steps_of(moved(start(), free, expected), free), expected)


def test_a_refit_needs_the_molecules_of_its_frames(molecules):
    frames = read(FRAMES, ":3")
    frames[0].info["qm9"] = 133_000
    with pytest.raises(InputError, match=r"fit needs all of QM9; molecule 133000 .* give a file"):
        geometries(frames, molecules)


def test_the_anchor_of_the_refit_is_the_anchor_of_labels(molecules):
    """For energies, forces and, as all is linear, their derivatives."""
    z, minimum = molecules.geometry(30)[1:]
    pos, methods = bent(minimum), (gfn2, refitted(SHIPPED))
    there, here = (np.array([row_of(m, z, p) for m in methods]) for p in (minimum, pos))
    for rows in (there, here):
        rows[1] -= rows[0]
    found = anchored_rows(here, there, anchor_matrix(minimum, pos))
    expected = []
    for method in methods:
        function = anchored(method(z), minimum)
        energy, forces = function(pos)
        expected.append([energy - function(minimum)[0], *forces.ravel()])
    expected[1] = np.subtract(expected[1], expected[0])
    np.testing.assert_allclose(found, expected, atol=1e-3)  # of the self-consistent field
    assert np.abs(found - here).max() > 0.1


def test_dimers_are_bound_as_by_coupled_cluster():
    """GFN2-xTB agrees within 2 kcal/mol with S22x5, and within 4 kcal/mol at 0.9 distances."""
    parts, dimers = s22x5(7)
    assert len(dimers) == 3 * 22
    energies = [row_of(gfn2, part.z, part.pos)[0] for part in parts]
    for number, dimer in enumerate(dimers):
        whole, *monomers = (place - 7 for place in dimer.places)
        atoms = np.concatenate([parts[place].z for place in monomers])
        np.testing.assert_array_equal(parts[whole].z, atoms)
        found = energies[whole] - sum(energies[place] for place in monomers)
        limit = 4 if DISTANCES[number % len(DISTANCES)] < 1 else 2
        assert found == pytest.approx(dimer.energy, abs=limit * kcal / mol)
    assert len({dimer.places[1:] for dimer in dimers}) == 22
    for bound in (dimers[:3], dimers[3:6]):  # ammonia, water: hydrogen bonds
        assert len({dimer.places[1:] for dimer in bound}) == 1
        close, best, far = (dimer.energy for dimer in bound)
        assert best < min(close, far) < 0
    assert best == pytest.approx(-5.0 * kcal / mol, abs=0.1 * kcal / mol)


def test_the_file_of_parameters_keeps_its_energies(tmp_path):
    atoms, parameters = from_smiles("OCC#N"), free_parameters(start())
    table = moved(start(), parameters, np.random.default_rng(0).normal(size=len(parameters)))
    write_parameters(table, {"frames": 3}, tmp_path / "t.toml")
    assert read_parameters(tmp_path / "t.toml") == table | {"provenance": {"frames": 3}}
    one, other = (
        row_of(method, atoms.numbers, atoms.positions)
        for method in (tight_binding(table), refitted(tmp_path / "t.toml"))
    )
    np.testing.assert_array_equal(one, other)


DAMAGES = [
    (lambda text: text[: len(text) // 2 + 3], ""),
    (lambda text: text.replace("[repulsion.", "[repulse."), "no table [repulsion]"),
    (lambda text: text.replace("[element.F]", "[element.Cl]"), "no table [element.F]"),
    (None, "No such file"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGES)
def test_a_damaged_file_of_parameters_is_refused_in_one_line(tmp_path, damage, message):
    path = tmp_path / "t.toml"
    if damage:
        path.write_text(damage(SHIPPED.read_text()))
    with pytest.raises(InputError) as caught:
        refitted(path)
    line = str(caught.value)
    assert line.startswith(f"labels.teacher: {path}: ")
    assert message in line
    assert line.endswith("correct the file, or write fit to fit it again")
    assert "\n" not in line


def test_refitted_tight_binding_is_better_than_gfn2_on_other_molecules():
    """Forces of molecules that its fit has not seen, without anchor and correction."""
    chosen = {}
    for frame in read(RESOURCES / "forces.xyz", ":"):
        if frame.info["reference"] == "QM9, 500 K":
            chosen.setdefault(frame.info["qm9"], frame)
    frames = list(chosen.values())[::6]
    fitted = {frame.info["qm9"] for frame in read(FRAMES, ":") if "qm9" in frame.info}
    assert not fitted & chosen.keys()
    assert len(frames) >= 12
    method = refitted(SHIPPED)
    found, plain = [], []
    for frame in frames:
        reference = frame.get_forces()
        found.append(np.abs(method(frame.numbers)(frame.positions)[1] - reference).ravel())
        plain.append(np.abs(frame.arrays["gfn2_forces"] - reference).ravel())
    assert np.concatenate(found).mean() < 0.7 * np.concatenate(plain).mean()


def test_geometries_of_a_refit_are_minima_and_frames(molecules):
    """Energies of frames are above the minimum, and the minimum of a molecule comes once.

    Frames of molecules that QM9 lacks are left out.
    """
    frames = read(FRAMES, ":")
    known = [frame for frame in frames if frame.info.get("qm9") in molecules.index]
    others = [frame for frame in frames if "qm9" not in frame.info]
    assert known
    assert others
    found = geometries([*others, *known], molecules, shift=7)
    minima = [n for n, one in enumerate(found) if one.minimum == n + 7]
    assert minima == list(range(len({frame.info["qm9"] for frame in known})))
    for frame, one in zip(known, found[len(minima) :], strict=True):
        np.testing.assert_array_equal(one.forces, frame.get_forces())
        assert 0 < one.energy < 5
        assert found[one.minimum - 7].z.tolist() == frame.numbers.tolist()


def test_forces_of_labels_are_anchored_where_the_minimum_is_known(molecules):
    index, z, minimum = molecules.geometry(40)
    pos = bent(minimum)
    correction = Correction(no_correction().constants + 0.5)
    frames = [
        Atoms(z, where, info=info)
        for where in (minimum, pos)
        for info in ({"qm9": index}, {"smiles": "C"}, {"qm9": 130_000})  # another data set
    ]
    forces = label_forces(frames, molecules, gfn2, correction)
    at_minimum, bare_there, unknown_there, off, bare, unknown = forces
    np.testing.assert_allclose(at_minimum, 0, atol=1e-4)
    assert np.abs(bare_there).max() > 0.05
    np.testing.assert_allclose(unknown_there, bare_there, atol=1e-5)
    np.testing.assert_allclose([bare, unknown], 2 * [gfn2(z)(pos)[1]], atol=1e-5)
    function = anchored(gfn2(z), minimum, correction(z, minimum))
    np.testing.assert_allclose(off, function(pos)[1], atol=1e-4)
    uncorrected = label_forces(frames[3:4], molecules, gfn2, None)[0]
    np.testing.assert_allclose(uncorrected, bare, atol=1e-5)


def test_fast_dft_has_the_gradient_and_the_forces_of_exact_dft(molecules, monkeypatch):
    """Water off its minimum, also if the values of its basis functions are not stored."""
    z, minimum = molecules.geometry(2)[1:]
    assert z.tolist() == [8, 1, 1]
    pos = bent(minimum)
    function = dft(z, fast=True)
    _, forces = function(pos)
    assert np.abs(forces).max() > 0.5
    for place in ((0, 1), (1, 1)):
        shift = np.zeros_like(pos)
        shift[place] = 1e-3
        slope = (function(pos - shift)[0] - function(pos + shift)[0]) / 2e-3
        assert forces[place] == pytest.approx(slope, abs=0.002)
    np.testing.assert_allclose(dft(z)(pos)[1], forces, atol=0.003)
    calls = []
    values = kohn_sham.Functional.values
    monkeypatch.setattr(kohn_sham, "STORED_VALUES", 1)
    monkeypatch.setattr(
        kohn_sham.Functional, "values", lambda *given: calls.append(given) or values(*given)
    )
    np.testing.assert_allclose(dft(z, fast=True)(pos)[1], forces, atol=2e-5)
    assert len(calls) > 10  # at least twice per cycle
