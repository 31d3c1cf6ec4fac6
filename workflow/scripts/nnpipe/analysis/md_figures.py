"""Figures of a trajectory: the run itself, its spectrum, and the energy along a bond."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from matplotlib.figure import Figure
from tblite.ase import TBLite

from ..simulation.calculator import NeuralCalculator
from ..simulation.relax import relax
from ..structures.vibrations import normal_modes
from . import plots
from .frequencies import FMAX, MAX_STEPS
from .scan import scan
from .spectrum import vibrational_density


def md_figures(
    frames: Sequence[Atoms],
    summaries: Sequence[Mapping[str, Any]],
    calculator: NeuralCalculator,
    max_bond_deviation_a: float,
) -> dict[str, Figure]:
    """Return the figures `run`, `spectrum` and `scan` of a trajectory and its summaries.

    The harmonic frequencies in `spectrum` and the rigid molecule in `scan` belong to the minimum
    next to the first frame of the first replica. GFN2-xTB serves as reference in `scan`.
    """
    replica = [frame for frame in frames if frame.info.get("replica", 0) == 0]
    relaxed, _ = relax(replica[0], calculator, FMAX, MAX_STEPS)
    hessian, periodic = calculator.get_hessian(relaxed), bool(relaxed.pbc.any())
    where, masses = (relaxed.numbers, relaxed.positions), relaxed.get_masses()
    frequencies, _ = normal_modes(*where, hessian, periodic, masses)
    velocities = np.array([frame.get_velocities() for frame in replica])
    spacing_fs = replica[1].info["time_fs"] if len(replica) > 1 else 1.0
    density = vibrational_density(velocities, masses, spacing_fs)
    model, molecule = summaries[0]["model"], summaries[0]["molecule"]
    calculators = {model: calculator, "GFN2-xTB": TBLite(method="GFN2-xTB", verbosity=0)}
    return {
        "run": plots.trajectory(frames, summaries, max_bond_deviation_a),
        "spectrum": plots.spectrum(summaries[0], *density, frequencies),
        "scan": plots.scan(f"{molecule} with {model}", scan(relaxed, calculators)),
    }
