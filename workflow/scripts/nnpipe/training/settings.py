"""How a model is trained, and how fast it learns when."""

import math
from dataclasses import dataclass, replace


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
