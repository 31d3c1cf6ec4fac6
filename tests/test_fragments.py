"""Fragments, which are molecules that QM9 lacks: the list, its checks, and the labels."""

import ast
import logging
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.io import read
from rdkit import Chem

from conftest import failing
from helpers import ROOT
from nnpipe.config.sections import MOLECULES
from nnpipe.data import store
from nnpipe.data.molecules import read_molecules
from nnpipe.data.sources import QM9_ELEMENTS
from nnpipe.errors import InputError
from nnpipe.graphs.dataset import load_labels
from nnpipe.labelling.chunks import write_chunk
from nnpipe.labelling.correction import no_correction
from nnpipe.labelling.delta import with_delta
from nnpipe.labelling.fragments import FIRST_FRAGMENT, GEOMETRIES, write_fragments
from nnpipe.labelling.methods import method
from nnpipe.labelling.settings import Settings
from nnpipe.labelling.table import (
    FIRST_OTHER,
    FRAGMENT_PASSES,
    read_fragments,
    read_frames,
    write_labels,
)
from nnpipe.labelling.tight_binding import gfn2
from nnpipe.structures.bonds import bond_matrix
from nnpipe.structures.smiles import canonical_smiles, from_smiles, read_smiles

RESOURCES = ROOT / "resources"
SHIPPED = read_smiles(RESOURCES / "fragments.smi", QM9_ELEMENTS)
PARAMETERS = RESOURCES / "teacher/tight_binding.toml"
NETWORK = RESOURCES / "teacher/model.safetensors"
ACRYLATE, OXALATE, FLUORIDE = "C=CC(=O)OC", "COC(=O)C(=O)O", "C=CF"


def labelled(smiles: list[str], path: Path, held_out=(), function=gfn2, **settings):
    """Return the arrays of the file of fragments."""
    write_fragments(smiles, held_out, function, Settings(**settings), path, {})
    return store.read(path, "fragments")[0]


def geometries(table: dict[str, np.ndarray], index: int) -> np.ndarray:
    """Return the positions (G, N, 3) Å of a molecule."""
    ends = list(pairwise(table["ptr"]))
    rows = np.flatnonzero(table["index"] == index)
    return np.array([table["pos"][slice(*ends[row])] for row in rows])


def skeleton(numbers: np.ndarray, bonded: np.ndarray) -> str:
    """Return a SMILES of atoms and bonds, whatever the order of the atoms and of the bonds."""
    molecule = Chem.RWMol()
    for number in numbers.tolist():
        atom = Chem.Atom(number)
        atom.SetNoImplicit(True)
        molecule.AddAtom(atom)
    for i, j in np.argwhere(np.triu(bonded)).tolist():
        molecule.AddBond(i, j, Chem.BondType.SINGLE)
    return Chem.MolToSmiles(molecule)


def skeleton_of(smiles: str) -> str:
    molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
    numbers = np.array([atom.GetAtomicNum() for atom in molecule.GetAtoms()])
    return skeleton(numbers, Chem.GetAdjacencyMatrix(molecule))


@pytest.fixture(scope="module")
def labels(tables, molecules, tmp_path_factory) -> tuple[Path, str]:
    """The teacher's labels of two molecules of QM9 and two fragments; digest of the molecules."""
    folder, digest = tmp_path_factory.mktemp("labels"), read_molecules(tables[0])[1]["digest"]
    teacher = method("teacher", PARAMETERS)
    write_chunk(molecules, [5, 9], teacher, Settings(geometries=1), folder / "chunk", {})
    labelled([ACRYLATE, OXALATE], folder / "fragments", function=teacher)
    write_labels(
        [folder / "chunk"], molecules, no_correction(), 5.0, folder / "labels",
        {"molecules": digest}, delta=NETWORK, fragments=folder / "fragments",
    )  # fmt: skip
    return folder / "labels", digest


def test_labels_are_the_energies_and_forces_of_the_teacher(labels):
    """Of tight binding plus network, without anchor."""
    table, _ = store.read(labels[0], "labels")
    rows = np.flatnonzero(table["index"] <= -FIRST_FRAGMENT)
    assert len(rows) == 2 * GEOMETRIES
    for row in rows[::3]:
        atoms = slice(*table["ptr"][row : row + 2])
        teacher = with_delta(method("teacher", PARAMETERS), NETWORK)(table["z"][atoms])
        energy, forces = teacher(table["pos"][atoms])
        assert table["energy"][row] == pytest.approx(energy, abs=2e-3)  # eV; a network in float32
        np.testing.assert_allclose(table["forces"][atoms], forces, atol=2e-3)
        assert np.abs(forces).max() > 0.3


def test_forces_are_minus_the_gradient_of_the_energy(labels):
    table, _ = store.read(labels[0], "labels")
    row = int(np.flatnonzero(table["index"] == -FIRST_FRAGMENT)[0])
    atoms, step = slice(*table["ptr"][row : row + 2]), 1e-3
    teacher = with_delta(method("teacher", PARAMETERS), NETWORK)(table["z"][atoms])
    pos = np.array(table["pos"][atoms])
    slopes = np.zeros_like(pos)
    for place in np.ndindex(pos.shape):
        shift = np.zeros_like(pos)
        shift[place] = step
        slopes[place] = (teacher(pos - shift)[0] - teacher(pos + shift)[0]) / (2 * step)
    np.testing.assert_allclose(table["forces"][atoms], slopes, atol=5e-3)


def test_energies_of_the_teacher_are_on_the_scale_of_qm9(molecules):
    """Absolute ones: a fragment has no minimum of QM9. Atoms alone have hundreds of eV."""
    teacher = with_delta(method("teacher", PARAMETERS), NETWORK)
    for row in (30, 60, 90):
        _, z, pos = molecules.geometry(row)
        assert teacher(z)(pos)[0] == pytest.approx(molecules.targets["energy"][row], abs=0.15)


def test_fragments_train_and_do_not_validate(labels, molecules):
    path, digest = labels
    index = molecules.index[[5]]
    training = load_labels(path, index, 4.0, digest)
    held_out = load_labels(path, index, 4.0, digest, training=False)
    assert len(training) == len(held_out) + 2 * FRAGMENT_PASSES * GEOMETRIES
    batch = training.batch(torch.arange(len(held_out), len(training)))
    assert sorted(batch.z.unique().tolist()) == [1, 6, 8]
    assert (batch.neighbour_vectors().norm(dim=-1)[batch.neighbour_mask] < 4.0).all()


def test_numbers_differ_from_the_numbers_of_other_molecules(tmp_path):
    table = labelled([ACRYLATE, OXALATE], tmp_path / "f")
    assert set(table["index"].tolist()) == {-FIRST_FRAGMENT, -FIRST_FRAGMENT - 1}
    frames = read_frames(RESOURCES / "dft_frames.xyz", set(QM9_ELEMENTS))["index"]
    assert -FIRST_FRAGMENT < frames.min() < -FIRST_OTHER


def test_geometries_do_not_depend_on_the_other_lines(tmp_path):
    """Nor on their order or on how a SMILES is written, but on the seed."""
    path = tmp_path / "list.smi"
    path.write_text("# two esters\nO(C)C(=O)C=C\n\n  COC(=O)C(=O)O\nC=CC(OC)=O\n")
    (tmp_path / "other.smi").write_text("OC(=O)C(OC)=O\nC=CC(=O)OC")
    names = read_smiles(path, QM9_ELEMENTS)
    assert names == read_smiles(tmp_path / "other.smi", QM9_ELEMENTS) == [ACRYLATE, OXALATE]
    both, one = labelled(names, tmp_path / "both"), labelled(names[1:], tmp_path / "one")
    wanted = geometries(both, -FIRST_FRAGMENT - 1)
    assert len(wanted) == GEOMETRIES
    np.testing.assert_array_equal(geometries(one, -FIRST_FRAGMENT), wanted)
    other = geometries(labelled(names[1:], tmp_path / "seed", seed=1), -FIRST_FRAGMENT)
    assert np.abs(other - wanted).max() > 0.1


def test_geometries_are_distorted_minima_of_the_method(tmp_path):
    """With forces like the forces of thermal vibrations, not like the ones of a rough conformer."""
    cold = {"temperature_min_k": 1e-3, "temperature_max_k": 1e-3, "strain_fraction": 0.0}
    table = labelled([ACRYLATE], tmp_path / "f", torsion_fraction=0.0, **cold)
    rough = from_smiles(ACRYLATE)
    before = gfn2(rough.numbers)(rough.positions)[1]
    assert np.abs(table["forces"]).max() < 0.3 < np.abs(before).max()


def test_validation_and_test_molecules_are_left_out(tmp_path, caplog):
    """Also as another stereoisomer, and however their SMILES are written."""
    with caplog.at_level(logging.WARNING):
        table = labelled(
            ["C/C=C/C=O", ACRYLATE], tmp_path / "f", held_out=["O=CC=CC", "not a SMILES"]
        )
    assert set(table["index"].tolist()) == {-FIRST_FRAGMENT - 1}
    assert "fragment C/C=C/C=O left out: a validation or test molecule" in caplog.text


def test_what_does_not_converge_is_left_out(tmp_path, caplog):
    names, calls = [OXALATE, "O=C(O)CF", "C=CF"], []
    counting = failing(gfn2, lambda _, call: calls.append(call))
    assert len(labelled(names[:1], tmp_path / "f", function=counting)["energy"]) == GEOMETRIES
    bad = calls[-1] - 2  # a geometry, not a step of the relaxation
    method = failing(gfn2, lambda z, call: 8 in z and (9 in z or call == bad))
    with caplog.at_level(logging.WARNING):
        table = labelled(names, tmp_path / "f", function=method)
    assert (table["index"] == -FIRST_FRAGMENT).sum() == GEOMETRIES - 1
    assert (table["index"] == -FIRST_FRAGMENT - 2).sum() == GEOMETRIES
    assert set(table["index"].tolist()) == {-FIRST_FRAGMENT, -FIRST_FRAGMENT - 2}
    assert [record.getMessage() for record in caplog.records] == [
        f"fragment {OXALATE}: geometry 5 left out: no luck", "fragment O=C(O)CF left out: no luck",
    ]  # fmt: skip


def test_fragments_need_the_elements_of_the_labelled_molecules(tmp_path):
    """An element without training molecules has no reference energy."""
    table = labelled([FLUORIDE, ACRYLATE], tmp_path / "f")
    every = read_fragments(tmp_path / "f", set(QM9_ELEMENTS), None)
    np.testing.assert_array_equal(every["pos"], table["pos"])
    found = read_fragments(tmp_path / "f", {1, 6, 8}, None)
    assert set(found["index"].tolist()) == {-FIRST_FRAGMENT - 1}
    np.testing.assert_array_equal(found["pos"].reshape(GEOMETRIES, -1, 3), geometries(table, -2001))
    assert not len(read_fragments(tmp_path / "f", {1, 7}, None)["index"])


def test_the_shipped_fragments_are_not_molecules_that_measure_errors(molecules):
    """By their bonds, for geometries without a SMILES."""
    script = (ROOT / "benchmarks/reference_forces.py").read_text()
    large = next(
        ast.literal_eval(node.value)
        for node in ast.parse(script).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "LARGE"
    )
    named = [*large.values(), *molecules.smiles]
    named += [m if isinstance(m, str) else m["structure"] for m in MOLECULES.values()]
    assert len(named) > 400
    flat = {canonical_smiles(smiles, stereo=False) for smiles in SHIPPED}
    assert not flat & {canonical_smiles(smiles, stereo=False) for smiles in named}
    seen = {
        skeleton(atoms.numbers, bond_matrix(atoms.numbers, atoms.positions))
        for name in ("forces", "profiles")
        for atoms in read(RESOURCES / f"{name}.xyz", ":")
    }
    assert {skeleton_of("C=CC=C"), skeleton_of("CC(=O)Oc1ccccc1C(=O)O")} <= seen
    assert not {*map(skeleton_of, SHIPPED)} & seen


def test_the_shipped_fragments_are_many_and_small():
    lines = (RESOURCES / "fragments.smi").read_text().splitlines()
    assert len(SHIPPED) == len([line for line in lines if not line.startswith("#")]) > 180
    sizes = [Chem.MolFromSmiles(smiles).GetNumHeavyAtoms() for smiles in SHIPPED]
    assert max(sizes) <= 14
    assert np.mean(np.array(sizes) > 9) > 0.5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# C\nCCO\nC1CC\n", "list.smi, line 3: SMILES 'C1CC' does not parse; check brackets"),
        ("CCO ethanol", "list.smi, line 1: SMILES 'CCO ethanol' has a space"),
        ("CS", "list.smi, line 1: SMILES 'CS' has the element S, which the training set lacks"),
        ("CC[O-]", "list.smi, line 1: SMILES 'CC[O-]' has charge -1"),
        ("O.O", "list.smi, line 1: SMILES 'O.O' has several molecules; write one per line"),
        ("# none\n\n", "list.smi: holds no SMILES; add one per line"),
    ],
)
def test_bad_lists_are_refused_in_one_line(tmp_path, text, message):
    path = tmp_path / "list.smi"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_smiles(path, QM9_ELEMENTS)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_a_list_is_refused(tmp_path):
    path = tmp_path / "list.smi"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="give a text file with one SMILES per line"):
        read_smiles(path, QM9_ELEMENTS)
