"""A potential in i-PI: path integral dynamics through a socket.

The folder holds an input of i-PI, the model, a driver that nnpipe and i-PI run, and a script that
starts both. All beads of an open system are one batch.
"""

from pathlib import Path

import numpy as np
from ase import Atoms, units

from ..simulation.calculator import load_calculator
from ..structures.smiles import from_smiles
from .folder import copy_model_files, copy_template

MOLECULE = "CCO"  # of the example
BOX = 100.0  # Å: i-PI needs a cell for an open system, too


def export(model: str | Path, folder: Path) -> list[Path]:
    """Write input.xml, start.xyz, driver.py, run.sh and the folder model; return the paths.

    Raises InputError if the model is missing or damaged.
    """
    calculator = load_calculator(model, device="cpu")
    names = ("input.xml", "driver.py", "run.sh")
    written = [copy_template(f"i_pi_{name}", folder / name) for name in names]
    written.append(write_start(from_smiles(MOLECULE), folder / "start.xyz"))
    return [*written, *copy_model_files(calculator, folder / "model")]


def write_start(atoms: Atoms, path: Path) -> Path:
    """Write one system in the format of i-PI, Å; return the path."""
    lengths = atoms.cell.cellpar() if atoms.pbc.any() else [BOX] * 3 + [90.0] * 3
    cell = " ".join(f"{one:.8f}" for one in lengths)
    lines = [str(len(atoms)), f"# CELL(abcABC): {cell} positions{{angstrom}} cell{{angstrom}}"]
    for symbol, place in zip(atoms.symbols, atoms.positions, strict=True):
        lines.append(f"{symbol} " + " ".join(f"{one:.8f}" for one in place))
    path.write_text("\n".join(lines) + "\n")
    return path


def harmonic_kinetic_energy(frequencies: np.ndarray, temperature: float, beads: int) -> float:
    """Return the mean kinetic energy (eV) of harmonic modes at `temperature` K.

    frequencies (M,) 1/cm. With one bead, each mode has kT/2, the classical value. With infinitely
    many, it is the quantum value. The centroid virial estimator has this mean for `beads` beads:
    kT/2 sum_k w^2 / (w^2 + w_k^2) with w_k = 2 P kT/hbar sin(k pi / P); see
    https://doi.org/10.1063/1.3489925.
    """
    energies, springs = _ring_polymer(frequencies, temperature, beads)
    return float((units.kB * temperature / 2 * energies**2 / (energies**2 + springs**2)).sum())


def harmonic_gyration(
    frequencies: np.ndarray,
    displacements: np.ndarray,
    masses: np.ndarray,
    temperature: float,
    beads: int,
) -> np.ndarray:
    """Return the radius of gyration (N,) Å of each atom's ring polymer, of harmonic vibrations and
    free translation and rotation.

    frequencies (M,) 1/cm and displacements (3N, M) as structures.vibrations.normal_modes returns
    them, masses (N,) amu. The square of the radius is kT sum_k>0 1 / (w^2 + w_k^2) times the square
    of the displacement, in the notation of `harmonic_kinetic_energy`.
    """
    energies, springs = _ring_polymer(frequencies, temperature, beads)
    hbar = units._hbar * units.J * units.s  # eV, and time in Å (amu / eV)^0.5
    factor = units.kB * temperature * hbar**2
    vibrations = (factor / (energies**2 + springs[1:] ** 2)).sum(1)  # Å^2 amu
    rigid = (factor / springs[1:] ** 2).sum()
    squares = displacements**2  # 1/amu; over all modes of an atom and an axis, their sum is 1/mass
    rest = np.repeat(1 / masses, 3) - squares.sum(1)
    return np.sqrt((squares @ vibrations + rest * rigid).reshape(-1, 3).sum(1))


def _ring_polymer(
    frequencies: np.ndarray, temperature: float, beads: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return hbar w (M, 1) eV of modes and hbar w_k (P,) eV of the free ring polymer."""
    angles = np.pi * np.arange(beads) / beads
    return np.asarray(frequencies)[
        :, None
    ] * units.invcm, 2 * beads * units.kB * temperature * np.sin(angles)
