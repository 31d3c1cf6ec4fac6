"""Training lowers errors, reports its progress and resumes to the same weights."""

import copy
import json
import multiprocessing
import os
import shutil
import signal
import socket
import threading
import time
from dataclasses import asdict, replace
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.io import write
from torch.nn.functional import pad

from conftest import CUTOFF, SMALL, distorted, small_model
from nnpipe.data.molecules import read_molecules, row_ends
from nnpipe.data.splits import always_trained, read_split, smallest_molecules, write_split
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
from nnpipe.training.loop import Diverged, _validate, train
from nnpipe.training.run import load_start, make_potential, shift_references, train_from_files
from nnpipe.training.settings import Settings, Stage, learning_rate, stage_of
from nnpipe.training.soap import SOAP
from nnpipe.training.state import Checkpoint, Progress
from nnpipe.training.step import BatchSpec, BatchStepper, collate_part, make_loss_and_gradients
from processes import train_as_job, train_in_group

ROOT = Path(__file__).parents[1]
EPOCHS = 10  # of trainings in processes of their own
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


def test_training_lowers_the_error_of_every_model(architecture, data, validation):
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


def test_training_resumed_equals_uninterrupted(architecture, data, validation, tmp_path):
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


def test_checkpoint_of_another_identity_is_not_resumed(data, validation, tmp_path):
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


def test_seed_decides_the_weights(data, validation):
    potentials = [start("mlp", data) for _ in range(3)]
    for potential, seed in zip(potentials, (0, 0, 1), strict=True):
        train(potential, data, validation, replace(QUICK, seed=seed))
    first, second, third = map(weights, potentials)
    assert same(first, second)
    assert not same(first, third)


def test_loss_that_is_not_finite_stops_with_a_good_checkpoint(data, validation, tmp_path):
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
    """Trained on forces, a model predicts the forces of unseen geometries far better."""
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


def assert_close(gradients, expected) -> None:
    for some, other in zip(gradients, expected, strict=True):
        torch.testing.assert_close(some, other, rtol=1e-3, atol=1e-5)


def with_offsets(data: Dataset, offsets: dict[int, float], start: Potential) -> Dataset:
    """The predictions of `start` plus an offset per atom, as another level of theory may differ."""
    counts = torch.repeat_interleave(data.sizes), data.atomic_numbers()
    per_atom = torch.tensor([offsets[z] for z in counts[1].tolist()], dtype=torch.float64)
    total = torch.zeros(len(data), dtype=torch.float64).index_add(0, counts[0], per_atom)
    return replace(data, target=predict(start, data) + total)


def test_fine_tuning_starts_from_the_forces_of_the_start(architecture, data):
    """References take up the offsets of another level per element; forces keep their bits."""
    references = {1: -13.0, 6: -1030.0, 7: -1480.0, 8: -2040.0, 9: -2700.0}
    trained = Potential(small_model(architecture), references, 2.5, repulsion=True)
    offsets = {1: 3.1, 6: 950.0, 7: -20.0, 8: 0.7, 9: 11.0}
    other = with_offsets(data, offsets, trained)
    shifted = shift_references(trained, other)
    for z in other.atomic_numbers().unique().tolist():
        assert shifted.references[z].item() == pytest.approx(references[z] + offsets[z], abs=1e-4)
    torch.testing.assert_close(predict(shifted, other), other.target, rtol=0, atol=1e-4)
    batch = data.batch(torch.arange(20))
    assert torch.equal(*(energy_forces(one, batch)[1] for one in (trained, shifted)))


def test_references_of_one_molecule_shift_as_little_as_possible():
    ethanol = labelled("CCO", 3)
    trained = Potential(small_model("gnn"), {1: -13.0, 6: -1030.0, 8: -2040.0}, 1.0)
    offset = (predict(trained, ethanol) - ethanol.target).mean()
    shifted = shift_references(trained, ethanol)
    shift = shifted.references - trained.references
    assert (predict(shifted, ethanol) - ethanol.target).mean().abs() < 1e-6
    counts = torch.tensor([6.0, 2.0, 1.0], dtype=torch.float64)  # C2H6O
    torch.testing.assert_close(shift[[1, 6, 8]], -offset * counts / counts.square().sum())


@pytest.fixture(scope="module")
def ethanol() -> tuple[Dataset, Dataset, Potential]:
    """Training and validation geometries with forces, and a potential that has learnt some."""
    whole = labelled("CCO", 90)
    data, validation = part(whole, 0, 60), part(whole, 60, 90)
    potential = start("gnn", data)
    train(potential, data, validation, replace(QUICK, stages=(Stage(8),)))
    return data, validation, potential


@pytest.mark.parametrize("rate", [5e-3, 0.3])
def test_fine_tuning_keeps_the_best_epoch_also_after_a_restart(ethanol, tmp_path, rate, caplog):
    """No error grows, not even with a learning rate that destroys the model."""
    data, validation, trained = ethanol
    stages, every = (Stage(6),), tmp_path / "c"
    settings = replace(QUICK, stages=stages, learning_rate=rate, keep="best", ema_decay=0.5)
    straight = copy.deepcopy(trained)
    progress = train(straight, data, validation, settings)
    assert not caplog.messages
    assert [entry["epoch"] for entry in progress.history] == list(range(7))
    first, best, last = progress.history[0], progress.best(), progress.history[-1]
    saved = _validate(straight, validation)
    for key in ("validation_mae", "validation_force_mae"):
        assert saved[key] == best[key] <= first[key]
    assert (last["validation_force_mae"] > 5 * first["validation_force_mae"]) == (rate > 0.1)
    assert (best is first) == (rate > 0.1)

    def kill(history: list) -> None:
        if len(history) == 5:  # epochs 0 to 4
            raise Killed

    settings, checkpoint = replace(settings, checkpoint_seconds=1e-9), Checkpoint(every, "x")
    resumed = copy.deepcopy(trained)
    with pytest.raises(Killed):
        train(resumed, data, validation, settings, checkpoint=checkpoint, after_epoch=kill)
    for _ in range(2):  # to the end, and from its end
        resumed = copy.deepcopy(trained)
        again = train(resumed, data, validation, settings, checkpoint=checkpoint)
        assert same(weights(straight), weights(resumed))
        assert again.best()["epoch"] == best["epoch"]


def test_best_epoch_lowers_both_errors():
    def history(*errors: tuple[float, float]) -> Progress:
        keys = ("epoch", "validation_mae", "validation_force_mae")
        entries = [(number, *pair) for number, pair in enumerate(errors)]
        return Progress(history=[dict(zip(keys, entry, strict=True)) for entry in entries])

    assert history((1.0, 1.0), (0.1, 1.1), (float("nan"), 0.5)).best()["epoch"] == 0
    assert history((1.0, 1.0), (0.9, 0.5), (0.8, 0.5), (0.8, 0.6)).best()["epoch"] == 2


@pytest.mark.long  # each compiles for minutes; the tests below share a smaller program
@pytest.mark.parametrize("architecture", ["gnn", "mlp"])  # schnet is not compiled
def test_compiled_step_of_two_threads_gives_the_eager_gradients(architecture, two_threads):
    """For batches of other sizes and for other weights too, and the same bits every time."""
    data = labelled("CCO", 20)
    potential = make_potential(build(architecture, {"cutoff": CUTOFF}), data, "energy")
    step = make_loss_and_gradients(potential, QUICK)
    compiled = CompiledFunction(step)
    generator = torch.Generator().manual_seed(0)
    for number in (20, 7, 20, 13):
        rows = torch.arange(number)
        args = collate_part(BatchSpec(data, potential.normalised_target(data), rows), rows)
        assert_close(compiled(*args), step(*args))
        assert all(same(list(compiled(*args)), list(compiled(*args))) for _ in range(20))
        with torch.no_grad():
            for parameter in potential.parameters():
                parameter += 0.01 * torch.randn(parameter.shape, generator=generator)
    assert compiled.compiled_ok
    assert len(compiled.programs) == 1


@pytest.fixture(scope="module")
def compiled() -> tuple[BatchStepper, Potential, Dataset]:
    """The compiled step of a very small MLP on two threads, which several tests share."""
    data = labelled("CCO", 20)
    sizes = {"cutoff": CUTOFF, "features": 8, "channels": 2, "radial": 4, "layers": 1}
    potential = make_potential(build("mlp", sizes), data, "energy")
    torch.set_num_threads(2)
    stepper = BatchStepper(potential, replace(QUICK, compiled=True))
    torch.set_num_threads(1)
    labels = potential.normalised_target(data)
    stepper.compile(BatchSpec(data, labels, torch.arange(20)))
    return stepper, potential, data


def test_compiled_step_gives_the_eager_gradients(compiled):
    """For batches of other sizes and for other weights too, and the same bits every time, though
    two threads call it at once.
    """
    stepper, potential, data = compiled
    eager = make_loss_and_gradients(potential, QUICK)
    generator = torch.Generator().manual_seed(0)
    for number in (20, 7, 13):
        rows = torch.arange(number)
        args = collate_part(BatchSpec(data, potential.normalised_target(data), rows), rows)
        first, *others = stepper.parallel_map(lambda _: stepper.step(*args), range(20))  # noqa: B023
        assert_close(first, eager(*args))
        assert all(same(list(first), list(other)) for other in others)
        with torch.no_grad():
            for parameter in potential.parameters():
                parameter += 0.01 * torch.randn(parameter.shape, generator=generator)
    assert stepper.step.compiled_ok
    assert len(stepper.step.programs) == 1


def test_compiled_step_is_shared_by_threads(compiled):
    """Their parts add up to loss and gradients of a batch, batch after batch, and the weights after
    steps are the same, to the bit, as if one thread had updated them.
    """
    stepper, potential, data = compiled
    labels, eager = potential.normalised_target(data), make_loss_and_gradients(potential, QUICK)
    models = [potential.model, copy.deepcopy(potential.model)]
    maps = zip(models, (stepper.parallel_map, thread_pool_map(1)), strict=True)
    optimizers = [SOAP(model.parameters(), 1e-3, 0.0, parallel_map=way) for model, way in maps]
    batches = [
        BatchSpec(data, labels, torch.arange(20)[-number:], 0.7) for number in (20, 7, 3, *[2] * 10)
    ]
    for batch, (loss, *gradients) in zip(batches, stepper(batches), strict=True):
        assert_close([loss, *gradients], eager(*collate_part(batch, batch.rows)))
        for model, optimizer in zip(models, optimizers, strict=True):
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                parameter.grad = gradient.clone()
            optimizer.step()
    assert same(*(list(model.parameters()) for model in models))
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize("architecture", MODELS)
def test_padded_batch_has_the_same_gradients(architecture):
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


def test_compiled_program_is_made_by_one_process_and_read_by_the_others(data, monkeypatch):
    """The others wait for the lock of the one that compiles."""
    batch, paths, waiting, results = data.batch(torch.arange(5)), [], threading.Event(), []

    def watched_lock(path: Path, wait: bool = True) -> int | None:
        paths.append(path)
        if wait:
            waiting.set()
        return lock(path, wait)

    def compile_sine() -> None:
        results.append(CompiledFunction(lambda batch: (batch.pos.sum(1).sin(),))(batch)[0])

    monkeypatch.setattr("nnpipe.graphs.compile.lock", watched_lock)
    compile_sine()
    assert not waiting.is_set()
    held = lock(paths[0])
    other = threading.Thread(target=compile_sine)
    other.start()
    assert waiting.wait(60)
    assert len(results) == 1
    unlock(held)
    other.join()
    torch.testing.assert_close(results[1], batch.pos.sum(1).sin())


@pytest.mark.parametrize("reproducible", [False, True])
def test_compiled_program_is_reused_for_other_sizes_unless_reproducible(
    data, monkeypatch, tmp_path, reproducible
):
    """The sizes that a program was compiled for decide its rounding."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    for number in (5, 9, 5):
        function = CompiledFunction(lambda batch: (batch.pos + 1,), reproducible)
        function(data.batch(torch.arange(number)))
        assert function.compiled_ok
    assert len(list(tmp_path.glob("fxgraph/*/*"))) == (2 if reproducible else 1)


def test_stage_replaces_settings_of_its_epochs(data, validation):
    """Minima are seen more often, and forces count for less."""
    stages = (Stage(2), Stage(1, minima_passes=3, force_weight=0.5))
    settings = replace(QUICK, minima_passes=1, stages=stages)
    assert settings.epochs == 3
    progress = train(start("mlp", data), data, validation, settings, minima=validation)
    steps = [entry["step"] for entry in progress.history]
    assert steps[2] - steps[1] > steps[1] - steps[0]
    found = [stage_of(settings, epoch) for epoch in range(3)]
    assert [(now.minima_passes, now.force_weight) for now in found] == [(1, 1.0)] * 2 + [(3, 0.5)]


def test_stage_replaces_the_weight_of_energies():
    """Also a weight of 0: the losses equal a training with that weight from the start."""
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
def test_training_learns_any_target(tables, target):
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


def test_smallest_molecules_always_train(molecules, tmp_path):
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


def test_chosen_molecules_train_before_others(molecules, tmp_path):
    """The ones that the test or validation set has drawn stay there."""
    first, path = molecules.index[50:100], tmp_path / "split.csv"
    parts = {}
    for name, chosen in (("plain", ()), ("chosen", first)):
        write_split(molecules.index, 80, 20, 40, 0, path, (1, 2), chosen)
        parts[name] = {
            k: set(molecules.index[v]) for k, v in read_split(path, molecules.index).items()
        }
    for part in ("test", "validation"):
        assert parts["chosen"][part] == parts["plain"][part]
    held_out = parts["plain"]["test"] | parts["plain"]["validation"]
    assert held_out & set(first)
    assert parts["chosen"]["train"] >= set(first) - held_out | {1, 2}
    assert len(parts["chosen"]["train"]) == 80


def test_molecules_of_dft_frames_train_or_are_in_no_part(molecules, tmp_path):
    frames = [
        Atoms(*molecules.geometry(row)[1:], info={"qm9": int(molecules.index[row])})
        for row in [*range(5, 200, 2)] * 2
    ]
    write(tmp_path / "frames.xyz", [*frames, Atoms("H", info={"qm9": 10**6})])
    always = always_trained(molecules, 8, tmp_path / "frames.xyz")
    assert (always[:8] == always_trained(molecules, 8)).all()
    assert sorted(always) == sorted({*range(1, 9), *molecules.index[5:200:2].tolist()})
    path = tmp_path / "split.csv"
    for number in (150, 50):
        write_split(molecules.index, number, 20, 200, 0, path, always)
        parts = read_split(path, molecules.index)
        assert [len(rows) for rows in parts.values()] == [number, 20, 200]
        train, *others = (set(molecules.index[rows]) for rows in parts.values())
        assert train >= set(always[:number])
        assert not set(always) & set.union(*others)
    left = 50 + len(molecules) - len(always)
    with pytest.raises(InputError, match=rf"50 \+ 20 \+ 300 molecules are more than the {left}"):
        write_split(molecules.index, 50, 20, 300, 0, path, always)


@pytest.fixture(scope="module")
def server() -> multiprocessing.context.ForkServerContext:
    """Forks processes from one that has imported torch once."""
    context = multiprocessing.get_context("forkserver")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{ROOT}/workflow/scripts{os.pathsep}{ROOT}/tests")
        patch.setenv("OMP_NUM_THREADS", "1")
        context.set_forkserver_preload(["nnpipe.training.run", "processes"])
        forkserver.ensure_running()
    return context


class Training:
    """A training of a small gnn into a folder, in processes of its own."""

    def __init__(self, context, folder: Path, tables: tuple[Path, Path]) -> None:
        self.context, self.folder = context, folder
        self.checkpoint, self.log = folder / "checkpoint", folder / "log"
        # slow, as rounding grows with the learning rate
        rates = {"learning_rate": 1e-3, "warmup_steps": 200, "ema_decay": 0.999}
        settings = replace(
            QUICK, stages=(Stage(EPOCHS),), checkpoint_seconds=0.02, keep="best", **rates
        )
        self.arguments = {
            "folder": str(folder), "architecture": "gnn", "target": "energy", "device": "cpu",
            "hyperparameters": {"cutoff": CUTOFF} | SMALL["gnn"], "settings": asdict(settings),
            "molecules": str(tables[0]), "neighbours": str(tables[1]),
            "split": str(folder.parent / "split.csv"), "checkpoint": str(self.checkpoint),
        }  # fmt: skip

    def start(self, size: int = 1) -> list[BaseProcess]:
        """Start a group of processes, as torchrun does."""
        content = {"log": str(self.log), "threads": 1, "arguments": self.arguments}
        self.folder.mkdir(exist_ok=True)
        path = self.folder / "arguments.json"
        path.write_text(json.dumps(content))
        with socket.socket() as free:
            free.bind(("", 0))
            port = str(free.getsockname()[1])
        group = {"WORLD_SIZE": str(size), "MASTER_ADDR": "localhost", "MASTER_PORT": port}
        processes = [
            self.context.Process(
                target=train_in_group, args=(group | {"RANK": str(rank)}, str(path))
            )
            for rank in range(size)
        ]
        for process in processes:
            process.start()
        return processes

    def finish(self, size: int = 1) -> None:
        """Train to the end."""
        for process in self.start(size):
            process.join()
            assert process.exitcode == 0

    def wait_for_checkpoint(self, process: BaseProcess) -> bool:
        """Return True once a checkpoint is written, False if the process ends before."""
        before = self.checkpoint.stat().st_mtime_ns if self.checkpoint.exists() else 0
        while process.is_alive():
            if self.checkpoint.exists() and self.checkpoint.stat().st_mtime_ns != before:
                return True
            time.sleep(0.005)
        return False

    def losses(self) -> list[float]:
        """Return the training loss of each epoch."""
        lines = (self.folder / "metrics.jsonl").read_text().splitlines()
        entries = [json.loads(line) for line in lines]
        assert [entry["epoch"] for entry in entries] == list(range(EPOCHS + 1))
        return [entry["train_loss"] for entry in entries[1:]]


@pytest.fixture(scope="module")
def uninterrupted(server, tables, molecules, tmp_path_factory) -> Training:
    """A training that ran to its end in one process."""
    folder = tmp_path_factory.mktemp("processes")
    write_split(molecules.index, 80, 20, 20, 0, folder / "split.csv")
    training = Training(server, folder / "uninterrupted", tables)
    training.finish()
    return training


def test_training_killed_at_any_moment_resumes_to_the_same_weights(uninterrupted, tables):
    killed = Training(uninterrupted.context, uninterrupted.folder.parent / "killed", tables)
    for _ in range(3):
        (process,) = killed.start()
        assert killed.wait_for_checkpoint(process)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert not (killed.folder / "model.json").exists()
    killed.finish()
    assert "going on from epoch" in killed.log.read_text()
    assert killed.losses() == uninterrupted.losses()
    shas = [read_info(one.folder).weights_sha256 for one in (uninterrupted, killed)]
    assert shas[0] == shas[1]


def test_training_in_two_processes_equals_one_and_stops_on_signal(uninterrupted, tables):
    """Losses equal the losses of one process up to rounding, which grows. After SIGTERM, the same
    command ends with the same weights as without it.
    """
    folder = uninterrupted.folder.parent
    two = Training(uninterrupted.context, folder / "two", tables)
    two.finish(size=2)
    np.testing.assert_allclose(two.losses(), uninterrupted.losses(), rtol=2e-2)
    np.testing.assert_allclose(two.losses()[:3], uninterrupted.losses()[:3], rtol=1e-4)

    stopped = Training(uninterrupted.context, folder / "stopped", tables)
    job = stopped.context.Process(
        target=train_as_job, args=(2, str(stopped.log), stopped.arguments)
    )
    job.start()
    assert stopped.wait_for_checkpoint(job)
    job.terminate()
    job.join()
    assert job.exitcode == 1
    reasons = [line for line in stopped.log.read_text().splitlines() if "error" in line]
    assert "process 0 of 2: training was asked to stop in epoch" in reasons[0]
    assert "a training in 2 processes failed; the reason stands above" in reasons[-1]
    assert len(reasons) == 2
    assert not (stopped.folder / "model.json").exists()
    assert not list(stopped.folder.glob("*.json"))  # nor the file with the arguments
    stopped.finish(size=2)
    assert stopped.losses() == two.losses()
    shas = [read_info(one.folder).weights_sha256 for one in (two, stopped)]
    assert shas[0] == shas[1]


@pytest.fixture(scope="module")
def trained(tables, molecules, tmp_path_factory) -> Path:
    """The folder of a model after one epoch."""
    folder = tmp_path_factory.mktemp("trained")
    write_split(molecules.index, 80, 20, 20, 3, folder / "split.csv")
    train_from_files(
        folder / "model", "mlp", {"cutoff": 4.0}, "energy",
        replace(QUICK, stages=(Stage(1),), seed=5), *tables,
        folder / "split.csv", folder / "checkpoint", device="cpu",
    )  # fmt: skip
    return folder / "model"


def test_model_json_describes_the_trained_model(trained):
    content = json.loads((trained / "model.json").read_text())
    assert content["format"] == 1
    assert content["elements"] == [1, 6, 7, 8] or content["elements"] == [1, 6, 7, 8, 9]
    assert (content["seed"], content["n_train"], content["unit"]) == (5, 80, "eV")
    assert set(content["data"]) == {
        "molecules", "neighbours", "split", "labels", "start", "source",
    }  # fmt: skip
    potential, info = load_model(trained)
    assert info.parameters == sum(p.numel() for p in potential.model.parameters())


@pytest.mark.parametrize("damage", ["weights", "json", "format", "absent", "shapes", "types"])
def test_damaged_model_is_refused(trained, tmp_path, damage):
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
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
        "types": "'many' is not an integer",
    }
    with pytest.raises(InputError, match=expected[damage]):
        load_model(tmp_path)


def test_pretrained_model_must_match_the_configuration(tmp_path):
    source = ROOT / "resources/models/gnn"
    info = read_info(source)
    copy_model(source, tmp_path, "gnn", "energy", info.hyperparameters)
    assert read_info(tmp_path) == info
    for asked in (("gnn", "u0", info.hyperparameters), ("gnn", "energy", {"cutoff": 5.0})):
        with pytest.raises(InputError, match=r"is not what config\.yaml asks for"):
            copy_model(source, tmp_path, *asked)


def test_training_starts_from_another_model(tables, tmp_path, molecules):
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


def test_fine_tuning_on_few_molecules_is_never_worse_than_the_start(
    trained, tables, molecules, tmp_path, caplog
):
    write_split(molecules.index, 10, 20, 20, 1, tmp_path / "split.csv")
    info = read_info(trained)
    settings = replace(QUICK, stages=(Stage(3),), learning_rate=0.5)
    train_from_files(
        tmp_path / "model", "mlp", info.hyperparameters, "energy", settings, *tables,
        tmp_path / "split.csv", tmp_path / "checkpoint", device="cpu", start=trained,
    )  # fmt: skip
    assert "about 6 steps, and warmup_steps is 5: the learning rate stays low" in caplog.text
    assert "no epoch lowered the validation errors: the start is saved" in caplog.text
    parts = read_split(tmp_path / "split.csv", molecules.index)
    train_data, validation = (
        load_dataset(*tables, parts[name], "energy", 4.0) for name in ("train", "validation")
    )
    tuned, content = load_model(tmp_path / "model")
    before = shift_references(load_model(trained)[0], train_data)
    torch.testing.assert_close(predict(tuned, validation), predict(before, validation))
    assert content.scale == info.scale
    assert content.settings["keep"] == "best"


def test_fine_tuning_refuses_elements_that_the_start_lacks(trained, data):
    info = read_info(trained)
    sulphur = replace(data, z=torch.where(data.z == 8, 16, data.z))
    load_start(trained, "mlp", info.hyperparameters, data)
    with pytest.raises(InputError, match="trained without S, which the training data contain"):
        load_start(trained, "mlp", info.hyperparameters, sulphur)


def test_labels_teach_what_minima_cannot(tables, tmp_path, molecules):
    """Trained on a few molecules' labels, forces off the minimum become far better."""
    from nnpipe.labelling.chunks import write_chunk
    from nnpipe.labelling.correction import no_correction
    from nnpipe.labelling.settings import Settings as LabelSettings
    from nnpipe.labelling.table import write_labels
    from nnpipe.labelling.tight_binding import gfn2

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
