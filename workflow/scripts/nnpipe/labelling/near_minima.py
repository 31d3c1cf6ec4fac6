"""Geometries near minima of QM9, with differences that follow from its frequencies.

QM9 has the harmonic frequencies of every minimum. The normal modes of corrected tight binding,
matched by their order, turn them into a Hessian. What is not harmonic is taken from tight binding,
so that DFT less tight binding needs no self-consistent field away from the minimum:

    E(x) - E_tight binding(x) = E(x0) - E_tight binding(x0) + E_anchor(x) + d (H - H_anchored) d / 2
    H = H_corrected + sum_n (w_n^2 - u_n^2) / C^2  (M v_n) (M v_n)^T

    d = x - x0     Å        displacement from the minimum of QM9, whose energy is E(x0)
    H_anchored     eV/Å^2   Hessian of tight binding with its anchor (anchor.py)
    H_corrected    eV/Å^2   the same with the correction (correction.py)
    u_n, v_n       cm^-1    frequency and Cartesian displacement of mode n of H_corrected
    w_n            cm^-1    frequency n of QM9
    M              amu      masses; C is units.FREQUENCY
"""

from collections.abc import Iterator, Sequence

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import atomic_masses

from ..data.molecules import Molecules
from ..models.potential import SURFACE
from ..structures.vibrations import normal_modes
from ..units import BOLTZMANN, FREQUENCY
from .anchor import fit_anchor
from .correction import Correction, ReferenceHessian, fit_force_constants, reference_hessians
from .distortions import SOFTEST_DISPLACED_CM1
from .scf import Method

GEOMETRIES = 6  # of a molecule
TEMPERATURES_K = (100.0, 600.0)  # the logarithm of the temperature is drawn uniformly


def hessian_of_frequencies(
    reference: ReferenceHessian, correction: Correction
) -> tuple[np.ndarray, np.ndarray]:
    """Return H (3N, 3N) eV/Å^2 and the Cartesian displacements (3N, V) of its modes.

    The frequencies of H are the ones of `reference`, its modes the ones of the Hessian with
    `correction`. Displacements: see `normal_modes`.
    """
    matrix = reference.corrected(correction)
    found, modes = normal_modes(reference.z, reference.pos, matrix)
    weighted = np.repeat(atomic_masses[reference.z], 3)[:, None] * modes
    change = (reference.frequencies**2 - found * np.abs(found)) / FREQUENCY**2
    return matrix + (weighted * change) @ weighted.T, modes


def near_minima(
    molecules: Molecules, rows: Sequence[int] | np.ndarray, method: Method, seed: int = 0
) -> Iterator[Atoms]:
    """Yield geometries near the minima in `rows` with energies (eV) and forces (eV/Å) of DFT less
    the ones of `method`.

    Displacements are the ones of classical harmonic oscillators. `reference_hessians` leaves some
    molecules out.
    """
    references = list(reference_hessians(molecules, rows, method))
    correction = fit_force_constants(reference for _, reference in references)
    rng = np.random.default_rng(seed)
    for row, reference in references:
        z, minimum = reference.z, reference.pos
        matrix, modes = hessian_of_frequencies(reference, correction)
        change = matrix - reference.hessian
        lowest, forces = method(z)(minimum)
        anchor = fit_anchor(minimum, forces)
        scale = FREQUENCY / np.maximum(reference.frequencies, SOFTEST_DISPLACED_CM1)
        for _ in range(GEOMETRIES):
            temperature = np.exp(rng.uniform(*np.log(TEMPERATURES_K)))
            shift = modes @ (np.sqrt(BOLTZMANN * temperature) * scale * rng.normal(size=len(scale)))
            atoms = Atoms(
                z, minimum + shift.reshape(-1, 3), info={"qm9": int(molecules.index[row])}
            )
            energy, forces = anchor(atoms.positions)
            energy += molecules.targets[SURFACE][row] - lowest + shift @ change @ shift / 2
            forces = forces - (change @ shift).reshape(-1, 3)
            atoms.calc = SinglePointCalculator(atoms, energy=float(energy), forces=forces)
            yield atoms
