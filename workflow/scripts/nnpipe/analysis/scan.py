"""Energy of a molecule while one bond is stretched or turned."""

import numpy as np
import pandas as pd
from ase import Atoms
from ase.calculators.calculator import Calculator, CalculatorError
from scipy.spatial.transform import Rotation

from ..structures.bonds import bond_matrix, rotatable_bonds

STRETCHES = np.linspace(-0.5, 2.0, 51)  # Å, added to the bond's length
ANGLES = np.arange(0, 361, 5)  # degrees


def scan(atoms: Atoms, calculators: dict[str, Calculator]) -> pd.DataFrame:
    """Return one row per geometry: scan (stretch or torsion), bond, at (length in Å or angle in
    degrees), and for each calculator the energy (eV) relative to `atoms`, nan if it does not
    converge.

    The rest of the molecule is rigid. The bond is the rotatable single bond whose smaller side has
    the most atoms. The table is empty if there is none.
    """
    where = atoms.numbers, atoms.positions
    rotors = [rotor for rotor in rotatable_bonds(*where, bond_matrix(*where)) if rotor.is_single]
    if not rotors:
        return pd.DataFrame(columns=["scan", "at", *calculators])
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
            for label, calculator in calculators.items():
                row[label] = _energy(moved, calculator)
            rows.append(row)
    table = pd.DataFrame(rows)
    for label, calculator in calculators.items():
        table[label] -= _energy(atoms, calculator)
    return table


def _energy(atoms: Atoms, calculator: Calculator) -> float:
    """Return the energy in eV, or nan if the calculator does not converge."""
    try:
        return float(calculator.get_potential_energy(atoms))
    except CalculatorError:
        return np.nan
