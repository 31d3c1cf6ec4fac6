"""Energy of a molecule while one bond is stretched or turned."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from ase import Atoms
from ase.calculators.calculator import Calculator, CalculatorError

from ..structures.bonds import bond_matrix, rotatable_bonds, turn_bond

STRETCHES = np.linspace(-0.5, 2.0, 51)  # Å, added to the bond's length
ANGLES = np.arange(0, 361, 5)  # degrees


def scan(atoms: Atoms, calculators: Mapping[str, Calculator]) -> list[Atoms]:
    """Return one molecule per geometry. `info` has scan (stretch or torsion), bond, at (length in
    Å or angle in degrees), and for each calculator the energy `{name}_energy_ev` (eV) relative to
    `atoms`, nan if it does not converge.

    The rest of the molecule is rigid. The bond is the rotatable single bond whose smaller side has
    the most atoms. The list is empty if there is none.
    """
    frames = scan_geometries(atoms)
    if frames:
        start = {name: _energy(atoms, calculator) for name, calculator in calculators.items()}
    for frame in frames:
        for name, calculator in calculators.items():
            energy = _energy(frame, calculator) - start[name]
            frame.info[f"{name}_energy_ev"] = round(energy, 6)
    return frames


def scan_geometries(atoms: Atoms) -> list[Atoms]:
    """Return the geometries of a scan, without energies."""
    where = atoms.numbers, atoms.positions
    rotors = [rotor for rotor in rotatable_bonds(*where, bond_matrix(*where)) if rotor.is_single]
    if not rotors:
        return []
    rotor = max(rotors, key=lambda rotor: min(rotor.side.sum(), (~rotor.side).sum()))
    a, b, side, *_ = rotor
    axis = atoms.positions[b] - atoms.positions[a]
    length = float(np.linalg.norm(axis))
    axis = axis / length
    symbols = atoms.get_chemical_symbols()
    about = {"bond": f"{symbols[a]}{a}-{symbols[b]}{b}"}
    frames = []
    for stretch in STRETCHES:
        frames.append(bare(atoms, about | {"scan": "stretch", "at": length + float(stretch)}))
        frames[-1].positions[side] += stretch * axis
    for angle in ANGLES:
        frames.append(bare(atoms, about | {"scan": "torsion", "at": float(angle)}))
        frames[-1].positions = turn_bond(atoms.positions, rotor, np.radians(angle))
    return frames


def bare(atoms: Atoms, info: Mapping[str, object]) -> Atoms:
    """Return elements, positions, cell and masses of a system, with `info`."""
    copy = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc, info=dict(info))
    if atoms.has("masses"):
        copy.set_masses(atoms.get_masses())
    return copy


def scan_table(frames: Sequence[Atoms]) -> pd.DataFrame:
    """Return a row per geometry of a scan, with the columns scan, bond, at and the energies."""
    return pd.DataFrame([frame.info for frame in frames], columns=None if frames else ["scan"])


def _energy(atoms: Atoms, calculator: Calculator) -> float:
    """Return the energy in eV, or nan if the calculator does not converge."""
    try:
        return float(calculator.get_potential_energy(atoms))
    except CalculatorError:
        return np.nan
