"""Frames of the files of resources/: geometries with energies and forces."""

from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write


def append_frame(path: Path, atoms: Atoms, energy: float, forces: np.ndarray) -> None:
    """Append a geometry to a file, with its energy (eV) and forces (N, 3) eV/Å, both rounded."""
    frame = atoms.copy()
    frame.calc = SinglePointCalculator(frame, energy=round(energy, 6), forces=forces.round(5))
    write(path, frame, format="extxyz", append=True)
