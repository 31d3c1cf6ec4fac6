"""The state of a training: all that its checkpoint holds."""

import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from ..models.checkpoint import load_tensors, save_tensors
from .settings import Settings, learning_rate

log = logging.getLogger(__name__)


@dataclass
class Progress:
    """How far a training is; the checkpoint stores it as JSON."""

    epoch: int = 0
    batch: int = 0  # the next batch of this epoch
    step: int = 0
    loss: float = 0.0  # sum over the molecules of this epoch
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)  # one entry per epoch


@dataclass
class TrainingState:
    """A model, the exponential average of its weights, its optimiser and its progress.

    `loss_sum` (), float64, on the model's device, is brought into `progress` by `sync`: reading it
    after every step would let the CPU wait for a GPU.
    """

    model: nn.Module
    average: nn.Module
    optimizer: torch.optim.Optimizer
    loss_sum: Tensor
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
        named = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        named |= {f"average.{name}": tensor for name, tensor in self.average.state_dict().items()}
        for number, entries in self.optimizer.state_dict()["state"].items():
            named |= {f"optimizer.{number}.{name}": tensor for name, tensor in entries.items()}
        return named

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Set the state to what `tensors()` returned."""
        parts: dict[str, dict[str, Tensor]] = {"model": {}, "average": {}, "optimizer": {}}
        for name, tensor in tensors.items():
            part, key = name.split(".", 1)
            parts[part][key] = tensor
        self.model.load_state_dict(parts["model"])
        self.average.load_state_dict(parts["average"])
        entries: dict[int, dict[str, Tensor]] = {}
        for name, tensor in parts["optimizer"].items():
            number, key = name.split(".")
            entries.setdefault(int(number), {})[key] = tensor
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": entries})


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
