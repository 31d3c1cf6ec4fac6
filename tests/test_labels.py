"""Labels: quantum chemistry, normal modes, anchor, correction, distortions, chunks and table."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.io import read, write
from scipy.spatial.transform import Rotation
from tblite.ase import TBLite

from conftest import failing
from nnpipe.data import store
from nnpipe.data.molecules import Molecules, read_molecules
from nnpipe.errors import InputError
from nnpipe.graphs.dataset import load_labels
from nnpipe.labelling.anchor import anchored, atom_pairs, fit_anchor
from nnpipe.labelling.chunks import write_chunk
from nnpipe.labelling.correction import (
    Correction,
    ReferenceHessian,
    fit_force_constants,
    no_correction,
    read_correction,
    write_correction,
)
from nnpipe.labelling.distortions import DistortionSampler
from nnpipe.labelling.kohn_sham import dft
from nnpipe.labelling.settings import Settings
from nnpipe.labelling.table import FRAME_PASSES, TINY_PASSES, write_labels
from nnpipe.labelling.tight_binding import gfn2
from nnpipe.simulation.relax import relax
from nnpipe.structures.bonds import atoms_beyond_bond, bond_matrix, small_ring_counts
from nnpipe.structures.smiles import from_smiles
from nnpipe.structures.vibrations import hessian, normal_modes

ETHANOL = molecule("CH3CH2OH")
RESOURCES = Path(__file__).parents[1] / "resources"
TINY, FRAMES = RESOURCES / "tiny_molecules.xyz", RESOURCES / "dft_frames.xyz"


def geometry(molecules: Molecules, row: int) -> tuple[np.ndarray, np.ndarray]:
    return molecules.geometry(row)[1:]


def numerical_forces(function, pos: np.ndarray, step: float = 1e-4) -> np.ndarray:
    """Return forces (N, 3) eV/Å by central differences of energies."""
    forces = np.zeros_like(pos)
    for place in np.ndindex(pos.shape):
        shift = np.zeros_like(pos)
        shift[place] = step
        forces[place] = (function(pos - shift)[0] - function(pos + shift)[0]) / (2 * step)
    return forces


@pytest.mark.parametrize("row", [0, 2, 4, 40, 80, 120])
def test_anchor_makes_the_reference_minimum_stationary(molecules, row):
    z, pos = geometry(molecules, row)
    forces = gfn2(z)(pos)[1]
    assert np.abs(forces).max() > 0.05
    force_constants = np.linspace(-1, 2, len(atom_pairs(pos)[0]))
    anchor = fit_anchor(pos, forces, force_constants)
    energy, pull = anchor(pos)
    assert energy == 0
    np.testing.assert_allclose(forces + pull, 0, atol=1e-9)
    moved = pos + np.random.default_rng(0).normal(scale=0.1, size=pos.shape)
    np.testing.assert_allclose(anchor(moved)[1], numerical_forces(anchor, moved), atol=1e-5)
    matrix = Rotation.random(rng=np.random.default_rng(1)).as_matrix()
    turned = moved @ matrix.T + [1.0, 2.0, 3.0]
    # the term of the residual forces is not invariant, but small
    assert anchor(turned)[0] == pytest.approx(anchor(moved)[0], abs=0.1)
    assert np.abs(anchor.residual_forces).max() < 0.1 * np.abs(forces).max()


def test_gfn2_forces_are_the_gradient_and_reproducible():
    function = gfn2(ETHANOL.numbers)
    rng = np.random.default_rng(0)
    moved = ETHANOL.positions + rng.normal(scale=0.05, size=(9, 3))
    first = function(moved)
    np.testing.assert_allclose(first[1], numerical_forces(function, moved, 1e-3), atol=2e-3)
    assert function(moved)[0] == pytest.approx(first[0], abs=1e-6)


@pytest.mark.parametrize("row", [0, 1, 2])
def test_dft_is_the_method_of_qm9(molecules, row):
    """CH4, NH3 and H2O: the energies of QM9, and no forces at its minima."""
    z, pos = geometry(molecules, row)
    function = dft(z)
    energy, forces = function(pos)
    assert energy == pytest.approx(molecules.targets["energy"][row], abs=2e-4)
    assert np.abs(forces).max() < 0.005
    moved = pos.copy()
    moved[1] += 0.1 * (pos[1] - pos[0])
    assert (function(moved)[1][1] @ (pos[1] - pos[0])) < -1


def test_normal_modes_of_water_and_hcn(molecules):
    """Their number (HCN is linear) and, with GFN2-xTB, their frequencies near the ones of QM9."""
    for row, count in ((2, 3), (4, 4)):
        z, pos = geometry(molecules, row)
        found, modes = normal_modes(z, pos, hessian(gfn2(z), pos))
        assert found.shape == (count,)
        assert modes.shape == (pos.size, count)
        known = molecules.modes(row)
        np.testing.assert_allclose(found, known, rtol=0.15)
        momenta = modes.reshape(*pos.shape, -1) * Atoms(z).get_masses()[:, None, None]
        np.testing.assert_allclose(momenta.sum(0), 0, atol=1e-8)


def test_normal_modes_of_a_spring_are_analytic():
    """Two atoms of reduced mass mu on a spring k: omega = sqrt(k / mu)."""
    pos = np.array([[0.0, 0, 0], [0, 0, 1.128]])
    z, k = np.array([6, 8]), 118.8  # CO, eV/Å^2

    def spring(pos: np.ndarray) -> tuple[float, np.ndarray]:
        bond = pos[1] - pos[0]
        length = np.linalg.norm(bond)
        pull = k * (length - 1.128) * bond / length
        return 0.5 * k * (length - 1.128) ** 2, np.array([pull, -pull])

    found, _ = normal_modes(z, pos, hessian(spring, pos))
    mass = 12.011 * 15.999 / (12.011 + 15.999) * 1.66053906660e-27
    omega = np.sqrt(k * 16.02176634 / mass) / (2 * np.pi * 2.99792458e10)
    np.testing.assert_allclose(found, [omega], rtol=1e-4)


def test_normal_modes_of_a_crystal_project_out_translations_only():
    """Cubic copper: three of 12 modes are translations; the others are degenerate, 6 and 3."""
    copper = bulk("Cu", cubic=True)

    def emt(pos):
        moved = copper.copy()
        moved.positions, moved.calc = pos, EMT()
        return moved.get_potential_energy(), moved.get_forces()

    where = copper.numbers, copper.positions
    found, _ = normal_modes(*where, hessian(emt, copper.positions), periodic=True)
    assert len(found) == 9
    np.testing.assert_allclose(found[:6], found[0], rtol=1e-3)
    np.testing.assert_allclose(found[6:], found[6], rtol=1e-3)
    assert 100 < found[0] < found[6] < 300


@pytest.fixture(scope="module")
def known(molecules) -> list[ReferenceHessian]:
    found = []
    for row in range(25, 400, 9):
        z, pos = geometry(molecules, row)
        if len(z) < 18 and molecules.index[row] not in (6620, 59818):
            entry = ReferenceHessian(
                z, pos, hessian(anchored(gfn2(z), pos), pos), molecules.modes(row)
            )
            if len(entry.deviations(no_correction())) == len(entry.frequencies):
                found.append(entry)
    return found


def error(known: list[ReferenceHessian], correction: Correction) -> float:
    return np.abs(np.concatenate([entry.deviations(correction) for entry in known])).mean()


def test_correction_transfers_to_other_molecules(known):
    train, test = known[::2], known[1::2]
    assert len(test) >= 5
    correction = fit_force_constants(train)
    assert error(train, correction) < 0.6 * error(train, no_correction())
    assert error(test, correction) < 0.7 * error(test, no_correction())


def test_corrected_hessian_is_the_hessian_of_the_anchored_method(known):
    """The fit corrects a Hessian; the labels get a pair term with the same force constants."""
    correction = fit_force_constants(known)
    for entry in known[:3]:
        force_constants = correction(entry.z, entry.pos)
        matrix = hessian(anchored(gfn2(entry.z), entry.pos, force_constants), entry.pos)
        change = matrix - entry.corrected(correction)
        assert np.abs(change).max() < 0.02 * np.abs(entry.hessian).max()
        found, _ = normal_modes(entry.z, entry.pos, matrix)
        np.testing.assert_allclose(found - entry.frequencies, entry.deviations(correction), atol=5)
        assert np.abs(entry.corrected(correction) - entry.hessian).max() > 0.5


def test_bond_strain_in_a_ring_moves_the_substituents():
    """Cyclopropane: the bond stretches by the requested 0.3 Å; other bonds hardly change."""
    ring = molecule("C3H6_D3h")
    sampler = DistortionSampler(ring.numbers, ring.positions, Settings())
    opened = ring.copy()
    opened.positions += 0.3 * sampler.bond_strain(0, 1, ring.positions)
    change = opened.get_all_distances() - ring.get_all_distances()
    assert change[0, 1] == pytest.approx(0.3, abs=0.02)
    assert abs(change[:2, 2]).max() < 0.08
    assert abs(change[sampler.bonded & (ring.numbers == 1)]).max() < 0.03
    np.testing.assert_allclose(opened.positions.sum(0), ring.positions.sum(0), atol=1e-6)


def test_distortions_are_reproducible_and_free_of_clashes():
    z, pos = ETHANOL.numbers, ETHANOL.positions
    settings = Settings()
    drawn = [
        DistortionSampler(z, pos, settings).draw(np.random.default_rng(seed)) for seed in range(60)
    ]
    again = DistortionSampler(z, pos, settings).draw(np.random.default_rng(0))
    np.testing.assert_array_equal(drawn[0], again)
    assert all(np.abs(p - pos).max() > 0.01 for p in drawn)
    shortest = min(atom_pairs(p)[2].min() for p in drawn)
    assert 0.5 < shortest < 0.95
    mild = DistortionSampler(z, pos, Settings(temperature_max_k=100.0, strain_fraction=0.0))
    rng, bonded = np.random.default_rng(1), bond_matrix(z, pos)
    assert all((bond_matrix(z, mild.draw(rng)) == bonded).all() for _ in range(60))


@pytest.mark.parametrize("temperature", [100.0, 300.0, 900.0])
def test_distortions_are_thermal(temperature):
    """The length of a bond with force constant k has the variance kT / k."""
    z, pos = ETHANOL.numbers, ETHANOL.positions
    cold = Settings(
        temperature_min_k=temperature,
        temperature_max_k=temperature,
        torsion_fraction=0.0,
        strain_fraction=0.0,
    )
    sampler, rng = DistortionSampler(z, pos, cold), np.random.default_rng(0)
    lengths = np.array(
        [np.linalg.norm(p[1] - p[0]) for p in (sampler.draw(rng) for _ in "x" * 400)]
    )
    expected = np.sqrt(8.617333e-5 * temperature / 30)
    assert lengths.std() == pytest.approx(expected, rel=0.3)


def test_distortions_by_torsion_keep_bond_lengths():
    z, pos = ETHANOL.numbers, ETHANOL.positions
    frozen = Settings(
        temperature_min_k=1e-6, temperature_max_k=1e-6, torsion_fraction=1.0, strain_fraction=0.0
    )
    drawn = DistortionSampler(z, pos, frozen).draw(np.random.default_rng(3))
    bonded = bond_matrix(z, pos)
    before, after = (np.linalg.norm(p[:, None] - p, axis=2) for p in (pos, drawn))
    np.testing.assert_allclose(after[bonded], before[bonded], atol=1e-4)
    assert np.abs(after - before).max() > 0.2


def full_turns(smiles: str, draws: int) -> dict[tuple[int, int], list[float]]:
    """Return the angles (degrees) by which each bond of a molecule turns in cold geometries, each
    of which has one turned bond.
    """
    atoms, _ = relax(from_smiles(smiles), TBLite(method="GFN2-xTB", verbosity=0), 0.02, 300)
    frozen = Settings(
        temperature_min_k=1e-6, temperature_max_k=1e-6, torsion_fraction=1.0, strain_fraction=0.0
    )
    sampler = DistortionSampler(atoms.numbers, atoms.positions, frozen)
    dihedrals = {}
    for a, b, *_ in sampler.rotors:
        before = next(n for n in np.flatnonzero(sampler.bonded[a]) if n != b)
        after = next(n for n in np.flatnonzero(sampler.bonded[b]) if n != a)
        dihedrals[int(a), int(b)] = before, a, b, after
    found: dict[tuple[int, int], list[float]] = {bond: [] for bond in dihedrals}
    rng, drawn = np.random.default_rng(0), atoms.copy()
    for _ in range(draws):
        drawn.positions = sampler.draw(rng)
        for bond, dihedral in dihedrals.items():
            turn = drawn.get_dihedral(*dihedral) - atoms.get_dihedral(*dihedral)
            if abs(turn := (turn + 180) % 360 - 180) > 0.5:
                found[bond].append(turn)
    return found


# SMILES, bonds that turn fully, bonds that never do
TURNS = [
    ("C=CC=C", [(1, 2)], [(0, 1), (2, 3)]),
    ("C=CC=O", [(1, 2)], [(0, 1)]),
    ("CC(=O)N", [(0, 1), (1, 3)], []),
    ("NC=O", [(0, 1)], []),
    ("NC=CC=O", [(0, 1), (2, 3)], [(1, 2)]),
    ("CN(C)N=O", [(0, 1), (1, 2), (1, 3)], []),
    ("CC(=O)OC", [(0, 1), (1, 3), (3, 4)], []),
    ("O=CO", [(1, 2)], []),
    ("C=Cc1ccco1", [(1, 2)], [(0, 1)]),
    ("CC=NO", [(0, 1), (2, 3)], [(1, 2)]),
    ("CN=NC", [(0, 1), (2, 3)], [(1, 2)]),
    ("C=C", [], [(0, 1)]),
    ("CCC#N", [(0, 1)], []),  # C-C≡N is a line
    ("C#CC#CCO", [(4, 5)], []),
]


@pytest.mark.parametrize(("smiles", "single", "double"), TURNS)
def test_single_bonds_turn_fully_and_double_bonds_do_not(smiles, single, double):
    """Also conjugated ones."""
    found = full_turns(smiles, 300)
    assert sorted(found) == sorted([*single, *double])
    for bond in single:
        assert min(found[bond]) < -120, bond
        assert max(found[bond]) > 120, bond
    assert not any(found[bond] for bond in double)


def test_bonds_of_chains_turn_fully_more_often():
    """The central bond of butane has the weight 4, each CH3 the weight 1."""
    found = {bond: len(turns) for bond, turns in full_turns("CCCC", 600).items()}
    total = sum(found.values())
    assert total > 580  # a turn by less than 0.5° does not count
    assert found[1, 2] / total == pytest.approx(4 / 6, abs=0.06)
    assert found[0, 1] / total == pytest.approx(1 / 6, abs=0.05)


def test_atoms_beyond_bond_of_chains_and_rings():
    bonded = bond_matrix(ETHANOL.numbers, ETHANOL.positions)
    side = atoms_beyond_bond(bonded, 0, 1)
    assert side.sum() + atoms_beyond_bond(bonded, 1, 0).sum() == 9
    ring = molecule("C6H6")
    assert atoms_beyond_bond(bond_matrix(ring.numbers, ring.positions), 0, 1) is None


def test_distortions_strain_cages_at_their_rings():
    """Rings of three and four atoms per bond: bicyclobutane 2, cyclopropane and cyclobutane 1."""

    def counts(name: str) -> list[int]:
        atoms = molecule(name)
        bonded = bond_matrix(atoms.numbers, atoms.positions)
        return sorted(small_ring_counts(bonded)[np.triu(bonded)])

    assert counts("bicyclobutane") == [0] * 6 + [2] * 5
    assert counts("C3H6_D3h") == [0] * 6 + [1] * 3
    assert counts("cyclobutane") == [0] * 8 + [1] * 4
    assert counts("C6H6") == [0] * 12
    assert counts("CH3CH2OH") == [0] * 8
    cage, rng = molecule("bicyclobutane"), np.random.default_rng(0)
    bonded = bond_matrix(cage.numbers, cage.positions)
    cold = Settings(
        temperature_min_k=1e-6, temperature_max_k=1e-6, torsion_fraction=0.0, strain_fraction=0.1
    )
    sampler = DistortionSampler(cage.numbers, cage.positions, cold)
    lengths = np.linalg.norm(cage.positions[:, None] - cage.positions, axis=2)
    moved, longest = np.zeros_like(bonded, int), 0.0
    for _ in range(200):
        drawn = sampler.draw(rng)
        change = np.abs(np.linalg.norm(drawn[:, None] - drawn, axis=2) - lengths) * bonded
        moved[np.unravel_index(change.argmax(), change.shape)] += change.max() > 0.01
        longest = max(longest, change.max())
    carbon = cage.numbers == 6
    assert 80 < moved.sum() < 120  # the fraction 0.1, times 1 + 2²
    assert 0.65 < longest < 0.85  # Å; up to 0.5 + 2 * 0.15, more than without rings
    assert moved[carbon][:, carbon].sum() > 0.8 * moved.sum()


def test_chunk_has_more_geometries_of_cages_and_tiny_molecules(molecules, tmp_path):
    """CC1(O)C2C3CN2C13 has a bond in three small rings, propane none; water is tiny."""

    def cheap(z: np.ndarray):
        return lambda pos: (0.0, np.zeros_like(pos))

    number = [
        write_chunk(molecules, [row], cheap, Settings(geometries=2), tmp_path / "chunk", {})
        for row in (np.searchsorted(molecules.index, [8527, 13, 3]))
    ]
    assert number == [1 + 2 * 6, 1 + 2, 1 + 2 * 18]


def test_labels_lie_on_the_potential_energy_surface_of_qm9(tables, molecules, tmp_path):
    """Minima have the energies of QM9 and no forces; elsewhere forces integrate to the energy."""
    rows = [15, 30, 60]
    digest = read_molecules(tables[0])[1]["digest"]
    cold = {"temperature_min_k": 1.0, "temperature_max_k": 1.0}
    settings = Settings(geometries=3, torsion_fraction=0.0, strain_fraction=0.0, **cold)
    about = {"molecules": digest}
    number = write_chunk(molecules, rows, gfn2, settings, tmp_path / "chunk", about)
    assert number == 12
    written = write_labels(
        [tmp_path / "chunk"], molecules, no_correction(), 5.0, tmp_path / "l", about
    )
    assert written == 12
    table, header = store.read(tmp_path / "l", "labels")
    assert header["units"] == {"energy": "eV", "forces": "eV/Å"}
    for number in range(12):
        atoms = slice(table["ptr"][number], table["ptr"][number + 1])
        row = rows[number // 4]
        z, rest = geometry(molecules, row)
        rise = table["energy"][number] - molecules.targets["energy"][row]
        np.testing.assert_array_equal(table["z"][atoms], z)
        if number % 4 == 0:
            assert rise == 0
            np.testing.assert_allclose(table["forces"][atoms], 0, atol=1e-6)
        else:
            work = -0.5 * (table["forces"][atoms] * (table["pos"][atoms] - rest)).sum()
            assert 0 < rise < 0.1
            assert rise == pytest.approx(work, rel=0.1)
    data = load_labels(tmp_path / "l", molecules.index[rows[1:]], 4.0, digest)
    assert len(data) == 8
    batch = data.batch(torch.arange(8))
    assert (batch.neighbour_vectors().norm(dim=-1)[batch.neighbour_mask] < 4.0).all()
    with pytest.raises(InputError, match="made from other molecules"):
        load_labels(tmp_path / "l", molecules.index[rows], 4.0, "another")
    with pytest.raises(InputError, match=r"neighbours within 5\.0 Å, a model's cutoff is 6\.0"):
        load_labels(tmp_path / "l", molecules.index[rows], 6.0, digest)


def test_tiny_molecules_train_whatever_the_split(tables, molecules, tmp_path):
    """H2 at its B3LYP distance; not F2, as no training molecule here has fluorine."""
    about = {"molecules": read_molecules(tables[0])[1]["digest"]}
    write_chunk(molecules, [3], gfn2, Settings(geometries=1), tmp_path / "chunk", about)
    write_labels([tmp_path / "chunk"], molecules, no_correction(), 5.0, tmp_path / "l", about, TINY)
    data = load_labels(tmp_path / "l", molecules.index[:0], 4.0, about["molecules"])
    geometries = len(data.atom_start.unique())
    assert 0 < geometries < len(read(TINY, ":"))
    assert len(data) == TINY_PASSES * geometries
    assert data.atomic_numbers().max() < 9
    hydrogen = data.collate(torch.arange(1))[0]
    assert hydrogen.z.tolist() == [1, 1]
    assert (hydrogen.pos[0] - hydrogen.pos[1]).norm().item() == pytest.approx(0.743, abs=1e-3)
    assert data.target[0].item() == pytest.approx(-32.0698, abs=1e-3)
    assert data.force_labels(torch.arange(1)).abs().max() < 0.01


def test_dft_frames_are_labels_of_their_molecules(tables, molecules, tmp_path):
    """With the energies and forces of the file, and only for molecules that are asked for."""
    about = {"molecules": read_molecules(tables[0])[1]["digest"]}
    write_chunk(molecules, [2, 9], gfn2, Settings(geometries=1), tmp_path / "chunk", about)
    plain, path = tmp_path / "plain", tmp_path / "l"
    count = write_labels([tmp_path / "chunk"], molecules, no_correction(), 5.0, plain, about)
    frames = [frame for frame in read(FRAMES, ":") if "qm9" in frame.info]
    frames[-1].info["qm9"] = last = int(molecules.index[9])  # a molecule with other labels, too
    write(tmp_path / "frames.xyz", frames, format="extxyz")
    number = write_labels(
        [tmp_path / "chunk"], molecules, no_correction(), 5.0, path, about,
        frames=tmp_path / "frames.xyz",
    )  # fmt: skip
    assert number == count + len(frames)

    def of(name: Path, *indices: int):
        return load_labels(name, np.array(indices), 4.0, about["molecules"])

    assert len(of(path, 3)) == len(of(plain, 3)) > 0  # water
    for index in (frames[0].info["qm9"], last):
        own = [frame for frame in frames if frame.info["qm9"] == index]
        data, earlier = of(path, index), len(of(plain, index))
        assert len(data) == earlier + FRAME_PASSES * len(own)
        rows = torch.arange(earlier, len(data))[::FRAME_PASSES]
        energies = [frame.get_potential_energy() for frame in own]
        np.testing.assert_array_equal(data.target[rows], energies)
        forces = np.concatenate([frame.get_forces() for frame in own])
        np.testing.assert_allclose(data.force_labels(rows), forces, rtol=1e-6)
        batch = data.batch(rows)
        assert batch.z.tolist() == np.concatenate([frame.numbers for frame in own]).tolist()
        assert (batch.neighbour_vectors().norm(dim=-1)[batch.neighbour_mask] < 4.0).all()


def test_chunk_logs_and_leaves_out_what_does_not_converge(molecules, tmp_path, caplog):
    # geometry 1 of the first molecule, the minimum of the second
    method = failing(gfn2, lambda _, call: call in (2, 5))
    with caplog.at_level(logging.WARNING):
        done = write_chunk(
            molecules, [20, 21, 22], method, Settings(geometries=3), tmp_path / "c", {}
        )
    assert done == 3 + 0 + 4
    index = store.read(tmp_path / "c", "chunk")[0]["index"]
    assert index.tolist() == [molecules.index[20]] * 3 + [molecules.index[22]] * 4
    messages = [record.getMessage() for record in caplog.records]
    assert messages[0].startswith(f"molecule {molecules.index[20]}: geometry 1 left out: no luck")
    assert messages[1].startswith(f"molecule {molecules.index[21]}: molecule left out: no luck")


def test_chunk_leaves_out_saddle_points(molecules, tmp_path):
    row = int(np.searchsorted(molecules.index, 6620))
    assert molecules.index[row] == 6620
    assert write_chunk(molecules, [row], gfn2, Settings(geometries=1), tmp_path / "c", {}) == 0


def test_correction_is_written_and_read(molecules, tmp_path):
    write_correction(molecules, [0, 1, 2, 3, 5], gfn2, tmp_path / "c.json")
    correction = read_correction(tmp_path / "c.json")
    assert np.abs(correction.constants).max() > 0.1
    write_correction(molecules, [], gfn2, tmp_path / "none.json")
    assert not read_correction(tmp_path / "none.json").constants.any()
    (tmp_path / "bad.json").write_text('{"constants": [[1.0]]}')
    with pytest.raises(InputError, match="delete it and run again"):
        read_correction(tmp_path / "bad.json")


def test_molecules_with_a_pattern_get_more_geometries(molecules, tmp_path):
    """An amide does and a nitrile does not; of two factors, the larger one counts."""
    settings = Settings(
        geometries=2, smarts=("C(=O)N",), smarts_factor=2.5, small_ring_factors=(1.5,)
    )
    names = ("CCN(C)C(C)=O", "CCCCCC#N")
    rows = [molecules.smiles.index(smiles) for smiles in names]
    write_chunk(molecules, rows, gfn2, settings, tmp_path / "c", {})
    counts = np.bincount(store.read(tmp_path / "c", "chunk")[0]["index"])
    assert counts[molecules.index[rows]].tolist() == [1 + 5, 1 + 3]


def test_chunk_does_not_depend_on_the_number_of_chunks(molecules, tmp_path):
    """The geometries of a molecule depend on the seed and the molecule only."""
    write_chunk(molecules, [20, 21], gfn2, Settings(geometries=2, seed=7), tmp_path / "a", {})
    write_chunk(molecules, [21], gfn2, Settings(geometries=2, seed=7), tmp_path / "b", {})
    one, other = (store.read(tmp_path / name, "chunk")[0] for name in "ab")
    np.testing.assert_array_equal(one["pos"][one["ptr"][3] :], other["pos"])
