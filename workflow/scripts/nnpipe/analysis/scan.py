"""Energy along a bond that is stretched and around one that is turned."""

import numpy as np
import pandas as pd
from ase import Atoms
from ase.calculators.calculator import Calculator, CalculatorError
from scipy.spatial.transform import Rotation

from ..structures.bonds import bond_matrix, rotatable_bonds

STRETCHES = np.linspace(-0.5, 2.0, 51)  # Å, added to the bond's length
ANGLES = np.arange(0, 361, 5)  # degrees


def scan(atoms: Atoms, surfaces: dict[str, Calculator]) -> pd.DataFrame:
    """One row a geometry: scan, at, and the energy (eV) of every surface less that of `atoms`, nan
    where it cannot be found.

    The molecule is rigid but for the bond: of the bonds that may turn, the one whose lesser side is
    the largest. Empty if no bond may turn.
    """
    where = atoms.numbers, atoms.positions
    rotors = [rotor for rotor in rotatable_bonds(*where, bond_matrix(*where)) if rotor.is_single]
    if not rotors:
        return pd.DataFrame(columns=["scan", "at", *surfaces])
    a, b, side, _ = max(rotors, key=lambda rotor: min(rotor.side.sum(), (~rotor.side).sum()))
    axis = atoms.positions[b] - atoms.positions[a]
    length = np.linalg.norm(axis)
    axis = axis / length
    symbols = atoms.get_chemical_symbols()
    bond = f"{symbols[a]}{a}-{symbols[b]}{b}"
    rows = []
    for name, values in (("stretch", STRETCHES), ("torsion", ANGLES)):
        for value in values:
            moved = atoms.copy()
            if name == "stretch":
                moved.positions[side] += value * axis
            else:
                turn = Rotation.from_rotvec(np.radians(value) * axis)
                origin = atoms.positions[b]
                moved.positions[side] = turn.apply(atoms.positions[side] - origin) + origin
            row = {"scan": name, "bond": bond, "at": value + length * (name == "stretch")}
            for surface, calculator in surfaces.items():
                row[surface] = _energy(moved, calculator)
            rows.append(row)
    table = pd.DataFrame(rows)
    for surface, calculator in surfaces.items():
        table[surface] -= _energy(atoms, calculator)
    return table


def _energy(atoms: Atoms, calculator: Calculator) -> float:
    """eV, or nan where a field does not converge."""
    try:
        return float(calculator.get_potential_energy(atoms))
    except CalculatorError:
        return np.nan
