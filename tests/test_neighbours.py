"""Neighbours against ASE and against all distances, for every periodicity."""

from itertools import product

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.neighborlist import neighbor_list

from nnpipe.data import store
from nnpipe.data.molecules import read_molecules
from nnpipe.data.neighbour_table import write_neighbours
from nnpipe.errors import InputError
from nnpipe.graphs.dataset import load_dataset
from nnpipe.structures.neighbours import neighbours

CELL = np.array([[3.1, 0.0, 0.0], [0.8, 4.2, 0.0], [-0.5, 0.6, 5.3]])


@pytest.mark.parametrize("pbc", list(product([False, True], repeat=3)), ids=str)
def test_neighbours_equal_ase_s_and_are_sorted_by_distance(pbc):
    rng = np.random.default_rng(0)
    atoms = Atoms("C6", rng.random((6, 3)) @ CELL, cell=CELL, pbc=pbc)
    counts, index, shift = neighbours(atoms.positions, 5.0, CELL, pbc)
    centre = np.repeat(np.arange(6), counts)
    vectors = atoms.positions[index] + shift @ CELL - atoms.positions[centre]
    distances = np.linalg.norm(vectors, axis=1)
    assert all(np.diff(distances[centre == i]).min(initial=0) > -1e-12 for i in range(6))
    ours = sorted(zip(centre, index, *shift.astype(int).T, distances.round(9), strict=True))
    theirs = neighbor_list("ijSd", atoms, 5.0)
    assert ours == sorted(zip(*theirs[:2], *theirs[2].T, theirs[3].round(9), strict=True))


def test_neighbour_table_holds_all_pairs_within_the_cutoff(tables, molecules):
    data = load_dataset(*tables, np.arange(400), "energy", 5.0)
    pairs, header = store.read(tables[1], "neighbours")
    assert pairs["neighbour"].dtype == np.uint8
    assert header["cutoff"] == 5.0
    for row in range(0, 400, 7):
        batch = data.batch(torch.tensor([row]))
        pos = molecules.pos[molecules.ptr[row] : molecules.ptr[row + 1]]
        distances = np.linalg.norm(pos[:, None] - pos, axis=2)
        for atom in range(len(pos)):
            near = [j for j in distances[atom].argsort() if 0 < distances[atom, j] < 5.0]
            found = batch.neighbours[atom][batch.neighbour_mask[atom]].tolist()
            assert sorted(found) == sorted(near)
            assert np.diff(distances[atom, found]).min(initial=0) >= 0
            assert (batch.neighbours[atom][~batch.neighbour_mask[atom]] == atom).all()


def test_neighbour_table_serves_smaller_cutoffs(tables):
    small = load_dataset(*tables, np.arange(400), "energy", 3.0)
    batch = small.batch(torch.arange(400))
    lengths = batch.neighbour_vectors().norm(dim=-1)
    assert lengths[batch.neighbour_mask].max() < 3.0
    whole = load_dataset(*tables, np.arange(400), "energy", 5.0).batch(torch.arange(400))
    assert batch.neighbour_mask.sum() == (whole.neighbour_vectors().norm(dim=-1) < 3.0).sum()
    with pytest.raises(InputError, match=r"within 5\.0 Å, a model's cutoff is 6"):
        load_dataset(*tables, np.arange(400), "energy", 6.0)


def test_neighbour_table_of_other_molecules_is_refused(tables, tmp_path):
    molecules, _ = read_molecules(tables[0])
    write_neighbours(molecules, 3.0, tmp_path / "n", {"molecules": "another digest"})
    with pytest.raises(InputError, match="made from other molecules"):
        load_dataset(tables[0], tmp_path / "n", np.arange(3), "energy", 3.0)


def test_dataset_refuses_an_unknown_target(tables):
    with pytest.raises(InputError, match="no target 'enthalpy'; it has"):
        load_dataset(*tables, np.arange(3), "enthalpy", 3.0)


@pytest.mark.parametrize("away", [(1, 0, 0), (1, 1, 0), (1, 1, 1)])
def test_neighbours_refuse_atoms_too_far_apart(away):
    pos = molecule("H2O").positions
    pos[2] += 1e6 * np.array(away)
    with pytest.raises(InputError, match=r"1e\+06 Å apart"):
        neighbours(pos, 5.0)
