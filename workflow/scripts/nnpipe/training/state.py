"""The state of a training: all that its checkpoint holds."""

import logging
import math
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from ..models.checkpoint import load_tensors, save_tensors
from .settings import Settings, learning_rate

log = logging.getLogger(__name__)
ERRORS = "validation_mae", "validation_force_mae"


@dataclass
class Progress:
    """How far a training is; the checkpoint stores it as JSON."""

    epoch: int = 0
    batch: int = 0  # the next batch of this epoch
    step: int = 0
    loss: float = 0.0  # sum over the molecules of this epoch
    seconds: float = 0.0
    # one entry per epoch, and one of epoch 0 if the best epoch is kept
    history: list[dict[str, float]] = field(default_factory=list)

    def best(self) -> dict[str, float]:
        """Return the entry of the best epoch.

        None of its validation errors, of energies and of forces, is above the error of the first
        entry; the product of both is the least.
        """

        def errors(entry: dict[str, float]) -> list[float]:
            return [entry[key] for key in ERRORS if key in entry]

        first = errors(self.history[0])
        never_worse = [
            entry
            for entry in self.history
            if all(now <= before for now, before in zip(errors(entry), first, strict=True))
        ]
        return min(never_worse, key=lambda entry: math.prod(errors(entry)))


@dataclass
class TrainingState:
    """A model, the exponential average of its weights, its optimiser and its progress.

    `best` is the average after the best epoch so far, or None if the last one is kept.
    `loss_sum` (), float64, on the model's device, is brought into `progress` by `sync`: reading it
    after every step would let the CPU wait for a GPU.
    """

    model: nn.Module
    average: nn.Module
    optimizer: torch.optim.Optimizer
    loss_sum: Tensor
    best: nn.Module | None = None
    progress: Progress = field(default_factory=Progress)

    def update(self, gradients: list[Tensor], settings: Settings, fraction: float) -> None:
        """Take one optimiser step, `fraction` in [0, 1] of the training being over."""
        step, parameters = self.progress.step, list(self.model.parameters())
        for options in self.optimizer.param_groups:
            options["lr"] = learning_rate(settings, step, fraction)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        nn.utils.clip_grad_norm_(parameters, settings.clip_norm)
        self.optimizer.step()
        decay = min(settings.ema_decay, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(tuple(self.average.parameters()), tuple(parameters), 1 - decay)
        self.progress.step += 1
        self.progress.batch += 1

    def sync(self, seconds: float) -> None:
        """Bring `progress` up to date, the training having run for `seconds`."""
        self.progress.seconds, self.progress.loss = seconds, self.loss_sum.item()

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors of the state by name."""
        named = {
            f"{part}.{name}": tensor
            for part, module in self._modules().items()
            for name, tensor in module.state_dict().items()
        }
        for number, entries in self.optimizer.state_dict()["state"].items():
            named |= {f"optimizer.{number}.{name}": tensor for name, tensor in entries.items()}
        return named

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Set the state to what `tensors()` returned."""
        parts: dict[str, dict[str, Tensor]] = defaultdict(dict)
        for name, tensor in tensors.items():
            part, key = name.split(".", 1)
            parts[part][key] = tensor
        for part, module in self._modules().items():
            module.load_state_dict(parts[part])
        entries: dict[int, dict[str, Tensor]] = {}
        for name, tensor in parts["optimizer"].items():
            number, key = name.split(".")
            entries.setdefault(int(number), {})[key] = tensor
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": entries})

    def _modules(self) -> dict[str, nn.Module]:
        modules = {"model": self.model, "average": self.average}
        return modules if self.best is None else modules | {"best": self.best}


@dataclass(frozen=True)
class Checkpoint:
    """A file that holds the state of the training with this identity."""

    path: str | Path
    identity: str  # digest of the configuration, code and data

    def save(self, state: TrainingState) -> None:
        """Write the state."""
        meta = {"identity": self.identity, "progress": asdict(state.progress)}
        save_tensors(self.path, state.tensors(), meta)

    def resume(self, state: TrainingState) -> None:
        """Load the state if the file exists and has this identity."""
        if not Path(self.path).is_file():
            return
        tensors, meta = load_tensors(self.path)
        if meta["identity"] != self.identity:
            log.info("%s: of another configuration, code or data; starting afresh", self.path)
            return
        state.load_tensors(tensors)
        state.progress = Progress(**meta["progress"])
        state.loss_sum.fill_(state.progress.loss)
        epoch, step = state.progress.epoch + 1, state.progress.step
        log.info("%s: going on from epoch %d, step %d", self.path, epoch, step)
