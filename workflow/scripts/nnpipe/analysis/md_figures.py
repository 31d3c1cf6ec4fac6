"""Figures of a trajectory, and the data that they show: normal modes, spectrum and bond scan."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ase import Atoms
from ase.io import write
from matplotlib.figure import Figure
from tblite.ase import TBLite

from ..runtime.files import atomic
from ..simulation.calculator import NeuralCalculator
from ..simulation.relax import relax
from ..structures.vibrations import normal_modes
from . import plots
from .frequencies import FMAX, MAX_STEPS
from .scan import bare, scan, scan_table
from .spectrum import vibrational_density

SPECTRUM = ["wavenumber_cm1", "density_cm"]  # columns of the table
MODES_MAX_ATOMS = 200  # the file of the modes grows with the square of the number of atoms


@dataclass(frozen=True)
class RunData:
    """What the figures of a trajectory show besides its frames.

    The first frame of the first replica leads to the minimum to which `frequencies` (V,) cm^-1,
    `modes` and `geometries` belong.
    """

    frequencies: np.ndarray
    modes: list[Atoms]  # one per normal mode; see `mode_frames`
    spectrum: pd.DataFrame
    geometries: list[Atoms]  # of a bond scan with the model and GFN2-xTB; see `scan`


def run_data(frames: Sequence[Atoms], calculator: NeuralCalculator) -> RunData:
    """Return the data of a trajectory: minimum and modes with `calculator`, spectrum of the frames.

    The list of modes is empty for a system of more than MODES_MAX_ATOMS atoms.
    """
    replica = [frame for frame in frames if frame.info.get("replica", 0) == 0]
    relaxed, _ = relax(replica[0], calculator, FMAX, MAX_STEPS)
    hessian, periodic = calculator.get_hessian(relaxed), bool(relaxed.pbc.any())
    where, masses = (relaxed.numbers, relaxed.positions), relaxed.get_masses()
    frequencies, displacements = normal_modes(*where, hessian, periodic, masses)
    small = len(relaxed) <= MODES_MAX_ATOMS
    modes = mode_frames(relaxed, frequencies, displacements) if small else []
    velocities = np.array([frame.get_velocities() for frame in replica])
    spacing_fs = replica[1].info["time_fs"] if len(replica) > 1 else 1.0
    density = vibrational_density(velocities, masses, spacing_fs)
    spectrum = pd.DataFrame(np.stack(density, 1), columns=SPECTRUM).dropna()
    calculators = {"model": calculator, "gfn2": TBLite(method="GFN2-xTB", verbosity=0)}
    return RunData(frequencies, modes, spectrum, scan(relaxed, calculators))


def mode_frames(atoms: Atoms, frequencies: np.ndarray, displacements: np.ndarray) -> list[Atoms]:
    """Return one frame per normal mode: `atoms` with the array `displacement` (N, 3), whose longest
    row is 1, and `frequency_cm1` in `info`. frequencies (V,) cm^-1, displacements (3N, V).
    """
    frames = []
    for frequency, column in zip(frequencies, displacements.T, strict=True):
        displacement = column.reshape(-1, 3)
        frame = bare(atoms, {"frequency_cm1": round(float(frequency), 3)})
        longest = np.linalg.norm(displacement, axis=1).max()
        frame.set_array("displacement", displacement / longest)
        frames.append(frame)
    return frames


def write_frames(frames: Sequence[Atoms], path: str | Path) -> None:
    """Write frames as extended xyz, completely or not at all; no frames give an empty file."""
    with atomic(path) as temporary:
        write(temporary, frames, format="extxyz")


def md_figures(
    frames: Sequence[Atoms],
    summaries: Sequence[Mapping[str, Any]],
    data: RunData,
    max_bond_deviation_a: float,
) -> dict[str, Figure]:
    """Return the figures `run`, `spectrum` and `scan` of a trajectory and its summaries."""
    return {
        "run": plots.trajectory(frames, summaries, max_bond_deviation_a),
        "spectrum": plots.spectrum(summaries[0], data.spectrum, data.frequencies),
        "scan": plots.scan(summaries[0], scan_table(data.geometries)),
    }
