"""Real molecules, as tables and as ASE atoms, an untrained potential of every architecture, and a
method whose field fails.
"""

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from nnpipe.data.molecules import Molecules, read_molecules, write_molecules
from nnpipe.data.neighbour_table import write_neighbours
from nnpipe.data.qm9 import UNITS, read_archive
from nnpipe.labelling.scf import Method, NotConverged
from nnpipe.labelling.tight_binding import gfn2
from nnpipe.models.potential import Potential
from nnpipe.models.registry import MODELS, build
from nnpipe.simulation.calculator import NeuralCalculator
from nnpipe.structures.smiles import from_smiles
from nnpipe.structures.vibrations import ForceFunction

torch.set_num_threads(1)
DATA = Path(__file__).parent / "data"
ELEMENTS = [1, 6, 7, 8, 9]
CUTOFF = 4.0
SMALL = {
    "mlp": {"features": 32, "channels": 4, "radial": 8},
    "gnn": {"features": 16, "channels": 4, "vectors": 2, "radial": 6, "mixed": 8, "layers": 2},
    "schnet": {"features": 16, "layers": 2, "radial": 16},
}

SLOW = ("test_workflow.py", "test_train.py", "test_calculator.py", "test_md.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the slowest files first, so that two processes end together."""
    items.sort(key=lambda item: SLOW.index(item.path.name) if item.path.name in SLOW else len(SLOW))


def small_model(architecture: str, seed: int = 0) -> torch.nn.Module:
    """A model of the architecture, small; a new line of the registry takes its defaults."""
    return build(architecture, {"cutoff": CUTOFF} | SMALL.get(architecture, {}), seed)


def potential_of(architecture: str) -> Potential:
    """An untrained potential in float64; its forces on bent ethanol have an RMS of 1 eV/Å."""
    references = {1: -13.6, 6: -1030.0, 7: -1485.0, 8: -2043.0, 9: -2713.0}
    ethanol = from_smiles("CCO")
    ethanol.rattle(0.05, rng=np.random.default_rng(0))
    scale = 1.0
    for _ in range(2):
        potential = Potential(small_model(architecture), references, scale, repulsion=True).double()
        potential.requires_grad_(False)
        ethanol.calc = NeuralCalculator(potential, ELEMENTS, "float64", "cpu")
        scale = 1 / np.sqrt((ethanol.get_forces() ** 2).mean())
    return potential


def failing(method: Method, fails: Callable[[np.ndarray, int], Any]) -> Method:
    """Return `method`, which does not converge for atomic numbers and calls, from 1, that fail."""
    calls = count(1)

    def failing_method(z: np.ndarray) -> ForceFunction:
        function = method(z)

        def energy_and_forces(pos: np.ndarray) -> tuple[float, np.ndarray]:
            if fails(z, next(calls)):
                raise NotConverged("no luck\nat all")
            return function(pos)

        return energy_and_forces

    return failing_method


def distorted(smiles: str, number: int) -> list[Atoms]:
    """Geometries of a molecule, off its minimum, with energies and forces of GFN2-xTB."""
    rest, rng = from_smiles(smiles), np.random.default_rng(0)
    function, frames = gfn2(rest.numbers), []
    for _ in range(number):
        atoms = Atoms(rest.numbers, rest.positions + 0.05 * rng.normal(size=(len(rest), 3)))
        energy, forces = function(atoms.positions)
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
        frames.append(atoms)
    return frames


@pytest.fixture(params=list(MODELS))
def architecture(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def calculator(architecture: str) -> NeuralCalculator:
    return NeuralCalculator(potential_of(architecture), ELEMENTS, "float64", "cpu")


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Paths of the molecules and the neighbours of the 400 molecules of tests/data."""
    folder = tmp_path_factory.mktemp("tables")
    path, pairs = folder / "qm9.safetensors", folder / "neighbours.safetensors"
    write_molecules(read_archive(DATA / "qm9.tar.bz2"), path, UNITS, {})
    molecules, header = read_molecules(path)
    write_neighbours(molecules, 5.0, pairs, {"molecules": header["digest"]})
    return path, pairs


@pytest.fixture(scope="session")
def molecules(tables: tuple[Path, Path]) -> Molecules:
    return read_molecules(tables[0])[0]


@pytest.fixture(scope="session")
def relaxed_aspirin() -> Atoms:
    return from_smiles("CC(=O)Oc1ccccc1C(=O)O")


@pytest.fixture
def aspirin(relaxed_aspirin: Atoms) -> Atoms:
    """Larger than any molecule of QM9, off its minimum, so that nothing is symmetric."""
    atoms = relaxed_aspirin.copy()
    atoms.rattle(0.05, rng=np.random.default_rng(0))
    return atoms


@pytest.fixture
def two_threads() -> Iterator[None]:
    """For which other code is compiled than for one."""
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)
