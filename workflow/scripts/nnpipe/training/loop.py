"""One training function for every model."""

import copy
import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from .. import units
from ..errors import InputError
from ..graphs.dataset import Dataset
from ..models.checkpoint import load_tensors, save_tensors
from ..models.potential import Potential
from ..models.predict import predict
from ..runtime.progress import progress_bar
from .batching import mix_batches, shuffled_batches
from .distributed import SINGLE, ProcessGroup
from .settings import Settings, learning_rate, stage_of
from .soap import SOAP
from .step import BatchStepper

log = logging.getLogger(__name__)
STOP_STEPS = 5  # between two looks at whether to stop


class Diverged(InputError):
    """The loss is no number any more; the message says since when and what is left."""


class Stopped(InputError):
    """The training was asked to stop; its checkpoint holds where it stood."""


@dataclass
class Progress:
    """Where a training stands; with the tensors, all that a checkpoint holds."""

    epoch: int = 0
    batch: int = 0  # the next one of this epoch
    step: int = 0
    loss: float = 0.0  # summed over the molecules of this epoch
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)  # one entry an epoch


def train(
    potential: Potential,
    data: Dataset,
    validation: Dataset,
    settings: Settings,
    checkpoint: str | Path | None = None,
    identity: str = "",
    after_epoch: Callable[[list[dict[str, float]]], None] = lambda history: None,
    minima: Dataset | None = None,
    stop: Callable[[], bool] = lambda: False,
    group: ProcessGroup = SINGLE,
) -> Progress:
    """Train `potential` in place; it ends with the exponential average of the weights.

    `data`, `validation` and `minima`, whose energies alone are seen `minima_passes` times an epoch,
    lie on the potential's device. The state is written to `checkpoint` every `checkpoint_seconds`
    and at the end; if one of the same `identity` is there, the training goes on from it and ends
    with the weights of an uninterrupted run. `after_epoch` gets the history, one entry an epoch.
    Raises Diverged when the loss is not finite; the checkpoint is then the last good one. Once
    `stop` returns True, writes the checkpoint and raises Stopped. The processes of a `group` call
    this with the same arguments; the first one writes, and calls `after_epoch`.
    """
    averaged = copy.deepcopy(potential).requires_grad_(False)
    model, average = potential.model, averaged.model
    sources = [(data, potential.normalised_target(data))]
    if minima:
        sources.append((minima, potential.normalised_target(minima)))
    parameters = list(model.parameters())
    stepper = BatchStepper(potential, settings, group)
    optimizer = SOAP(
        parameters, settings.learning_rate, settings.weight_decay, parallel_map=stepper.parallel_map
    )
    progress = _resume(checkpoint, identity, model, average, optimizer)
    before, started = progress.seconds, time.monotonic()
    if settings.compiled:
        for source in sources:  # with the same example after a restart
            list(stepper([(*source, shuffled_batches(source[0], settings, 0)[0], 1.0)]))
    total_loss = torch.tensor(progress.loss, dtype=torch.float64, device=data.pos.device)
    status = f"epoch {progress.epoch}/{settings.epochs}"

    def note() -> None:
        """Bring `progress` up to date, or raise."""
        progress.seconds = before + time.monotonic() - started
        progress.loss = total_loss.item()
        if not math.isfinite(progress.loss):
            raise Diverged(
                f"training diverged: loss {progress.loss} in epoch {progress.epoch + 1}, step"
                f" {progress.step}; lower learning_rate; last good state: {checkpoint}"
            )

    def save() -> None:
        if checkpoint and group.rank == 0:
            meta = {"identity": identity, "progress": asdict(progress)}
            save_tensors(checkpoint, _tensors(model, average, optimizer), meta)

    sizes = [
        len(data) + (stage_of(settings, epoch).minima_passes * len(minima) if minima else 0)
        for epoch in range(settings.epochs)
    ]
    total, done = sum(sizes), 0
    saved = compiled = time.monotonic()
    with progress_bar(total=total, unit="molecules", hidden=group.rank > 0) as bar:
        while progress.epoch < settings.epochs:
            now = stage_of(settings, progress.epoch)
            batches = mix_batches(data, minima, now, progress.epoch)
            seen = sum(sizes[: progress.epoch]) + sum(len(b) for _, b in batches[: progress.batch])
            bar.update(seen - bar.n)
            left = batches[progress.batch :]
            found = stepper((*sources[kind], rows, now.force_weight) for kind, rows in left)
            for (_, rows), (loss, *gradient) in zip(left, found, strict=True):
                passed = (progress.epoch + progress.batch / len(batches)) / settings.epochs
                for options in optimizer.param_groups:
                    options["lr"] = learning_rate(settings, progress.step, passed)
                for parameter, given in zip(parameters, gradient, strict=True):
                    parameter.grad = given
                nn.utils.clip_grad_norm_(parameters, settings.clip_norm)
                optimizer.step()
                decay = min(settings.ema_decay, (1 + progress.step) / (10 + progress.step))
                with torch.no_grad():
                    torch._foreach_lerp_(tuple(average.parameters()), tuple(parameters), 1 - decay)
                total_loss += loss * len(rows)
                progress.step += 1
                progress.batch += 1
                seen += len(rows)
                done += len(rows)
                bar.update(len(rows))
                stopping = progress.step % STOP_STEPS == 0 and group.any(stop(), data.pos.device)
                if stopping or time.monotonic() - saved > settings.checkpoint_seconds:
                    note()
                    save()
                    if stopping:
                        raise Stopped(
                            f"training was asked to stop in epoch {progress.epoch + 1}, step"
                            f" {progress.step}; the same command goes on from {checkpoint}"
                        )
                    saved = time.monotonic()
                    rate = done / (saved - compiled)  # of this run, compilation left out
                    minutes = (total - seen) / rate / 60
                    log.info("%s, %.0f molecules/s, %.1f min left", status, rate, minutes)
            note()
            deviation = predict(averaged, validation) - validation.target
            progress.history.append(
                {
                    "epoch": progress.epoch + 1,
                    "step": progress.step,
                    "learning_rate": optimizer.param_groups[0]["lr"],
                    "train_loss": progress.loss / sizes[progress.epoch],
                    "validation_mae": deviation.abs().mean().item(),
                    "validation_rmse": deviation.square().mean().sqrt().item(),
                    "seconds": progress.seconds,
                }
            )
            if group.rank == 0:
                after_epoch(progress.history)
            progress.epoch, progress.batch = progress.epoch + 1, 0
            factor, unit = units.readable(potential.unit)
            last = progress.history[-1]
            status = (
                f"epoch {progress.epoch}/{settings.epochs}, loss {last['train_loss']:.4f},"
                f" validation MAE {last['validation_mae'] * factor:.1f} {unit}"
            )
            bar.set_postfix_str(status, refresh=False)
            total_loss.zero_()
    save()
    model.load_state_dict(average.state_dict())
    return progress


def _tensors(
    model: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, Tensor]:
    named = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    named |= {f"average.{name}": tensor for name, tensor in average.state_dict().items()}
    for number, entries in optimizer.state_dict()["state"].items():
        named |= {f"optimizer.{number}.{name}": tensor for name, tensor in entries.items()}
    return named


def _resume(
    checkpoint: str | Path | None,
    identity: str,
    model: nn.Module,
    average: nn.Module,
    optimizer: torch.optim.Optimizer,
) -> Progress:
    """Load the checkpoint, if it is there and of this identity, and return where it stood."""
    if not checkpoint or not Path(checkpoint).is_file():
        return Progress()
    tensors, meta = load_tensors(checkpoint)
    if meta["identity"] != identity:
        log.info("%s: of another configuration, code or data; starting afresh", checkpoint)
        return Progress()
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "average": {}, "optimizer": {}}
    for name, tensor in tensors.items():
        part, key = name.split(".", 1)
        parts[part][key] = tensor
    model.load_state_dict(parts["model"])
    average.load_state_dict(parts["average"])
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in parts["optimizer"].items():
        number, key = name.split(".")
        state.setdefault(int(number), {})[key] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    progress = Progress(**meta["progress"])
    log.info("%s: going on from epoch %d, step %d", checkpoint, progress.epoch + 1, progress.step)
    return progress
