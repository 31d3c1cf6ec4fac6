"""How a molecule is simulated."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """How a molecule is simulated; config.yaml says what each number means."""

    ensemble: str = "nvt"
    temperature_k: float = 300.0
    timestep_fs: float = 0.5
    length_ps: float = 10.0
    friction_per_ps: float = 10.0
    frame_fs: float = 10.0
    max_bond_deviation_a: float = 0.5
    relax_fmax: float = 0.01
    seed: int = 0
