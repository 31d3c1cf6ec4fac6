"""Forces of a data set against its energies: wrong units and wrong signs."""

import numpy as np

from ..units import FORCE, force_factor

NEAR_A = 0.25  # root mean square displacement of a pair of geometries
MEMORY = 16  # geometries per molecule that a further one is compared with
MOLECULES = 2000  # that are compared at a time
PAIRS, MIN_PAIRS = 1000, 5
MIN_CORRELATION = 0.8  # of the pairs; a lower one says nothing about units
TOLERANCE = 1.6  # factor between forces and energies that the trapezoidal rule explains
NAMED_UNITS = [  # the more common first
    f"{energy}/{length}"
    for energy in ("eV", "Hartree", "kcal/mol", "kJ/mol", "Ry")
    for length in ("Ang", "Bohr")
]
UNIT_TOLERANCE = 0.12  # in the logarithm of a factor that is named as a unit


class ForceCheck:
    """Compares forces with differences of energies between near geometries of a molecule.

    The energy difference of two geometries is -(F1 + F2) / 2 · Δx (trapezoidal rule).
    """

    def __init__(self, force_unit: str) -> None:
        self.force_unit = force_unit
        self.pairs: list[tuple[float, float]] = []  # difference of energies, and from forces, eV
        self._seen: dict[bytes, list[tuple[np.ndarray, float, np.ndarray]]] = {}

    def add(self, z: np.ndarray, pos: np.ndarray, energy: float, forces: np.ndarray) -> None:
        """Compare a geometry, z (N,), pos (N, 3) Å, eV, (N, 3) eV/Å, with the nearest before it."""
        if len(self.pairs) == PAIRS:
            return
        seen = self._seen.setdefault(z.tobytes(), [])
        pos = pos - pos.mean(0)  # forces sum to zero: a translation changes nothing
        if seen:
            steps = pos - np.stack([other[0] for other in seen])
            distances = np.sqrt((steps**2).sum(-1).mean(-1))
            nearest = int(distances.argmin())
            if 0 < distances[nearest] < NEAR_A:
                _, energy_before, forces_before = seen[nearest]
                work = -0.5 * float(((forces_before + forces) * steps[nearest]).sum())
                self.pairs.append((energy - energy_before, work))
        seen.append((pos, energy, forces))
        del seen[:-MEMORY]
        if len(self._seen) > MOLECULES:
            del self._seen[next(iter(self._seen))]

    def factor(self) -> float:
        """Return the factor of the forces to the energies, or nan if pairs are few or disagree.

        It is a weighted median over pairs, so that a few far pairs do not matter.
        """
        if len(self.pairs) < MIN_PAIRS:
            return np.nan
        energy, work = np.array(self.pairs).T
        size = np.sqrt((energy**2).sum() * (work**2).sum())
        if not size or abs((energy * work).sum()) < MIN_CORRELATION * size:
            return np.nan
        order = np.argsort(ratio := work[energy != 0] / energy[energy != 0])
        weights = np.cumsum(energy[energy != 0][order] ** 2)
        return float(ratio[order][np.searchsorted(weights, weights[-1] / 2)])

    def contradiction(self) -> str:
        """Return a warning with the unit that forces seem to have, or "" if they are right."""
        factor = self.factor()
        if np.isnan(factor) or 1 / TOLERANCE < factor < TOLERANCE:
            return ""
        text = (
            f"forces contradict energies: over {len(self.pairs)} pairs of near geometries, they"
            f" give {factor:.3g} times the energy differences"
        )
        unit, right = self.force_unit.removeprefix("-"), force_factor(self.force_unit) / factor
        alike = [
            name for name in NAMED_UNITS if abs(np.log(FORCE[name] / abs(right))) < UNIT_TOLERANCE
        ]
        if not alike and 1 / TOLERANCE < -factor < TOLERANCE:
            alike = [unit]
        if not alike:
            return f"{text}; check data.extxyz.energy_unit, length_unit and force_unit"
        sign = "-" if right < 0 else ""
        what = "gradients" if alike[0] == unit else f"forces in {sign}{alike[0]}"
        return (
            f"{text}, as {what} would; if energy_unit is right, set data.extxyz.force_unit to"
            f" {sign}{alike[0]}"
        )
