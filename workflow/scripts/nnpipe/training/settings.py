"""Settings of a training: defaults, learning-rate schedule, stages."""

import math
from dataclasses import asdict, replace
from typing import Any, Literal

from ..schema import section, setting


@section
class Stage:
    """Consecutive epochs, with settings that replace the general ones in these epochs."""

    epochs: int = setting(..., "number of epochs of this stage", strict=True, ge=1)
    minima_passes: int | None = setting(
        None, "replaces training.minima_passes in this stage", strict=True, ge=0
    )
    energy_weight: float | None = setting(
        None, "replaces training.energy_weight in this stage", strict=True, ge=0
    )
    force_weight: float | None = setting(
        None, "replaces training.force_weight in this stage", "Å", strict=True, ge=0
    )

    def overrides(self) -> dict[str, Any]:
        """Return the settings that this stage replaces."""
        given = {key: value for key, value in asdict(self).items() if value is not None}
        del given["epochs"]
        return given


@section
class Settings:
    """How a model is trained."""

    seed: int = setting(
        0, "seed of the initial weights and of the order of molecules", ge=0, le=2**31 - 1
    )
    stages: tuple[Stage, ...] = setting(
        (Stage(epochs=50),),
        "epochs, in one or several stages; an epoch is one pass over the training geometries; a"
        " stage may replace minima_passes, energy_weight and force_weight",
        min_length=1,
    )
    batch_atoms: int = setting(
        600, "maximum number of atoms in a batch, about 33 molecules of QM9", ge=1
    )
    batch_pairs: int = setting(
        20_000, "maximum of atoms times neighbours in a batch; sets the memory use", ge=1
    )
    learning_rate: float = setting(
        3e-3, "maximum, reached after the warm-up; a half cosine lowers it to 1 % of this",
        gt=0, le=1,
    )  # fmt: skip
    warmup_steps: int = setting(
        200, "batches over which the learning rate rises linearly from 0", ge=0
    )
    weight_decay: float = setting(
        0.0, "decoupled weight decay per step, multiplied by the learning rate", ge=0
    )
    ema_decay: float = setting(
        0.999, "decay per step of the exponential moving average of the weights, which is saved",
        ge=0, lt=1,
    )  # fmt: skip
    keep: Literal["auto", "last", "best"] = setting(
        "auto",
        "weights that are saved: of the last epoch, or of the one with the best validation errors,"
        " the start included; auto: best if a trained model is fine-tuned on own data, else last",
    )
    clip_norm: float = setting(10.0, "maximum norm of the gradient", gt=0)
    energy_huber_delta: float = setting(
        0.02,
        "energy errors above this count linearly (Huber loss); in standard deviations of the label",
        gt=0,
    )
    force_huber_delta: float = setting(
        0.2, "force errors above this count linearly (pseudo-Huber loss)", "eV/Å", gt=0
    )
    minima_passes: int = setting(
        3, "passes over the energies of the minima per epoch, mixed into the labelled geometries",
        ge=0,
    )  # fmt: skip
    energy_weight: float = setting(
        0.2, "weight of the energy error of a labelled geometry; a minimum has weight 1", ge=0
    )
    force_weight: float = setting(1.0, "weight of the force error of an atom", "Å", ge=0)
    checkpoint_seconds: float = setting(
        60.0, "time between checkpoints; a killed training resumes from the last one", "s", gt=0
    )
    compiled: bool = setting(
        True,
        "compile the training step: takes 1 to 2 minutes, then runs 1.8 times as fast; needs a"
        " C++ compiler, continues without compilation if there is none",
    )

    def __post_init__(self) -> None:
        for number, stage in enumerate(self.stages):
            weights = {"energy_weight": self.energy_weight, "force_weight": self.force_weight}
            weights |= stage.overrides()
            if weights["energy_weight"] == weights["force_weight"] == 0:
                raise ValueError(
                    f"energy_weight and force_weight are both 0 in stages.{number}; raise one"
                )

    @property
    def epochs(self) -> int:
        """Number of epochs of all stages."""
        return sum(stage.epochs for stage in self.stages)


def learning_rate(settings: Settings, step: int, progress: float) -> float:
    """Linear warm-up over steps, times a half cosine from 1 to 0.01 over `progress` in [0, 1]."""
    warm = min(1.0, (step + 1) / max(settings.warmup_steps, 1))
    return settings.learning_rate * warm * (0.505 + 0.495 * math.cos(math.pi * progress))


def stage_of(settings: Settings, epoch: int) -> Settings:
    """Return the settings of an epoch, counted from 0, with the overrides of its stage."""
    for stage in settings.stages:
        if epoch < stage.epochs:
            return replace(settings, **stage.overrides())
        epoch -= stage.epochs
    raise IndexError(f"epoch is not below {settings.epochs}")
