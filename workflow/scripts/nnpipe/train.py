"""One training function for every model."""

import copy
import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import smooth_l1_loss
from tqdm import tqdm

from . import units
from .batch import Batch, Dataset, cut, up
from .checkpoint import load_tensors, save_tensors
from .device import on_cores, send
from .errors import InputError
from .fused import Fused
from .optim import SOAP
from .potential import Potential, energy_forces
from .processes import ALONE, Team

log = logging.getLogger(__name__)
STOP_STEPS = 5  # between two looks at whether to stop
PART_ATOMS = 300  # that a thread takes at a time, at most, of a batch
BUCKET = 64  # molecules that are sorted by their number of neighbours before they are cut
EVALUATION_ATOMS, EVALUATION_PAIRS = 2_000, 60_000


@dataclass(frozen=True)
class Settings:
    """How a model is trained; config.yaml says what each number means."""

    seed: int = 0
    epochs: int = 60
    batch_atoms: int = 300
    batch_pairs: int = 10_000
    learning_rate: float = 1e-3
    warmup_steps: int = 200
    weight_decay: float = 0.0
    ema_decay: float = 0.999
    clip_norm: float = 10.0
    huber: float = 0.02
    force_huber: float = 0.2
    minima_passes: int = 0
    energy_weight: float = 0.2
    force_weight: float = 1.0
    late_epochs: int = 0
    late_minima_passes: int = 0
    late_force_weight: float = 1.0
    checkpoint_seconds: float = 60.0
    compiled: bool = False


def learning_rate(settings: Settings, step: int, progress: float) -> float:
    """Linear warm-up over steps, times a half cosine from 1 to 0.01 over `progress` in [0, 1]."""
    warm = min(1.0, (step + 1) / max(settings.warmup_steps, 1))
    return settings.learning_rate * warm * (0.505 + 0.495 * math.cos(math.pi * progress))


def at_epoch(settings: Settings, epoch: int) -> Settings:
    """The settings of an epoch, counted from 0; the last ones may have their own."""
    if epoch < settings.epochs - settings.late_epochs:
        return settings
    return replace(
        settings,
        minima_passes=settings.late_minima_passes,
        force_weight=settings.late_force_weight,
    )


def shuffled(data: Dataset, settings: Settings, seed: int) -> list[Tensor]:
    """The batches of a pass over the data, the same for the same seed.

    Some dozen molecules at a time are put in the order of their number of neighbours before they
    are cut, so that a batch is not padded to the width of its one crowded molecule.
    """
    generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + seed)
    order = torch.randperm(len(data), generator=generator)
    bucket = max(1, min(BUCKET, len(data) // BUCKET))  # too coarse an order would fix the batches
    order = torch.cat([some[data.slots[some].argsort(stable=True)] for some in order.split(bucket)])
    batches = cut(data, order, settings.batch_atoms, settings.batch_pairs)
    return [batches[n] for n in torch.randperm(len(batches), generator=generator)]


def interleaved(
    data: Dataset, minima: Dataset | None, settings: Settings, epoch: int
) -> list[tuple[bool, Tensor]]:
    """The batches of an epoch, evenly mixed: (False, rows of `data`) and, `minima_passes` times in
    all, (True, rows of `minima`).
    """
    passes = settings.minima_passes if minima else 0
    kinds = [shuffled(data, settings, epoch), []]
    for number in range(passes):
        assert minima
        kinds[1] += shuffled(minima, settings, epoch * passes + number)
    placed = [
        ((place + 0.5) / len(batches), kind, rows)
        for kind, batches in enumerate(kinds)
        for place, rows in enumerate(batches)
    ]
    return [(bool(kind), rows) for _, kind, rows in sorted(placed, key=lambda one: one[:2])]


def predict(potential: nn.Module, data: Dataset, atoms: int = EVALUATION_ATOMS) -> Tensor:
    """(M,) predictions for a data set, float64, on the CPU."""
    order = data.sizes.argsort(stable=True)
    predictions = torch.empty(len(data), dtype=torch.float64)
    with torch.no_grad():
        for rows in cut(data, order, atoms, EVALUATION_PAIRS):
            predictions[rows] = potential(data.batch(rows)).cpu()
    return predictions


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
    team: Team = ALONE,
) -> Progress:
    """Train `potential` in place; it ends with the exponential average of the weights.

    `data`, `validation` and `minima`, whose energies alone are seen `minima_passes` times an epoch,
    lie on the potential's device. The state is written to `checkpoint` every `checkpoint_seconds`
    and at the end; if one of the same `identity` is there, the training goes on from it and ends
    with the weights of an uninterrupted run. `after_epoch` gets the history, one entry an epoch.
    Raises Diverged when the loss is not finite; the checkpoint is then the last good one. Once
    `stop` returns True, writes the checkpoint and raises Stopped. The processes of a `team` call
    this with the same arguments; the first one writes, and calls `after_epoch`.
    """
    averaged = copy.deepcopy(potential).requires_grad_(False)
    model, average = potential.model, averaged.model
    sources = [(data, potential.residual(data))]
    if minima:
        sources.append((minima, potential.residual(minima)))
    parameters = list(model.parameters())
    steps, each = stepper(potential, settings, team)
    optimizer = SOAP(parameters, settings.learning_rate, settings.weight_decay, each=each)
    progress = _resume(checkpoint, identity, model, average, optimizer)
    before, started = progress.seconds, time.monotonic()
    if settings.compiled:
        for source in sources:  # with the same example after a restart
            list(steps([(*source, shuffled(source[0], settings, 0)[0], 1.0)]))
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
        if checkpoint and team.rank == 0:
            meta = {"identity": identity, "progress": asdict(progress)}
            save_tensors(checkpoint, _tensors(model, average, optimizer), meta)

    sizes = [
        len(data) + (at_epoch(settings, epoch).minima_passes * len(minima) if minima else 0)
        for epoch in range(settings.epochs)
    ]
    total, done = sum(sizes), 0
    saved = compiled = time.monotonic()
    hidden = True if team.rank else None
    with tqdm(total=total, unit=" molecules", disable=hidden, mininterval=1) as bar:
        while progress.epoch < settings.epochs:
            now = at_epoch(settings, progress.epoch)
            batches = interleaved(data, minima, now, progress.epoch)
            seen = sum(sizes[: progress.epoch]) + sum(len(b) for _, b in batches[: progress.batch])
            bar.update(seen - bar.n)
            left = batches[progress.batch :]
            found = steps((*sources[kind], rows, now.force_weight) for kind, rows in left)
            for (_, rows), (loss, *gradient) in zip(left, found, strict=True):
                passed = (progress.epoch + progress.batch / len(batches)) / settings.epochs
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate(settings, progress.step, passed)
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
                stopping = progress.step % STOP_STEPS == 0 and team.any(stop(), data.pos.device)
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
            if team.rank == 0:
                after_epoch(progress.history)
            progress.epoch, progress.batch = progress.epoch + 1, 0
            factor, unit = units.readable(potential.unit)
            last = progress.history[-1]
            status = (
                f"epoch {progress.epoch}/{settings.epochs}, loss {last['train_loss']:.4f},"
                f" validation MAE {last['validation_mae'] * factor:.1f} {unit}"
            )
            bar.set_postfix_str(status)
            total_loss.zero_()
    save()
    model.load_state_dict(average.state_dict())
    return progress


def stepper(
    potential: Potential, settings: Settings, team: Team = ALONE
) -> tuple[Callable[[Iterable[tuple[Any, ...]]], Iterator[list[Tensor]]], Callable[..., Any]]:
    """A function of batches, each a data set, its labels (M,), rows of it (B,) and the weight of
    forces: their losses and gradients, those of the whole `team`. And the `map` that it works with.

    Compiled, on the CPU, each thread takes parts of a batch by itself, and makes those of the next
    one when there are no more: none waits for another in the middle, and what a part needs is more
    often in the cache of a core.
    """
    step = gradients(potential, settings)
    threads, each = 0, cast(Callable[..., Iterable[Any]], map)
    if settings.compiled:
        step = Fused(step)
        if potential.references.device.type == "cpu":
            threads = torch.get_num_threads()
            each = on_cores(threads)

    def cut_apart(batch: tuple[Dataset, Tensor, Tensor, float]) -> Iterable[Any]:
        data, labels, rows, force_weight = batch
        mine, number = team.share(rows), 1
        if threads:
            wanted = up(math.ceil(int(data.sizes[mine].sum()) / PART_ATOMS), threads)
            number = max(1, min(wanted, len(mine) // 2))  # of two molecules at least
        parts = reversed(mine.tensor_split(number))  # the most work first
        return each(lambda part: cut_for_step(data, labels, part, rows, force_weight), parts)

    def over(batches: Iterable[tuple[Dataset, Tensor, Tensor, float]]) -> Iterator[list[Tensor]]:
        made = map(cut_apart, batches)
        parts = next(made, None)
        while parts is not None:
            results = each(step, *zip(*parts, strict=True))
            parts = next(made, None)
            total, *others = map(list, results)
            for other in others:
                torch._foreach_add_(total, other)
            yield team.sum(total)

    return over, each


def gradients(potential: Potential, settings: Settings) -> Callable[..., tuple[Tensor, ...]]:
    """A function of a batch, labels (B,), their weights (B,) and, if there are any, forces (N, 3)
    in their unit per Å and weights (N,): the loss, and its gradients with respect to the model's
    parameters.

    The loss, without unit, is a weighted sum over molecules and atoms. Errors of forces count as
    squares up to `force_huber` and linearly beyond (pseudo-Huber of the error's length): a loss
    that is linear from the start takes the median of what it cannot tell apart, which is nearer to
    zero than the mean, and makes vibrations too soft.
    """
    network, parameters = potential.network, list(potential.model.parameters())
    knee = settings.force_huber / potential.scale

    def step(
        batch: Batch,
        label: Tensor,
        weight: Tensor,
        known: Tensor | None = None,
        force_weight: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        if known is None or force_weight is None:
            loss = weight @ smooth_l1_loss(
                network(batch), label, beta=settings.huber, reduction="none"
            )
        else:
            value, forces = energy_forces(network, batch, create_graph=True)
            deviation = forces - known / potential.scale
            off = smooth_l1_loss(value, label, beta=settings.huber, reduction="none")
            force_loss = force_weight @ ((deviation.square().sum(1) + knee**2).sqrt() - knee)
            loss = settings.energy_weight * (weight @ off) + force_loss
        return loss.detach(), *torch.autograd.grad(loss, parameters, materialize_grads=True)

    return step


def cut_for_step(
    data: Dataset, labels: Tensor, part: Tensor, rows: Tensor, force_weight: float = 1.0
) -> tuple[Any, ...]:
    """What `gradients` needs of a part, maybe none, of the molecules `rows`, on the device of
    `data`: its share of their mean over molecules plus `force_weight` times one over atoms.
    """
    device = data.pos.device
    batch, forces = data.labelled(part if len(part) else rows[:1], padded=device.type == "cuda")
    each = torch.zeros(2, batch.size)
    each[0, : len(part)], each[1, : len(part)] = labels[part], 1 / len(rows)
    label, weight = send(each, device)
    if forces is None:
        return batch, label, weight
    each = torch.zeros(len(forces))
    each[: data.sizes[part].sum()] = force_weight / data.sizes[rows].sum()
    return batch, label, weight, forces, send(each, device)


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
