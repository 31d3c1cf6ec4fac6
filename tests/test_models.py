"""The physics that every model of the registry must obey."""

from dataclasses import fields
from functools import cache

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from scipy.spatial.transform import Rotation
from torch._subclasses.fake_tensor import DynamicOutputShapeException, FakeTensorMode
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from conftest import CUTOFF, ELEMENTS, potential_of
from nnpipe.errors import InputError
from nnpipe.graphs.batch import Batch, batch_from_pairs, batch_from_positions
from nnpipe.graphs.dataset import load_dataset, split_by_budget
from nnpipe.models.atom_gnn import INVARIANTS_BY_BODIES, invariants, spherical_harmonics
from nnpipe.models.potential import Potential, energy_forces
from nnpipe.models.registry import build
from nnpipe.models.repulsion import Repulsion
from nnpipe.simulation.calculator import NeuralCalculator
from nnpipe.structures.neighbours import neighbours
from nnpipe.training.settings import Settings
from nnpipe.training.step import make_loss_and_gradients


def with_calculator(atoms: Atoms, calculator: NeuralCalculator) -> Atoms:
    atoms = atoms.copy()
    atoms.calc = calculator
    return atoms


def test_forces_are_minus_the_gradient(aspirin, calculator):
    aspirin.calc = calculator
    forces = aspirin.get_forces()
    assert np.abs(forces).max() > 0.1  # or zero would equal zero
    np.testing.assert_allclose(forces, calculate_numerical_forces(aspirin, 1e-4), atol=1e-5)


@pytest.mark.parametrize("improper", [False, True], ids=["rotation", "reflection"])
def test_energy_is_invariant_and_forces_rotate(aspirin, calculator, improper):
    matrix = Rotation.random(rng=np.random.default_rng(1)).as_matrix() * (-1 if improper else 1)
    turned = aspirin.copy()
    turned.positions = aspirin.positions @ matrix.T + [3.0, -2.0, 7.0]
    aspirin.calc = turned.calc = calculator
    forces = aspirin.get_forces()
    assert turned.get_potential_energy() == pytest.approx(aspirin.get_potential_energy(), abs=1e-8)
    np.testing.assert_allclose(turned.get_forces(), forces @ matrix.T, atol=1e-8)


def test_atom_order_does_not_matter(aspirin, calculator):
    order = np.random.default_rng(2).permutation(len(aspirin))
    mixed = with_calculator(aspirin[order], calculator)
    aspirin.calc = calculator
    assert mixed.get_potential_energy() == pytest.approx(aspirin.get_potential_energy(), abs=1e-8)
    np.testing.assert_allclose(mixed.get_forces(), aspirin.get_forces()[order], atol=1e-8)


def test_batch_gives_the_results_of_single_molecules(architecture, tables, molecules):
    potential = potential_of(architecture)
    rows = torch.arange(0, 400, 10)
    data = load_dataset(*tables, np.arange(400), "energy", CUTOFF)
    batch = data.batch(rows).to(torch.device("cpu"), torch.float64)
    energies, forces = energy_forces(potential, batch)
    for place, row in enumerate(rows.tolist()):
        atoms = slice(molecules.ptr[row], molecules.ptr[row + 1])
        z, pos = molecules.z[atoms], molecules.pos[atoms].astype(np.float32).astype(float)
        alone = batch_from_pairs(z, pos, *neighbours(pos, CUTOFF))
        energy, force = energy_forces(potential, alone)
        assert energy.item() == pytest.approx(energies[place].item(), abs=1e-8)
        torch.testing.assert_close(force, forces[batch.system_idx == place], atol=1e-8, rtol=0)


def test_batch_with_a_nan_molecule_keeps_the_results_of_the_others(architecture, tables):
    potential = potential_of(architecture)
    data = load_dataset(*tables, np.arange(20), "energy", CUTOFF)
    batch = data.batch(torch.arange(20)).to(torch.device("cpu"), torch.float64)
    whole = energy_forces(potential, batch)
    broken = batch.system_idx == 7
    energies, forces = energy_forces(
        potential, batch.with_positions(batch.pos.masked_fill(broken[:, None], torch.nan))
    )
    assert energies.isnan().nonzero().flatten().tolist() == [7]
    others = torch.arange(20) != 7
    torch.testing.assert_close(energies[others], whole[0][others], atol=1e-8, rtol=0)
    torch.testing.assert_close(forces[~broken], whole[1][~broken], atol=1e-8, rtol=0)


def test_energy_and_forces_are_continuous_where_neighbours_come_and_go(
    relaxed_aspirin, architecture
):
    """Drag the carbon of the methyl group through the molecule and away from it.

    Energy differences must equal the integral of the forces. The neighbours of each frame are the
    atoms within the cutoff, without a skin.
    """
    potential, z = potential_of(architecture), torch.tensor(relaxed_aspirin.numbers)
    steps = np.r_[0:4:0.005, 4:8:0.02]  # Å; close contacts are in the first part
    direction = np.array([0.6, 0.64, 0.48])
    frames = np.repeat(relaxed_aspirin.positions[None], len(steps), 0)
    frames[:, 0] += steps[:, None] * direction
    energies, forces = [], []
    for some in np.array_split(frames, 40):
        sizes = torch.full((len(some),), len(z))
        pos = torch.tensor(some).flatten(0, 1)
        batch = batch_from_positions(z.repeat(len(some)), pos, sizes, CUTOFF)
        energy, force = energy_forces(potential, batch)
        energies += energy.tolist()
        forces += (force.view(len(some), -1, 3)[:, 0].numpy() @ direction).tolist()
    integral = 0.5 * (np.array(forces)[1:] + forces[:-1]) * np.diff(steps)
    assert np.abs(np.diff(energies) + integral).max() < 1e-5 * np.ptp(energies)
    assert np.abs(np.diff(forces)).max() < 0.05 * np.ptp(forces)


@pytest.mark.parametrize("others", [1, 14, 15, 16], ids=lambda n: f"{n} neighbours before")
def test_cutoff_is_smooth_for_an_approaching_atom(calculator, others):
    """An oxygen approaches a carbon whose other neighbours all lie on the far side."""
    rng = np.random.default_rng(3)
    shell = rng.normal(size=(others, 3))
    shell *= np.linspace(1.0, 3.9, others)[:, None] / np.linalg.norm(shell, axis=1, keepdims=True)
    shell[:, 0] = -np.abs(shell[:, 0]) - 1e-2
    atoms = Atoms(f"CH{others}O", np.vstack([np.zeros((1, 3)), shell, np.zeros((1, 3))]))
    atoms.calc = calculator
    energies, forces = [], []
    for distance in (CUTOFF + 1e-4, CUTOFF - 1e-4, CUTOFF - 1.5):
        atoms.positions[-1, 0] = distance
        energies.append(atoms.get_potential_energy())
        forces.append(atoms.get_forces())
    assert abs(energies[1] - energies[0]) < 1e-6
    assert np.abs(forces[1] - forces[0]).max() < 1e-3 * np.abs(forces).max()
    assert np.abs(forces[2] - forces[0]).max() > 1e-2


def test_energy_has_correct_second_derivatives(architecture):
    water = molecule("H2O")
    potential = potential_of(architecture)
    batch = batch_from_pairs(water.numbers, water.positions, *neighbours(water.positions, CUTOFF))

    def energy(pos: torch.Tensor) -> torch.Tensor:
        return potential(batch.with_positions(pos))

    pos = batch.pos.clone().requires_grad_()
    assert torch.autograd.gradgradcheck(energy, pos, eps=1e-5, atol=1e-4)


def test_weight_gradients_of_forces_match_finite_differences(architecture):
    """The gradient that a training on forces needs, along one direction of all weights."""
    water, generator = molecule("H2O"), torch.Generator().manual_seed(0)
    potential = potential_of(architecture).requires_grad_()
    batch = batch_from_pairs(water.numbers, water.positions, *neighbours(water.positions, CUTOFF))
    weights = list(potential.model.parameters())

    def random_like(tensor: torch.Tensor) -> torch.Tensor:
        return torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)

    changes = [random_like(weight) for weight in weights]
    along = random_like(batch.pos)

    def pull() -> torch.Tensor:
        return (energy_forces(potential, batch, create_graph=True)[1] * along).sum()

    slopes = torch.autograd.grad(pull(), weights, materialize_grads=True)
    slope = sum((one * change).sum() for one, change in zip(slopes, changes, strict=True))
    pulls = []
    for step in (1e-5, -2e-5):
        with torch.no_grad():
            torch._foreach_add_(weights, changes, alpha=step)
        pulls.append(pull().detach())
    assert abs(slope) > 1e-2
    torch.testing.assert_close((pulls[0] - pulls[1]) / 2e-5, slope, rtol=1e-4, atol=1e-5)


@cache
def elsewhere() -> torch.device:
    """Return a device that refuses to mix with the CPU, as a GPU does, and computes shapes only.

    PyTorch has no public device of this kind: `meta` multiplies with matrices on the CPU.
    """
    _setup_privateuseone_for_python_backend("elsewhere")
    return torch.device("elsewhere")


def test_training_step_uses_one_device_only(architecture, aspirin):
    potential, device = potential_of(architecture), elsewhere()
    batch = batch_from_pairs(
        aspirin.numbers, aspirin.positions, *neighbours(aspirin.positions, CUTOFF)
    )
    with torch.autograd.set_multithreading_enabled(False), FakeTensorMode() as shapes:

        def moved(one: object) -> object:
            return shapes.from_tensor(one).to(device) if isinstance(one, torch.Tensor) else one

        for module in potential.modules():
            for kind in (module._parameters, module._buffers):
                kind |= {name: moved(one) for name, one in kind.items()}
        batch = Batch(**{part.name: moved(getattr(batch, part.name)) for part in fields(batch)})
        step = make_loss_and_gradients(potential.requires_grad_(), Settings())
        label, weight = batch.pos.new_zeros(2, batch.n_systems)
        try:
            loss, *found = step(batch, label, weight, batch.pos, batch.pos[:, 0])
        except DynamicOutputShapeException:
            pytest.skip("its shapes depend on values")
        assert {one.device.type for one in (loss, *found)} == {device.type}
    assert [one.shape for one in found] == [one.shape for one in potential.model.parameters()]


@pytest.fixture
def crystal() -> Atoms:
    """Return rattled diamond with hydrogen in a skewed cell that is smaller than the cutoff."""
    atoms = bulk("C", "diamond", 3.57) * (2, 1, 1)
    atoms.numbers[0] = 1
    atoms.rattle(0.05, rng=np.random.default_rng(4))
    return atoms


def test_supercell_equals_the_repeated_cell(crystal, calculator):
    big = with_calculator(crystal * (2, 3, 2), calculator)
    crystal.calc = calculator
    energy = crystal.get_potential_energy()
    assert big.get_potential_energy() == pytest.approx(12 * energy, rel=1e-10)
    forces = big.get_forces()
    np.testing.assert_allclose(forces, np.tile(crystal.get_forces(), (12, 1)), atol=1e-8)
    np.testing.assert_allclose(big.get_stress(), crystal.get_stress(), atol=1e-10)


def test_stress_is_the_derivative_with_respect_to_strain(crystal, calculator):
    crystal.calc = calculator
    stress = crystal.get_stress()
    assert np.abs(stress).max() > 1e-3
    numerical = calculate_numerical_stress(crystal, 1e-5, voigt=True)
    np.testing.assert_allclose(stress, numerical, atol=1e-7)


def test_energies_of_distant_molecules_add(aspirin, calculator):
    water = molecule("H2O")
    water.positions += 50
    both = with_calculator(aspirin + water, calculator)
    aspirin.calc = water.calc = calculator
    alone = aspirin.get_potential_energy() + water.get_potential_energy()
    assert both.get_potential_energy() == pytest.approx(alone, abs=1e-8)


def test_lone_atom_has_finite_energy_and_no_force(calculator):
    atom = with_calculator(Atoms("O"), calculator)
    assert np.isfinite(atom.get_potential_energy())
    assert not atom.get_forces().any()


def test_memory_is_linear_in_atoms(architecture):
    """Count bytes kept for the backward pass, for a crystal and one eight times as large."""
    potential = potential_of(architecture)
    kept = []
    for repeat in (2, 4):
        atoms = bulk("C", "diamond", 3.57, cubic=True).repeat(repeat)
        counts, index, shift = neighbours(atoms.positions, CUTOFF, atoms.cell.array, True)
        batch = batch_from_pairs(
            atoms.numbers, atoms.positions, counts, index, shift @ atoms.cell.array
        )
        sizes = {}

        def pack(tensor: torch.Tensor, sizes: dict = sizes) -> torch.Tensor:
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            energy = potential(batch.with_positions(batch.pos.clone().requires_grad_()))
        energy.backward()
        kept.append(sum(sizes.values()))
    assert kept[1] < 9 * kept[0]


def test_split_by_budget_keeps_the_budget(tables):
    data = load_dataset(*tables, np.arange(400), "energy", CUTOFF)
    order = torch.randperm(400, generator=torch.Generator().manual_seed(0))
    batches = split_by_budget(data, order, 100, 1500)
    assert torch.cat(batches).sort().values.tolist() == list(range(400))
    for rows in batches:
        batch = data.batch(rows)
        assert len(batch.z) <= 100
        assert batch.neighbours.numel() <= 1500


def test_build_keeps_the_random_state(architecture):
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    build(architecture, {})
    assert torch.rand(1) == expected


def test_forces_depend_on_elements(architecture):
    calculator = NeuralCalculator(potential_of(architecture), ELEMENTS, "float64", "cpu")
    water = with_calculator(molecule("H2O"), calculator)
    before = water.get_forces()
    water.numbers[0] = 7
    assert np.abs(water.get_forces() - before).max() > 1e-3


LINE, ROOT = [[0, 0, 1], [1, 0, 0], [-1, 0, 0]], 0.5**0.5


@pytest.mark.parametrize(
    ("first", "second", "alike"),
    [
        ([[0, 0, 1], [1, 0, 0]], [[0, 0, 1], [0, 0, -1]], 1),  # another angle
        (  # the same set of angles: a second line at 60° to the first, or at 45° to the atom
            [*LINE, [0.5, 0.75**0.5, 0], [-0.5, -(0.75**0.5), 0]],
            [*LINE, [0, ROOT, ROOT], [0, -ROOT, -ROOT]],
            3,
        ),
    ],
    ids=["3 bodies", "4 bodies"],
)
def test_gnn_invariants_distinguish_environments_by_body_order(first, second, alike):
    found = []
    for directions in (first, second):
        sums = spherical_harmonics(torch.tensor([directions], dtype=torch.float64)).sum(2)
        parts = sums[:, :1], sums[:, 1:4, None], sums[:, 4:, None]
        found.append(invariants(*parts, INVARIANTS_BY_BODIES[4])[0].numpy())
    np.testing.assert_allclose(found[0][:alike], found[1][:alike], atol=1e-12)
    assert abs(found[0][alike] - found[1][alike]) > 0.1


@pytest.mark.parametrize("bodies", [2, 3, 4])
def test_gnn_with_two_bodies_does_not_depend_on_angles(bodies):
    model = build(
        "gnn", {"cutoff": 1.3, "layers": 1, "bodies": bodies}
    )  # Å: H atoms are no neighbours
    calculator = NeuralCalculator(
        Potential(model, {1: 0.0, 8: 0.0}, 20.0).double(), [1, 8], "float64"
    )
    water = with_calculator(molecule("H2O"), calculator)
    before = water.get_potential_energy()
    water.set_angle(1, 0, 2, 120.0)
    assert (abs(water.get_potential_energy() - before) < 1e-9) == (bodies == 2)
    with pytest.raises(InputError, match="bodies: 5 is not one of 2, 3, 4"):
        build("gnn", {"bodies": 5})


@pytest.mark.parametrize("pair", ["HH", "CH", "CC", "OO", "NF"])
def test_repulsion_prevents_collisions(architecture, calculator, pair):
    """Two atoms that come too close repel each other, whatever the model predicts."""
    atoms = with_calculator(Atoms(pair, np.zeros((2, 3))), calculator)
    energies, pushes = [], []
    for distance in (0.4, 0.3, 0.2, 0.1):
        atoms.positions[1, 0] = distance
        energies.append(atoms.get_potential_energy())
        pushes.append(atoms.get_forces()[1, 0])
    assert all(np.diff(energies) > 0)
    assert energies[-1] - energies[0] > 50
    assert all(push > 50 for push in pushes[-2:])


def test_repulsion_is_zero_at_minima(molecules):
    repulsion = Repulsion().double()
    for row in range(0, 400, 20):
        atoms = slice(molecules.ptr[row], molecules.ptr[row + 1])
        z, pos = molecules.z[atoms], molecules.pos[atoms]
        assert repulsion(batch_from_pairs(z, pos, *neighbours(pos, CUTOFF))).item() == 0


def test_repulsion_equals_zbl():
    """ZBL of two carbons at 0.5 Å, by hand: 14.4 eV Å * 36 / 0.5 Å * phi(0.5 Å / 0.1551 Å)."""
    pos = np.array([[0.0, 0, 0], [0, 0, 0.5]])
    batch = batch_from_pairs(np.array([6, 6]), pos, *neighbours(pos, CUTOFF))
    found = Repulsion().double()(batch).item()
    x = 0.5 / (0.88534 * 0.529177 / (2 * 6**0.23))
    phi = 0.18175 * np.exp(-3.1998 * x) + 0.50986 * np.exp(-0.94229 * x)
    phi += 0.28022 * np.exp(-0.4029 * x) + 0.02817 * np.exp(-0.20162 * x)
    fade = 0.5 / (0.75 * 1.52)
    fade = 1 - 10 * fade**3 + 15 * fade**4 - 6 * fade**5
    assert found == pytest.approx(14.39964 * 36 / 0.5 * phi * fade, rel=1e-3)
