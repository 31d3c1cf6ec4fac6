"""Training learns, says where it stands, and resumes to the same weights."""

import copy
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import pad

from conftest import CUTOFF, SMALL, distorted, small_model
from nnpipe.data.molecules import read_molecules, row_ends
from nnpipe.data.splits import read_split, smallest_molecules, write_split
from nnpipe.errors import InputError
from nnpipe.graphs.compile import CompiledFunction
from nnpipe.graphs.dataset import Dataset, dataset, load_dataset, load_labels
from nnpipe.models.checkpoint import copy_model, load_model, load_tensors, read_info
from nnpipe.models.potential import Potential, energy_forces
from nnpipe.models.predict import predict
from nnpipe.models.registry import MODELS, build
from nnpipe.runtime.device import thread_pool_map
from nnpipe.runtime.files import lock, unlock
from nnpipe.structures.neighbours import neighbours
from nnpipe.training.batching import mix_batches
from nnpipe.training.loop import Diverged, train
from nnpipe.training.run import make_potential, train_from_files
from nnpipe.training.settings import Settings, Stage, learning_rate, stage_of
from nnpipe.training.soap import SOAP
from nnpipe.training.state import Checkpoint
from nnpipe.training.step import BatchSpec, BatchStepper, collate_part, make_loss_and_gradients

ROOT = Path(__file__).parents[1]
QUICK = Settings(
    stages=(Stage(3),), batch_atoms=150, batch_pairs=10_000, learning_rate=5e-3, warmup_steps=5,
    ema_decay=0.9, minima_passes=0, compiled=False,
)  # fmt: skip


@pytest.fixture(scope="module")
def data(tables) -> Dataset:
    return load_dataset(*tables, np.arange(10, 110), "energy", CUTOFF)


@pytest.fixture(scope="module")
def validation(tables) -> Dataset:
    return load_dataset(*tables, np.arange(110, 150), "energy", CUTOFF)


def start(architecture: str, data: Dataset, seed: int = 0) -> Potential:
    return make_potential(small_model(architecture, seed), data, "energy")


def weights(potential: Potential) -> list[torch.Tensor]:
    return [tensor.clone() for tensor in potential.model.state_dict().values()]


def same(first: list[torch.Tensor], second: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_every_model_learns(architecture, data, validation):
    potential = start(architecture, data)
    progress = train(potential, data, validation, replace(QUICK, stages=(Stage(50),)))
    error = (predict(potential, data) - data.target).abs().mean()
    reference = (potential.reference_energy(data) - data.target).abs().mean()
    assert error < 0.25 * reference
    assert [entry["epoch"] for entry in progress.history] == list(range(1, 51))
    mae = (predict(potential, validation) - validation.target).abs().mean().item()
    assert progress.history[-1]["validation_mae"] == mae
    assert mae < 0.5 * (potential.reference_energy(validation) - validation.target).abs().mean()


class Killed(Exception):
    """Stands for the end of the process."""


def test_resumed_is_uninterrupted(architecture, data, validation, tmp_path):
    straight = start(architecture, data)
    train(straight, data, validation, QUICK)
    settings = replace(QUICK, checkpoint_seconds=1e-9)  # after every batch
    for stop in (1, 2):  # killed twice: after the epoch, but before what follows it is saved

        def kill(history: list, stop: int = stop) -> None:
            if len(history) == stop:
                raise Killed

        with pytest.raises(Killed):
            train(
                start(architecture, data),
                data,
                validation,
                settings,
                checkpoint=Checkpoint(tmp_path / "c", "x"),
                after_epoch=kill,
            )
    resumed = start(architecture, data, seed=99)
    progress = train(
        resumed, data, validation, settings, checkpoint=Checkpoint(tmp_path / "c", "x")
    )
    assert same(weights(straight), weights(resumed))
    assert len(progress.history) == 3
    again = start(architecture, data, seed=98)
    train(again, data, validation, settings, checkpoint=Checkpoint(tmp_path / "c", "x"))
    assert same(weights(again), weights(resumed))


def test_a_checkpoint_of_something_else_is_left_alone(data, validation, tmp_path):
    train(
        start("mlp", data),
        data,
        validation,
        QUICK,
        checkpoint=Checkpoint(tmp_path / "c", "one thing"),
    )
    other, fresh = start("mlp", data, seed=1), start("mlp", data, seed=1)
    train(other, data, validation, QUICK, checkpoint=Checkpoint(tmp_path / "c", "another"))
    train(fresh, data, validation, QUICK)
    assert same(weights(other), weights(fresh))


def test_seed_decides(data, validation):
    potentials = [start("mlp", data) for _ in range(3)]
    for potential, seed in zip(potentials, (0, 0, 1), strict=True):
        train(potential, data, validation, replace(QUICK, seed=seed))
    first, second, third = map(weights, potentials)
    assert same(first, second)
    assert not same(first, third)


def test_a_loss_that_is_no_number_stops_and_leaves_a_good_state(data, validation, tmp_path):
    class Poisoned(torch.nn.Module):
        """Fails in the third epoch, as a training with too high a learning rate would."""

        cutoff, calls = CUTOFF, 0

        def __init__(self) -> None:
            super().__init__()
            self.inner = small_model("mlp")

        def forward(self, batch):
            Poisoned.calls += self.training and torch.is_grad_enabled()
            return self.inner(batch) * (float("nan") if Poisoned.calls > 30 else 1)

    potential = make_potential(Poisoned(), data, "energy")
    settings = replace(QUICK, stages=(Stage(20),), checkpoint_seconds=1e-9)
    with pytest.raises(Diverged, match=r"loss nan in epoch 3, step 31; lower learning_rate"):
        train(potential, data, validation, settings, checkpoint=Checkpoint(tmp_path / "c", "x"))
    tensors, meta = load_tensors(tmp_path / "c")
    assert meta["progress"]["step"] == 30
    assert all(tensor.isfinite().all() for tensor in tensors.values())


def labelled(smiles: str, number: int) -> Dataset:
    """Distorted geometries of a molecule with their energies and forces."""
    frames = distorted(smiles, number)
    counts, index = zip(*(neighbours(f.positions, CUTOFF)[:2] for f in frames), strict=True)
    z = np.concatenate([frame.numbers for frame in frames]).astype(np.uint8)
    table = {
        "z": z,
        "pos": np.concatenate([frame.positions for frame in frames]),
        "ptr": np.arange(number + 1) * len(frames[0]),
        "first": row_ends(np.concatenate(counts)),
        "neighbour": np.concatenate(index).astype(np.uint8),
    }
    energies = np.array([frame.get_potential_energy() for frame in frames])
    forces = np.concatenate([frame.get_forces() for frame in frames])
    return dataset(table, np.arange(number), energies, forces, CUTOFF)


def test_force_labels_teach_forces():
    """Trained on forces, a model predicts those of unseen geometries far better than without."""
    whole = labelled("CCO", 120)
    data, test = part(whole, 0, 80), part(whole, 80, 120)
    errors = []
    for weight in (0.0, 1.0):
        potential = start("gnn", data)
        train(potential, data, test, replace(QUICK, stages=(Stage(30),), force_weight=weight))
        _, forces = energy_forces(potential, test.batch(torch.arange(len(test))))
        errors.append(
            (forces - test.force_labels(torch.arange(len(test)))).norm(dim=1).mean().item()
        )
    assert errors[1] < 0.5 * errors[0]
    assert errors[1] < 0.35 * test.force_labels(torch.arange(len(test))).norm(dim=1).mean()


@pytest.mark.parametrize("architecture", ["gnn", "mlp"])  # schnet is not compiled
def test_a_compiled_step_gives_the_same_gradients(architecture, two_threads):
    """For batches of other sizes and for other weights too, and the same bits every time, on two
    threads as on one.
    """
    data = labelled("CCO", 20)
    potential = make_potential(build(architecture, {"cutoff": CUTOFF}), data, "energy")
    step = make_loss_and_gradients(potential, QUICK)
    fused = CompiledFunction(step)
    for number in (20, 7, 20, 13):
        rows = torch.arange(number)
        args = collate_part(BatchSpec(data, potential.normalised_target(data), rows), rows)
        for some, other in zip(fused(*args), step(*args), strict=True):
            torch.testing.assert_close(some, other, rtol=1e-3, atol=1e-5)
        assert all(same(list(fused(*args)), list(fused(*args))) for _ in range(20))
        with torch.no_grad():
            for parameter in potential.parameters():
                parameter += 0.01 * torch.randn_like(parameter)
    assert fused.compiled_ok
    assert len(fused.programs) == 1


def test_threads_share_a_batch(two_threads):
    """Their parts add up to its loss and gradients, batch after batch, and the weights after steps
    are the same, to the bit, as if one thread had updated them.
    """
    data = labelled("CCO", 20)
    potential = make_potential(build("mlp", {"cutoff": CUTOFF}), data, "energy")
    labels, whole = potential.normalised_target(data), make_loss_and_gradients(potential, QUICK)
    stepper = BatchStepper(potential, replace(QUICK, compiled=True))
    assert stepper.parallel_map is not map
    models = [potential.model, copy.deepcopy(potential.model)]
    ways = zip(models, (stepper.parallel_map, thread_pool_map(1)), strict=True)
    optimizers = [SOAP(model.parameters(), 1e-3, 0.0, parallel_map=way) for model, way in ways]
    batches = [torch.arange(20)[-number:] for number in (20, 7, 3, *[2] * 10)]
    for rows, found in zip(
        batches, stepper(BatchSpec(data, labels, b, 0.7) for b in batches), strict=True
    ):
        expected = whole(*collate_part(BatchSpec(data, labels, rows, 0.7), rows))
        for some, other in zip(found, expected, strict=True):
            torch.testing.assert_close(some, other, rtol=1e-3, atol=1e-5)
        for model, optimizer in zip(models, optimizers, strict=True):
            for parameter, gradient in zip(model.parameters(), found[1:], strict=True):
                parameter.grad = gradient.clone()
            optimizer.step()
    assert same(*(list(model.parameters()) for model in models))
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("architecture", MODELS)
def test_a_padded_batch_has_the_same_gradients(architecture):
    """What fills it up, as on a GPU, where few shapes must serve, takes no part in the loss."""
    data = labelled("CCO", 20)
    potential = make_potential(build(architecture, {"cutoff": CUTOFF}), data, "energy").double()
    step = make_loss_and_gradients(potential, QUICK)
    batch, label, weight, known, force_weight = collate_part(
        BatchSpec(data, potential.normalised_target(data), torch.arange(20), 0.7), torch.arange(20)
    )
    padded, forces = data.collate(torch.arange(20), padded=True)
    assert padded.n_systems > batch.n_systems
    assert padded.neighbours.numel() > 1.2 * batch.neighbours.numel()
    found = []
    for one, force in ((batch, known), (padded, forces)):
        longer = one.n_systems - batch.n_systems, len(one.z) - len(batch.z)
        args = [pad(value, (0, longer[0])).double() for value in (label, weight)]
        args += [force.double(), pad(force_weight, (0, longer[1])).double()]
        found.append(step(one.to(torch.device("cpu"), torch.float64), *args))
    for some, other in zip(*found, strict=True):
        torch.testing.assert_close(some, other, rtol=1e-9, atol=1e-12)


def test_of_those_that_want_the_same_program_one_compiles(data, monkeypatch, tmp_path):
    """The others wait for it, and take what it left."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    batch, results = data.batch(torch.arange(5)), []

    def compiled() -> None:
        results.append(CompiledFunction(lambda batch: (batch.pos.sum(1).sin(),))(batch)[0])

    compiled()
    held = lock(next(tmp_path.glob("nnpipe_*.lock")))
    other = threading.Thread(target=compiled)
    other.start()
    other.join(3)
    assert other.is_alive()
    unlock(held)
    other.join()
    torch.testing.assert_close(results[1], batch.pos.sum(1).sin())


def test_a_stage_replaces_settings_of_its_epochs(data, validation):
    """Minima are seen more often, and forces count for less."""
    stages = (Stage(2), Stage(1, minima_passes=3, force_weight=0.5))
    settings = replace(QUICK, minima_passes=1, stages=stages)
    assert settings.epochs == 3
    progress = train(start("mlp", data), data, validation, settings, minima=validation)
    steps = [entry["step"] for entry in progress.history]
    assert steps[2] - steps[1] > steps[1] - steps[0]
    found = [stage_of(settings, epoch) for epoch in range(3)]
    assert [(now.minima_passes, now.force_weight) for now in found] == [(1, 1.0)] * 2 + [(3, 0.5)]


def test_a_stage_replaces_the_weight_of_energies():
    """Also a weight of 0: the losses are those of a training with that weight from the start."""
    whole = labelled("CO", 24)

    def losses(energy_weight: float, stage: Stage) -> list[float]:
        settings = replace(QUICK, energy_weight=energy_weight, stages=(stage,))
        history = train(start("mlp", whole), whole, whole, settings).history
        return [entry["train_loss"] for entry in history]

    expected = losses(0.4, Stage(2))
    assert losses(0.2, Stage(2)) != pytest.approx(expected, rel=1e-2)
    for weight in (0.2, 0.0):
        assert losses(weight, Stage(2, energy_weight=0.4)) == pytest.approx(expected, rel=1e-4)
    forces_alone = losses(0.4, Stage(2, energy_weight=0.0))
    assert forces_alone == pytest.approx(losses(0.0, Stage(2)), rel=1e-4)


def test_minima_are_mixed_into_every_epoch(data, validation):
    """Each is seen as many times as was asked for, all along."""
    settings = replace(QUICK, minima_passes=2)
    mixed = mix_batches(data, validation, settings, 0)
    for kind, size, passes in ((False, len(data), 1), (True, len(validation), 2)):
        seen = torch.cat([rows for which, rows in mixed if which == kind])
        assert torch.equal(seen.bincount(), torch.full((size,), passes))
        places = np.array([place for place, (which, _) in enumerate(mixed) if which == kind])
        assert abs(places.mean() - (len(mixed) - 1) / 2) < 0.1 * len(mixed)
    assert not all(
        torch.equal(rows, other)
        for (_, rows), (_, other) in zip(
            mixed, mix_batches(data, validation, settings, 1), strict=False
        )
    )


def part(data: Dataset, start: int, end: int) -> Dataset:
    """Some molecules of a data set."""
    some = {
        name: getattr(data, name)[start:end]
        for name in ("atom_start", "sizes", "max_neighbours", "target")
    }
    return replace(data, **some)


@pytest.mark.parametrize("target", ["u0", "gap", "zpve", "alpha", "cv"])
def test_any_target(tables, target):
    data = load_dataset(*tables, np.arange(100), target, CUTOFF)
    potential = make_potential(small_model("gnn"), data, target)
    train(potential, data, data, replace(QUICK, stages=(Stage(40),)))
    error = (predict(potential, data) - data.target).abs().mean()
    assert error < 0.8 * (potential.reference_energy(data) - data.target).abs().mean()


def test_intensive_targets_do_not_grow_with_the_number_of_molecules(tables):
    data = load_dataset(*tables, np.array([5]), "gap", CUTOFF)
    potential = make_potential(small_model("gnn"), data, "gap")
    assert potential.intensive
    one = data.batch(torch.tensor([0]))
    two = data.batch(torch.tensor([0, 0]))
    both = replace(two, system_idx=torch.zeros_like(two.system_idx), n_systems=1)
    assert potential(both).item() == pytest.approx(potential(one).item(), abs=1e-5)


def test_references_are_fitted_in_double_precision(tables):
    """Labels of -11,000 eV lose their meV in single precision; residuals do not."""
    data = load_dataset(*tables, np.arange(400), "energy", CUTOFF)
    potential = make_potential(small_model("mlp"), data, "energy")
    rest = potential.normalised_target(data).double() * potential.scale
    rest += potential.reference_energy(data)
    assert (rest - data.target).abs().max() < 1e-6
    assert potential.normalised_target(data).mean().abs() < 0.1
    assert potential.normalised_target(data).std(correction=0) == pytest.approx(1, abs=1e-3)


def test_learning_rate_warms_up_and_falls():
    settings = Settings(learning_rate=1.0, warmup_steps=10)
    assert learning_rate(settings, 0, 0) == pytest.approx(0.1)
    assert learning_rate(settings, 9, 0) == pytest.approx(1.0)
    assert learning_rate(settings, 10_000, 1.0) == pytest.approx(0.01)


def reference_soap(
    gradients: list[np.ndarray],
    start: np.ndarray,
    bases: dict[int, np.ndarray],
    lr: float,
    decay: float,
    every: int,
) -> np.ndarray:
    """Algorithms 3 and 4 of https://arxiv.org/abs/2409.11321 for one parameter, in float64.

    With the differences that soap.py lists, but M in the original space, as in the paper. `bases`
    are the eigenvectors of L (0) and R (1) after the first gradient. It determines them up to a
    rotation of the null space, so they are checked here instead of computed.
    """
    beta, eps = 0.95, 1e-8
    x, mean, square = start.copy(), np.zeros(start.shape), np.zeros(start.shape)

    def outer(gradient: np.ndarray, side: int) -> np.ndarray:
        return gradient @ gradient.T if side == 0 else gradient.T @ gradient

    def project(matrix: np.ndarray, back: bool = False) -> np.ndarray:
        for side, basis in bases.items():
            basis = basis if back else basis.T
            matrix = basis @ matrix if side == 0 else matrix @ basis.T
        return matrix

    shampoo = {side: (1 - beta) * outer(gradients[0], side) for side in bases}
    for side, basis in bases.items():
        eigenvalues = np.linalg.eigvalsh(shampoo[side])[::-1]
        np.testing.assert_allclose(basis.T @ basis, np.eye(len(basis)), atol=1e-12)
        np.testing.assert_allclose(shampoo[side] @ basis, basis * eigenvalues, atol=1e-12)
    for step, gradient in enumerate(gradients[1:], 1):
        mean = beta * mean + (1 - beta) * gradient
        square = beta * square + (1 - beta) * project(gradient) ** 2
        direction = project(mean) / (1 - beta**step)
        direction /= np.sqrt(square / (1 - beta**step)) + eps
        x = x * (1 - lr * decay) - lr * project(direction, back=True)
        for side in bases:
            shampoo[side] = beta * shampoo[side] + (1 - beta) * outer(gradient, side)
        if step % every == 0:
            for side, basis in bases.items():
                powered = shampoo[side] @ basis
                order = np.argsort(-(basis * powered).sum(0))
                square = np.take(square, order, side)
                bases[side] = np.linalg.qr(powered[:, order])[0]
    return x


@pytest.mark.parametrize(
    ("decay", "atol"),
    [(0.0, 1e-9), (0.1, 5e-6)],  # 1 - lr * decay is rounded to float32 in each of 48 steps
)
def test_soap_follows_the_published_algorithm(decay, atol):
    """Nine refreshes; matrices of which two are stacked, a row, a column, a vector, a scalar."""
    rng, lr, every = np.random.default_rng(0), 1e-2, 5
    shapes = [(6, 4), (3, 3), (6, 4), (1, 4), (5, 1), (7,), ()]
    starts = [rng.normal(size=shape) for shape in shapes]
    scales = [np.exp(rng.normal(size=shape)) for shape in shapes]
    gradients = [[rng.normal(size=s.shape) * s + s / 2 for s in scales] for _ in range(49)]
    parameters = [torch.nn.Parameter(torch.tensor(start)) for start in starts]
    optimizer = SOAP(parameters, lr, decay, every=every)
    bases: list[dict[int, np.ndarray]] = []
    for step in gradients:
        for parameter, gradient in zip(parameters, step, strict=True):
            parameter.grad = torch.tensor(gradient)
        optimizer.step()
        for shape in [] if bases else shapes:
            state = optimizer.state[parameters[shapes.index(shape)]]  # of all of this shape
            sides = {
                side: state.get(f"{name}_basis") for side, name in enumerate(("left", "right"))
            }
            place = shapes[: len(bases)].count(shape)
            bases.append({n: b[place].numpy().copy() for n, b in sides.items() if b is not None})
    assert [sorted(sides) for sides in bases] == [[0, 1], [0, 1], [0, 1], [1], [0], [], []]
    for number, (parameter, start) in enumerate(zip(parameters, starts, strict=True)):
        series = [step[number] for step in gradients]
        moved = reference_soap(series, start, bases[number], lr, decay, every) - start
        assert np.abs(moved).min() > 1e-4
        np.testing.assert_allclose(parameter.detach().numpy() - start, moved, rtol=1e-6, atol=atol)


def test_soap_needs_fewer_steps_than_adam_where_conditioning_is_bad():
    """Least squares with a condition number of 10,000, both at the same learning rate."""
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.linalg.qr(torch.randn(n, n, generator=generator))[0] for n in (20, 12))
    hard = left * torch.logspace(0, -2, 20), right * torch.logspace(0, -2, 12)
    solution = torch.randn(20, 12, generator=generator)
    distances = []
    for optimizer in (SOAP, torch.optim.Adam):
        x = torch.nn.Parameter(torch.zeros(20, 12))
        steps = optimizer([x], lr=0.02, weight_decay=0.0)
        for _ in range(500):
            loss = (hard[0].T @ (x - solution) @ hard[1]).square().sum()
            steps.zero_grad()
            loss.backward()
            steps.step()
        distances.append((x - solution).norm().item())
    assert distances[0] < 0.6 * distances[1]


def test_the_smallest_molecules_always_train(molecules, tmp_path):
    """Methane, ammonia, water, and so on to ethane and methanol are QM9's first eight."""
    always = smallest_molecules(molecules, 8)
    assert set(always) == set(range(1, 9))
    parts = {}
    for number in (40, 80):
        write_split(molecules.index, number, 20, 20, 0, tmp_path / "split.csv", always)
        parts[number] = read_split(tmp_path / "split.csv", molecules.index)
        assert [len(rows) for rows in parts[number].values()] == [number, 20, 20]
        assert set(always) <= set(molecules.index[parts[number]["train"]])
    assert set(parts[40]["train"]) < set(parts[80]["train"])
    assert (parts[40]["test"] == parts[80]["test"]).all()
    with pytest.raises(InputError, match="always_train_smallest: 8 is above train, 5; lower it"):
        write_split(molecules.index, 5, 20, 20, 0, tmp_path / "split.csv", always)


FIT = """
import sys
from nnpipe.training.run import train_from_files
from nnpipe.training.settings import Settings
folder, molecules, neighbours, split = sys.argv[1:]
import torch
torch.set_num_threads(1)
train_from_files(folder, "gnn", {hyperparameters}, "energy", Settings(stages=[{{"epochs": 30}}],
    batch_atoms=150, batch_pairs=10_000, learning_rate=1e-3, minima_passes=0, compiled=False,
    checkpoint_seconds=0.05), molecules, neighbours, split, folder + "/checkpoint", device="cpu")
"""


def fit_in(folder: Path, tables: tuple[Path, Path], *way: str) -> subprocess.Popen[str]:
    """A training into the folder, in a process of its own or as `way` starts it."""
    program, split = folder.parent / "fit.py", folder.parent / "split.csv"
    program.write_text(FIT.format(hyperparameters={"cutoff": CUTOFF} | SMALL["gnn"]))
    return subprocess.Popen(
        [sys.executable, *way, str(program), str(folder), *map(str, tables), str(split)],
        env=os.environ | {"PYTHONPATH": str(ROOT / "workflow/scripts")},
        text=True, stderr=subprocess.PIPE,
    )  # fmt: skip


def test_killed_at_any_moment_it_ends_with_the_same_weights(tables, tmp_path, molecules):
    write_split(molecules.index, 80, 20, 20, 0, tmp_path / "split.csv")
    assert fit_in(tmp_path / "straight", tables).wait() == 0
    kills = 0
    for _ in range(20):
        process = fit_in(tmp_path / "killed", tables)
        checkpoint = tmp_path / "killed" / "checkpoint"
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        while process.poll() is None and (
            not checkpoint.exists() or checkpoint.stat().st_mtime_ns == before
        ):
            time.sleep(0.01)
        if process.poll() is not None:
            break
        time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
        if kills == 3:
            assert fit_in(tmp_path / "killed", tables).wait() == 0
            break
    assert kills >= 2
    infos = [read_info(tmp_path / folder) for folder in ("straight", "killed")]
    assert infos[0].weights_sha256 == infos[1].weights_sha256
    lines = (tmp_path / "killed" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == list(range(1, 31))


def test_two_processes_train_as_one_and_stop_when_asked(tables, tmp_path, molecules):
    """The same losses and nearly the same weights; after SIGTERM, the same as without it."""
    write_split(molecules.index, 80, 20, 20, 0, tmp_path / "split.csv")
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]

    assert fit_in(tmp_path / "one", tables).wait() == 0
    assert fit_in(tmp_path / "two", tables, *torchrun).wait() == 0
    losses = [
        [json.loads(line)["train_loss"] for line in (tmp_path / name / "metrics.jsonl").open()]
        for name in ("one", "two")
    ]
    np.testing.assert_allclose(*losses, rtol=2e-2)
    np.testing.assert_allclose(losses[0][:3], losses[1][:3], rtol=1e-4)

    asked, checkpoint = fit_in(tmp_path / "asked", tables, *torchrun), tmp_path / "asked/checkpoint"
    while not checkpoint.exists():
        time.sleep(0.01)
    asked.terminate()
    said = asked.communicate()[1]
    assert asked.returncode != 0
    assert "training was asked to stop" in said
    assert not (tmp_path / "asked/model.json").exists()
    assert fit_in(tmp_path / "asked", tables, *torchrun).wait() == 0
    two, again = (read_info(tmp_path / folder).weights_sha256 for folder in ("two", "asked"))
    assert two == again


def test_a_trained_model_says_what_it_is(tables, tmp_path, molecules):
    write_split(molecules.index, 80, 20, 20, 3, tmp_path / "split.csv")
    train_from_files(
        tmp_path, "mlp", {"cutoff": 4.0}, "energy", replace(QUICK, stages=(Stage(1),), seed=5),
        *tables, tmp_path / "split.csv", tmp_path / "checkpoint", device="cpu",
    )  # fmt: skip
    content = json.loads((tmp_path / "model.json").read_text())
    assert content["format"] == 1
    assert content["elements"] == [1, 6, 7, 8] or content["elements"] == [1, 6, 7, 8, 9]
    assert (content["seed"], content["n_train"], content["unit"]) == (5, 80, "eV")
    assert set(content["data"]) == {
        "molecules", "neighbours", "split", "labels", "start", "source",
    }  # fmt: skip
    potential, info = load_model(tmp_path)
    assert info.parameters == sum(p.numel() for p in potential.model.parameters())


@pytest.mark.parametrize("damage", ["weights", "json", "format", "absent", "shapes", "types"])
def test_damaged_models_are_refused(tables, tmp_path, molecules, damage):
    write_split(molecules.index, 80, 20, 20, 3, tmp_path / "split.csv")
    train_from_files(
        tmp_path, "mlp", {"cutoff": 4.0}, "energy", replace(QUICK, stages=(Stage(1),)), *tables,
        tmp_path / "split.csv", tmp_path / "checkpoint", device="cpu",
    )  # fmt: skip
    path = tmp_path / "model.json"
    if damage == "weights":
        content = bytearray((tmp_path / "model.safetensors").read_bytes())
        content[-1] ^= 1
        (tmp_path / "model.safetensors").write_bytes(content)
    elif damage == "json":
        path.write_text(path.read_text()[:100])
    elif damage == "format":
        path.write_text(path.read_text().replace('"format": 1', '"format": 99'))
    elif damage in ("shapes", "types"):
        content = json.loads(path.read_text())
        content["hyperparameters"]["features"] = 32 if damage == "shapes" else "many"
        path.write_text(json.dumps(content))
    else:
        path.unlink()
    expected = {
        "weights": "not the weights",
        "json": "not a model",
        "format": "format 99",
        "absent": "no such file",
        "shapes": "not of this nnpipe's models",
        "types": "not of this nnpipe's models",
    }
    with pytest.raises(InputError, match=expected[damage]):
        load_model(tmp_path)


def test_only_what_is_asked_for_is_taken_as_trained(tmp_path):
    source = ROOT / "resources/models/gnn"
    info = read_info(source)
    copy_model(source, tmp_path, "gnn", "energy", info.hyperparameters)
    assert read_info(tmp_path) == info
    for asked in (("gnn", "u0", info.hyperparameters), ("gnn", "energy", {"cutoff": 5.0})):
        with pytest.raises(InputError, match=r"is not what config\.yaml asks for"):
            copy_model(source, tmp_path, *asked)


def test_a_training_can_start_from_another_model(tables, tmp_path, molecules):
    """The other's weights are a better start for a related target than chance is."""
    write_split(molecules.index, 340, 30, 30, 0, tmp_path / "split.csv")
    hyperparameters = {"cutoff": CUTOFF} | SMALL["gnn"]

    def run(name: str, target: str, epochs: int, start=None, **other) -> float:
        settings = replace(QUICK, stages=(Stage(epochs),))
        train_from_files(
            tmp_path / name, "gnn", hyperparameters | other, target, settings, *tables,
            tmp_path / "split.csv", tmp_path / f"{name}.checkpoint", device="cpu", start=start,
        )  # fmt: skip
        return json.loads((tmp_path / name / "metrics.jsonl").read_text().splitlines()[-1])[
            "validation_mae"
        ]

    run("first", "energy", 30)
    fresh = run("fresh", "u0", 3)
    started = run("started", "u0", 3, start=tmp_path / "first")
    assert started < 0.5 * fresh
    sha = json.loads((tmp_path / "first/model.json").read_text())["weights_sha256"]
    assert json.loads((tmp_path / "started/model.json").read_text())["data"]["start"] == sha
    with pytest.raises(InputError, match="to start from it needs the same"):
        run("other", "u0", 1, start=tmp_path / "first", features=8)


def test_labels_teach_what_minima_cannot(tables, tmp_path, molecules):
    """Trained on a few molecules' labels, forces off the minimum become far better."""
    from nnpipe.labelling.chunks import write_chunk
    from nnpipe.labelling.correction import no_correction
    from nnpipe.labelling.methods import gfn2
    from nnpipe.labelling.settings import Settings as LabelSettings
    from nnpipe.labelling.table import write_labels

    write_split(molecules.index, 40, 20, 8, 0, tmp_path / "split.csv")
    about = {"molecules": read_molecules(tables[0])[1]["digest"]}
    parts = read_split(tmp_path / "split.csv", molecules.index)
    for part in ("train", "test"):
        write_chunk(
            molecules,
            parts[part],
            gfn2,
            LabelSettings(geometries=3),
            tmp_path / f"{part}.chunk",
            about,
        )
        write_labels(
            [tmp_path / f"{part}.chunk"], molecules, no_correction(), 5.0, tmp_path / part, about
        )
    test = load_labels(
        tmp_path / "test", molecules.index[parts["test"]], CUTOFF, about["molecules"]
    )
    errors = []
    for labels in (None, tmp_path / "train"):
        train_from_files(
            tmp_path / "model", "gnn", {"cutoff": CUTOFF} | SMALL["gnn"], "energy",
            replace(QUICK, stages=(Stage(25),)), *tables, tmp_path / "split.csv",
            tmp_path / "checkpoint", labels, device="cpu",
        )  # fmt: skip
        potential, info = load_model(tmp_path / "model")
        assert info.n_train == 40
        assert (info.n_geometries > 120) == bool(labels)
        _, forces = energy_forces(potential, test.batch(torch.arange(len(test))))
        errors.append(
            (forces - test.force_labels(torch.arange(len(test)))).norm(dim=1).mean().item()
        )
    assert errors[1] < 0.7 * errors[0]
    assert errors[1] < 0.7 * test.force_labels(torch.arange(len(test))).norm(dim=1).mean()
