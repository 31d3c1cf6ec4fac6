"""Settings of molecular dynamics."""

from typing import Literal

from ..schema import section, setting


@section
class Settings:
    """How a molecule is simulated."""

    ensemble: Literal["nvt", "nve"] = setting("nvt", "nvt (Langevin) or nve (velocity Verlet)")
    temperature_k: float = setting(
        300.0, "temperature of the thermostat and of the initial velocities", "K", ge=0
    )
    timestep_fs: float = setting(
        0.5, "timestep; at most 1 fs for molecules with hydrogen", "fs", gt=0, le=4
    )
    length_ps: float = setting(10.0, "simulated time", "ps", gt=0)
    friction_per_ps: float = setting(10.0, "friction of the Langevin thermostat", "1/ps", gt=0)
    frame_fs: float = setting(
        4.0,
        "time between frames of the trajectory; above 4 fs vibrations with hydrogen are aliased in"
        " the spectrum",
        "fs",
        gt=0,
    )
    max_bond_deviation_a: float = setting(
        0.5, "a run stops when a bond length deviates by more (Fu et al. 2022)", "Å", gt=0
    )
    relax_fmax: float = setting(
        0.01, "maximum force at which the starting structure counts as relaxed", "eV/Å", gt=0
    )
    seed: int = setting(
        0, "seed of the conformer, the initial velocities and the thermostat", ge=0, le=2**31 - 1
    )
    velocities: Literal["auto", "draw", "start"] = setting(
        "auto",
        "initial velocities: draw, start (of the starting structure, which is then not relaxed) or"
        " auto (start if the structure has velocities)",
    )
    checkpoint_seconds: float = setting(
        60.0, "time between checkpoints; a killed run goes on from the last one", "s", gt=0
    )
