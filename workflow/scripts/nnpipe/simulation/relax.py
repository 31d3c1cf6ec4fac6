"""Relaxation of a geometry to the next minimum of a calculator's surface."""

import logging

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.optimize import BFGS

from ..errors import InputError
from ..structures.bonds import bond_lengths, bond_matrix, bonded_pairs, spring_hessian
from ..structures.checks import fixed_atoms

log = logging.getLogger(__name__)
MIN_CURVATURE = 1.0  # eV/Å^2, added to the springs that BFGS starts from


def relax(
    atoms: Atoms,
    calculator: Calculator,
    fmax: float,
    max_steps: int,
    max_bond_deviation_a: float = np.inf,
) -> tuple[Atoms, bool]:
    """Return the relaxed atoms with their calculator, and whether all forces are below `fmax`
    (eV/Å) after at most `max_steps`.

    Return `atoms` and False if a bond changes by more than `max_bond_deviation_a`. BFGS starts
    from the Hessian of springs between atoms, which takes a third of the steps; not in periodic
    systems, as the springs do not cross the cell's boundary. Raises InputError if two atoms
    coincide. Fixed atoms stay where they are.
    """
    pairs = bonded_pairs(atoms)
    before = bond_lengths(atoms, pairs)
    relaxed, converged = atoms.copy(), False
    relaxed.calc = calculator
    with BFGS(relaxed, logfile=None) as optimizer:
        if not atoms.pbc.any():
            springs = spring_hessian(atoms.positions, bond_matrix(atoms.numbers, atoms.positions))
            if not np.isfinite(springs).all():
                raise InputError("two atoms are at one position, or a position is not finite")
            held = np.repeat(fixed_atoms(atoms), 3)
            springs[held] = springs[:, held] = 0.0
            optimizer.H0 = springs + MIN_CURVATURE * np.eye(len(springs))
        for below_fmax in optimizer.irun(fmax, max_steps):
            converged = bool(below_fmax)
            change = np.abs(bond_lengths(relaxed, pairs) - before).max(initial=0)
            if not change <= max_bond_deviation_a:
                log.warning("relaxation changes a bond by %.2f Å: starting unrelaxed", change)
                return atoms, False
    return relaxed, converged
