"""The network of the teacher: its training, its forces, what it does to labels, its files."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.data import atomic_masses
from ase.io import read, write
from scipy.spatial.transform import Rotation

from conftest import failing, potential_of
from nnpipe.data import store
from nnpipe.data.molecules import read_molecules
from nnpipe.errors import InputError
from nnpipe.labelling.anchor import anchored
from nnpipe.labelling.chunks import write_chunk
from nnpipe.labelling.correction import (
    Correction,
    fit_force_constants,
    no_correction,
    reference_hessians,
)
from nnpipe.labelling.delta import EVALUATION_ATOMS, delta_forces, load_delta, with_delta
from nnpipe.labelling.delta_training import SETTINGS, differences, minima, train_delta
from nnpipe.labelling.kohn_sham import dft
from nnpipe.labelling.methods import method
from nnpipe.labelling.near_minima import hessian_of_frequencies, near_minima
from nnpipe.labelling.settings import Settings
from nnpipe.labelling.table import FIRST_OTHER, read_frames, read_tiny_molecules, write_labels
from nnpipe.labelling.tight_binding import gfn2, refitted
from nnpipe.models.potential import Potential
from nnpipe.structures.smiles import from_smiles
from nnpipe.structures.vibrations import normal_modes
from nnpipe.training.settings import Stage
from nnpipe.units import FREQUENCY

RESOURCES = Path(__file__).parents[1] / "resources"
FRAMES, TINY = RESOURCES / "dft_frames.xyz", RESOURCES / "tiny_molecules.xyz"
PARAMETERS = RESOURCES / "teacher/tight_binding.toml"
EVERY = {1, 6, 7, 8, 9}  # elements


@pytest.fixture(scope="module")
def delta() -> Potential:
    """An untrained network with forces of about 1 eV/Å."""
    return potential_of("gnn")


@pytest.fixture(scope="module")
def frames() -> list[Atoms]:
    """Frames of molecules of C, H and O with at least four geometries, which follow each other."""
    chosen: dict[str, list[Atoms]] = {}
    for frame in read(FRAMES, ":"):
        if len(frame) < 14 and set(frame.numbers) <= {1, 6, 8}:
            chosen.setdefault(frame.info["smiles"], []).append(frame)
    groups = [group[:4] for group in chosen.values() if len(group) >= 4][:7]
    return [frame for group in groups for frame in group]


@pytest.fixture(scope="module")
def trained(frames, molecules, tmp_path_factory) -> Path:
    """The folder of a network that was trained on frames and minima in few epochs.

    The last geometry of each molecule is held out, and so is the last molecule, which validates.
    """
    folder = tmp_path_factory.mktemp("teacher")
    settings = replace(
        SETTINGS, stages=(Stage(epochs=16),), batch_atoms=60, warmup_steps=5, ema_decay=0.8,
        compiled=False,
    )  # fmt: skip
    chosen = [frame for number, frame in enumerate(frames) if number % 4 < 3]
    tight = refitted(PARAMETERS)
    minima, near = [1, 2, 3, 5, 7, 9], [5, 9]
    train_delta(chosen, molecules, minima, near, tight, folder, folder / "work", settings)
    return folder


def bent(atoms: Atoms, seed: int = 0) -> np.ndarray:
    return atoms.positions + np.random.default_rng(seed).normal(scale=0.05, size=(len(atoms), 3))


def harmonic(z: np.ndarray) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
    """A method that takes no time: springs between the atoms and the origin."""
    return lambda pos: (float(0.5 * (pos**2).sum()), -pos)


def test_a_training_lowers_the_errors_of_tight_binding(trained, frames):
    """At other geometries of its molecules; the folder for its work is gone."""
    assert {path.name for path in trained.iterdir()} == {
        "model.safetensors", "model.json", "metrics.jsonl",
    }  # fmt: skip
    known = list(differences(frames[3:-4:4], refitted(PARAMETERS)))
    z, pos = (
        np.concatenate([getattr(f, name) for f in known]) for name in ("numbers", "positions")
    )
    found = delta_forces(
        load_delta(trained / "model.safetensors"), z, pos, np.array([*map(len, known)])
    )
    wanted = np.concatenate([frame.get_forces() for frame in known])
    assert np.abs(found[1] - wanted).mean() < 0.85 * np.abs(wanted).mean()
    # energies are differences of total energies: per element, hundreds of eV if it were missing
    energies = np.array([frame.get_potential_energy() for frame in known])
    assert np.abs(found[0] - energies).mean() < 0.5


def test_the_teacher_is_tight_binding_plus_its_network(trained):
    file, atoms = trained / "model.safetensors", from_smiles("CC=O")
    pos = bent(atoms)
    parts = [
        method("teacher", PARAMETERS)(atoms.numbers)(pos),
        delta_forces(load_delta(file), atoms.numbers, pos, np.array([len(atoms)])),
    ]
    energy, forces = with_delta(method("teacher", PARAMETERS), file)(atoms.numbers)(pos)
    assert energy == pytest.approx(parts[0][0] + parts[1][0][0], abs=1e-5)
    np.testing.assert_allclose(forces, parts[0][1] + parts[1][1], atol=1e-4)
    assert np.abs(parts[1][1]).max() > 0.01


def test_differences_and_minima(molecules, frames):
    """Reference less method; without what does not converge and without saddle points."""
    method = failing(harmonic, lambda _, call: call == 2)
    found = list(differences(frames[:3], method))
    assert [frame.info for frame in found] == [frames[0].info, frames[2].info]
    for frame, known in zip(found, frames[:3:2], strict=True):
        energy, forces = harmonic(frame.numbers)(frame.positions)
        assert frame.get_potential_energy() == known.get_potential_energy() - energy
        np.testing.assert_array_equal(frame.get_forces(), known.get_forces() - forces)
    saddle = int(np.searchsorted(molecules.index, 6620))
    (water,) = minima(molecules, [2, saddle])
    assert water.symbols.get_chemical_formula() == "H2O"
    assert water.get_potential_energy() == molecules.targets["energy"][2]
    assert not water.get_forces().any()


def test_a_hessian_of_frequencies_has_the_frequencies_of_qm9(molecules):
    """And the modes of the corrected Hessian."""
    known = [found for _, found in reference_hessians(molecules, [1, 2, 5, 7, 9], gfn2)]
    assert len(known) == 5
    correction = fit_force_constants(known)
    for reference in known:
        matrix, modes = hessian_of_frequencies(reference, correction)
        found, again = normal_modes(reference.z, reference.pos, matrix)
        np.testing.assert_allclose(found, reference.frequencies, rtol=1e-6)
        weighted = np.repeat(atomic_masses[reference.z], 3)[:, None] * modes
        np.testing.assert_allclose(modes.T @ weighted, np.eye(len(found)), atol=1e-8)
        np.testing.assert_allclose(matrix, matrix.T, atol=1e-8)
        np.testing.assert_allclose(
            again.T @ matrix @ again, np.diag((found / FREQUENCY) ** 2), atol=1e-8
        )


def test_forces_near_minima_are_close_to_dft(molecules):
    """Tight binding plus differences, closer than tight binding with its anchor: for ammonia and
    water, whose symmetry tells most of their modes."""
    tight, errors = refitted(PARAMETERS), []
    for atoms in list(near_minima(molecules, [1, 2], tight))[::2]:
        rest = tight(atoms.numbers)(atoms.positions)
        row = int(np.searchsorted(molecules.index, atoms.info["qm9"]))
        _, z, minimum = molecules.geometry(row)
        reference = dft(z, fast=True)
        energy, forces = reference(atoms.positions)
        found = anchored(tight(z), minimum)(atoms.positions)[1]
        near = atoms.get_forces() + rest[1]
        errors.append([np.abs(near - forces).mean(), np.abs(found - forces).mean()])
        rise = atoms.get_potential_energy() + rest[0] - molecules.targets["energy"][row]
        assert rise == pytest.approx(energy - reference(minimum)[0], rel=0.03)
    near, anchor = np.mean(errors, 0)
    assert near < 0.5 * anchor


def test_forces_are_minus_the_gradient(trained):
    atoms = from_smiles("OCC=O")
    function, pos = with_delta(harmonic, trained / "model.safetensors")(atoms.numbers), bent(atoms)
    _, forces = function(pos)
    slopes = np.zeros_like(pos)
    for place in np.ndindex(pos.shape):
        shift = np.zeros_like(pos)
        shift[place] = 1e-4
        slopes[place] = (function(pos - shift)[0] - function(pos + shift)[0]) / 2e-4
    np.testing.assert_allclose(forces, slopes, atol=1e-5)
    assert np.abs(forces - harmonic(atoms.numbers)(pos)[1]).max() > 0.1


def test_the_network_turns_with_the_molecule(delta):
    atoms, turn = from_smiles("CC(O)C=O"), Rotation.random(rng=1).as_matrix()
    pos, sizes = bent(atoms), np.array([len(atoms)])
    energy, forces = delta_forces(delta, atoms.numbers, pos, sizes)
    turned = delta_forces(delta, atoms.numbers, pos @ turn.T + 3.0, sizes)
    np.testing.assert_allclose(turned[0], energy, rtol=1e-10)
    np.testing.assert_allclose(turned[1], forces @ turn.T, atol=1e-8)
    order = np.random.default_rng(0).permutation(len(atoms))
    mixed = delta_forces(delta, atoms.numbers[order], pos[order], sizes)
    np.testing.assert_allclose(mixed[1], forces[order], atol=1e-8)


@pytest.mark.parametrize("atoms", [30, EVALUATION_ATOMS + 200])
def test_a_batch_gives_what_single_geometries_give(delta, atoms):
    """Of molecules of different sizes, in one batch or more."""
    kinds, parts = [from_smiles(name) for name in ("O", "CCCCO", "C#N", "CC(C)=O")], []
    while sum(len(part) for part in parts) < atoms:
        kind = kinds[len(parts) % len(kinds)]
        parts.append(Atoms(kind.numbers, bent(kind, len(parts))))
    z, pos = (
        np.concatenate([getattr(p, name) for p in parts]) for name in ("numbers", "positions")
    )
    energies, forces = delta_forces(delta, z, pos, np.array([len(part) for part in parts]))
    assert forces.shape == pos.shape
    starts = np.cumsum([0, *(len(part) for part in parts)])
    for number in {0, 1, 2, *range(3, len(parts), 7), len(parts) - 1}:
        part = parts[number]
        one = delta_forces(delta, part.numbers, part.positions, np.array([len(part)]))
        np.testing.assert_allclose(energies[number], one[0][0], rtol=1e-12)
        np.testing.assert_allclose(forces[starts[number] : starts[number + 1]], one[1], atol=1e-9)


@pytest.mark.parametrize("constant", [None, 0.0, 0.5], ids=["no anchor", "anchor", "correction"])
def test_labels_with_a_network(tables, molecules, trained, tmp_path, constant):
    """Minima have the energies of QM9 and no forces. Elsewhere, labels are anchored labels of both
    methods together, although whole chunks get the network's part."""
    about, rows = {"molecules": read_molecules(tables[0])[1]["digest"]}, [15, 30, 60]
    chunk, path, correction = tmp_path / "chunk", tmp_path / "labels", None
    write_chunk(molecules, rows, gfn2, Settings(geometries=2), chunk, about)
    if constant is not None:
        correction = Correction(no_correction().constants + constant)
    network = trained / "model.safetensors"
    write_labels([chunk], molecules, correction, 5.0, path, about, delta=network)
    table, both = store.read(path, "labels")[0], with_delta(gfn2, network)
    row_of = {int(molecules.index[row]): row for row in rows}
    assert table["index"].tolist() == [index for index in row_of for _ in range(3)]
    for number, index in enumerate(table["index"].tolist()):
        atoms, row = slice(*table["ptr"][number : number + 2]), row_of[index]
        z, minimum = molecules.geometry(row)[1:]
        function = both(z)
        if correction:
            function = anchored(function, minimum, correction(z, minimum))
        energy, expected = function(table["pos"][atoms])
        forces = table["forces"][atoms]
        rise = table["energy"][number] - molecules.targets["energy"][row]
        np.testing.assert_allclose(forces, expected, atol=1e-3)  # of the self-consistent field
        assert rise == pytest.approx(energy - function(minimum)[0], abs=1e-4)
        if number % 3 == 0:
            assert rise == 0
            assert not correction or np.abs(forces).max() < 1e-5
        else:
            assert abs(rise) > 0.01
            assert np.abs(forces - gfn2(z)(table["pos"][atoms])[1]).max() > 0.1


def test_molecules_that_qm9_lacks_have_numbers_of_their_own():
    """Negative ones, one per SMILES, which differ from the numbers of tiny molecules."""
    known, table = read(FRAMES, ":"), read_frames(FRAMES, EVERY)
    numbers: dict[str, set[int]] = {}
    for frame, index in zip(known, table["index"].tolist(), strict=True):
        if "qm9" in frame.info:
            assert index == frame.info["qm9"] > 0
        else:
            numbers.setdefault(frame.info["smiles"], set()).add(index)
    assert len(numbers) > 5
    assert all(len(found) == 1 for found in numbers.values())
    others = set().union(*numbers.values())
    assert len(others) == len(numbers)
    assert max(others) == -FIRST_OTHER
    tiny = set(read_tiny_molecules(TINY, EVERY)["index"].tolist())
    assert max(tiny) < 0
    assert min(tiny) > max(others)


def test_molecules_that_qm9_lacks_need_known_elements(tmp_path):
    """They train whatever the split, and an element without training molecules has no reference."""
    fluoride = next(f for f in read(FRAMES, ":") if f.info["smiles"] == "CCF")
    alcohol = from_smiles("CCO")
    listed = []
    for atoms, info in (
        (fluoride, {"smiles": "CCF"}), (fluoride, {"smiles": "CCF", "qm9": 7}),
        (alcohol, {"smiles": "CCO"}),
    ):  # fmt: skip
        frame = Atoms(atoms.numbers, atoms.positions, info=info)
        frame.calc = fluoride.calc.__class__(
            frame, energy=0.0, forces=np.zeros_like(atoms.positions)
        )
        listed.append(frame)
    path = tmp_path / "frames.xyz"
    write(path, listed, format="extxyz")
    assert read_frames(path, EVERY)["index"].tolist() == [-FIRST_OTHER, 7, -FIRST_OTHER - 1]
    assert read_frames(path, {1, 6, 8})["index"].tolist() == [7, -FIRST_OTHER]


DAMAGES = [
    ("model.json", lambda data: data[: len(data) // 2], "model.json"),
    ("model.json", None, "model.json"),
    (
        "model.safetensors",
        lambda data: data[:-1] + b"x",
        "not the weights that model.json describes",
    ),
    ("model.safetensors", None, "not the weights that model.json describes"),
]


@pytest.mark.parametrize(("name", "damage", "message"), DAMAGES)
def test_a_damaged_network_is_refused_in_one_line(trained, tmp_path, name, damage, message):
    for path in trained.glob("model.*"):
        data = path.read_bytes()
        if path.name != name:
            (tmp_path / path.name).write_bytes(data)
        elif damage:
            (tmp_path / path.name).write_bytes(damage(data))
    with pytest.raises(InputError) as caught:
        load_delta(tmp_path / "model.safetensors")
    line = str(caught.value)
    assert str(tmp_path) in line
    assert message in line
    assert "\n" not in line
