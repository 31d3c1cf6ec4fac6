"""One training function for every model."""

import copy
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from .. import units
from ..errors import InputError
from ..graphs.dataset import Dataset
from ..models.potential import Potential
from ..models.predict import force_errors, predict
from ..runtime.progress import progress_bar
from .batching import mix_batches, shuffled_batches
from .distributed import SINGLE, ProcessGroup
from .settings import Settings, stage_of
from .soap import SOAP
from .state import Checkpoint, Progress, TrainingState
from .step import BatchSpec, BatchStepper

log = logging.getLogger(__name__)
STOP_STEPS = 5  # between two checks whether to stop


class Diverged(InputError):
    """The loss is not finite; the message names the step and the last good checkpoint."""


class Stopped(InputError):
    """The training was asked to stop and has written its checkpoint."""


def train(
    potential: Potential,
    data: Dataset,
    validation: Dataset,
    settings: Settings,
    minima: Dataset | None = None,
    checkpoint: Checkpoint | None = None,
    after_epoch: Callable[[list[dict[str, float]]], None] = lambda history: None,
    stop: Callable[[], bool] = lambda: False,
    group: ProcessGroup = SINGLE,
) -> Progress:
    """Train `potential` in place; its final weights are their exponential average.

    If `settings.keep` is "best", they are the average after the best epoch, see `Progress.best`;
    epoch 0 of the history is the potential as given.

    `data`, `validation` and `minima` lie on the potential's device. An epoch takes each geometry of
    `data` once and the energy of each of `minima` `minima_passes` times. The state is written to
    `checkpoint` every `checkpoint_seconds` and at the end. If that file exists and has the same
    identity, the training resumes from it and ends with the weights of an uninterrupted run.
    `after_epoch` receives the history, one entry per epoch. The processes of a `group` call this
    function with the same arguments; the first one writes files and calls `after_epoch`.

    Raises Diverged if the loss is not finite; the checkpoint is then the last good one. Raises
    Stopped, after writing the checkpoint, once `stop` returns True.
    """
    averaged = copy.deepcopy(potential).requires_grad_(False)
    stepper = BatchStepper(potential, settings, group)
    optimizer = SOAP(
        potential.model.parameters(),
        settings.learning_rate,
        settings.weight_decay,
        parallel_map=stepper.parallel_map,
    )
    device = data.pos.device
    loss_sum = torch.zeros((), dtype=torch.float64, device=device)
    best = copy.deepcopy(averaged.model) if settings.keep == "best" else None
    state = TrainingState(potential.model, averaged.model, optimizer, loss_sum, best)
    if checkpoint:
        checkpoint.resume(state)
    progress, started = state.progress, time.monotonic() - state.progress.seconds
    sources = [(source, potential.normalised_target(source)) for source in (data, minima) if source]
    if settings.compiled:
        _compile(stepper, sources, settings, progress)

    def sync() -> None:
        state.sync(time.monotonic() - started)
        if not math.isfinite(progress.loss):
            raise Diverged(
                f"training diverged: loss {progress.loss} in epoch {progress.epoch + 1}, step"
                f" {progress.step}; lower learning_rate; last good state:"
                f" {checkpoint and checkpoint.path}"
            )

    def save() -> None:
        if checkpoint and group.rank == 0:
            checkpoint.save(state)

    sizes = [
        len(data) + (stage_of(settings, epoch).minima_passes * len(minima) if minima else 0)
        for epoch in range(settings.epochs)
    ]
    if best is not None and not progress.history:
        about = {"epoch": 0, "step": 0, "learning_rate": 0.0}
        progress.history.append(about | _validate(averaged, validation) | {"seconds": 0.0})
    saved = time.monotonic()
    with progress_bar(total=sum(sizes), unit="molecules", hidden=group.rank > 0) as bar:
        while progress.epoch < settings.epochs:
            stage = stage_of(settings, progress.epoch)
            batches = mix_batches(data, minima, stage, progress.epoch)
            trained = sum(len(rows) for _, rows in batches[: progress.batch])
            steps = len(batches) * settings.epochs
            if best is not None and progress.step == 0 and steps < 2 * settings.warmup_steps:
                log.warning(
                    "the training has about %d steps, and warmup_steps is %d: the learning rate"
                    " stays low; lower warmup_steps or batch_atoms, or raise epochs",
                    steps, settings.warmup_steps,
                )  # fmt: skip
            bar.update(sum(sizes[: progress.epoch]) + trained - bar.n)
            bar.set_postfix_str(_status(progress, settings.epochs, potential.unit), refresh=False)
            for n_molecules in _train_epoch(state, stepper, sources, batches, settings, stage):
                bar.update(n_molecules)
                stopping = progress.step % STOP_STEPS == 0 and group.any(stop(), device)
                if stopping or time.monotonic() - saved > settings.checkpoint_seconds:
                    sync()
                    save()
                    saved = time.monotonic()
                if stopping:
                    raise Stopped(
                        f"training was asked to stop in epoch {progress.epoch + 1}, step"
                        f" {progress.step}; the same command goes on from"
                        f" {checkpoint and checkpoint.path}"
                    )
            sync()
            progress.history.append(
                {
                    "epoch": progress.epoch + 1,
                    "step": progress.step,
                    "learning_rate": optimizer.param_groups[0]["lr"],
                    "train_loss": progress.loss / sizes[progress.epoch],
                    **_validate(averaged, validation),
                    "seconds": progress.seconds,
                }
            )
            if best is not None and progress.best() is progress.history[-1]:
                best.load_state_dict(averaged.model.state_dict())
            if group.rank == 0:
                after_epoch(progress.history)
            progress.epoch, progress.batch = progress.epoch + 1, 0
            loss_sum.zero_()
    save()
    potential.model.load_state_dict((averaged.model if best is None else best).state_dict())
    return progress


def _compile(
    stepper: BatchStepper,
    sources: Sequence[tuple[Dataset, Tensor]],
    settings: Settings,
    progress: Progress,
) -> None:
    """Compile the step; after a restart, for batches of the same sizes as before it.

    The sizes decide the rounding of a program. Batches of one molecule have a program of their own,
    which their first batch compiles: after a restart, the first of those already trained on.
    """
    for source in sources:
        stepper.compile(BatchSpec(*source, shuffled_batches(source[0], settings, 0)[0]))
    data, minima = sources[0][0], sources[1][0] if len(sources) > 1 else None
    single: dict[bool, Tensor] = {}
    for epoch in range(settings.epochs)[: progress.epoch + 1]:
        batches = mix_batches(data, minima, stage_of(settings, epoch), epoch)
        for kind, rows in batches[: progress.batch] if epoch == progress.epoch else batches:
            if len(stepper.group.shard(rows)) < 2:
                single.setdefault(kind, rows)
    for kind, rows in single.items():
        stepper.compile(BatchSpec(*sources[kind], rows))


def _train_epoch(
    state: TrainingState,
    stepper: BatchStepper,
    sources: Sequence[tuple[Dataset, Tensor]],
    batches: Sequence[tuple[bool, Tensor]],
    settings: Settings,
    stage: Settings,
) -> Iterator[int]:
    """Train on the remaining batches of an epoch; yield the number of molecules of each."""
    progress, remaining = state.progress, batches[state.progress.batch :]
    weights = stage.force_weight, stage.energy_weight / (settings.energy_weight or 1.0)
    specs = (BatchSpec(*sources[kind], rows, *weights) for kind, rows in remaining)
    for (_, rows), (loss, *gradients) in zip(remaining, stepper(specs), strict=True):
        fraction = (progress.epoch + progress.batch / len(batches)) / settings.epochs
        state.update(gradients, settings, fraction)
        state.loss_sum += loss * len(rows)
        yield len(rows)


def _validate(potential: Potential, data: Dataset) -> dict[str, float]:
    """Return MAE and RMSE in the target's unit, and MAE of forces (eV/Å) if `data` has forces."""
    errors = predict(potential, data) - data.target
    found = {
        "validation_mae": errors.abs().mean().item(),
        "validation_rmse": errors.square().mean().sqrt().item(),
    }
    if data.forces is not None:
        found["validation_force_mae"] = force_errors(potential, data).abs().mean().item()
    return found


def _status(progress: Progress, epochs: int, unit: str) -> str:
    """Return the finished epochs with the errors of the last one."""
    status = f"epoch {progress.epoch}/{epochs}"
    if not progress.epoch:
        return status
    last, (factor, small_unit) = progress.history[-1], units.readable(unit)
    return (
        f"{status}, loss {last['train_loss']:.4f},"
        f" validation MAE {last['validation_mae'] * factor:.1f} {small_unit}"
    )
