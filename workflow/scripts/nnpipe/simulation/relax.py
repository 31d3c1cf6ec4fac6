"""Relaxation of starting geometries."""

import logging

import numpy as np
from ase import Atoms
from ase.optimize import BFGS

from ..structures.bonds import bond_lengths, bonded_pairs
from .settings import Settings

log = logging.getLogger(__name__)


def relax(atoms: Atoms, settings: Settings, steps: int = 500) -> tuple[Atoms, bool]:
    """The nearest minimum of the calculator's surface, and whether it was found intact.

    If a bond changes by more than the stability rule allows, the geometry comes back unrelaxed.
    """
    pairs = bonded_pairs(atoms)
    before = bond_lengths(atoms, pairs)
    moved = atoms.copy()
    moved.calc = atoms.calc
    with BFGS(moved, logfile=None) as optimizer:
        for _ in optimizer.irun(settings.relax_fmax, steps):
            change = np.abs(bond_lengths(moved, pairs) - before).max(initial=0)
            if not change <= settings.max_bond_deviation_a:
                log.warning("relaxation changes a bond by %.2f Å: starting unrelaxed", change)
                return atoms, False
    converged = bool(np.linalg.norm(moved.get_forces(), axis=1).max() <= settings.relax_fmax)
    return moved, converged
