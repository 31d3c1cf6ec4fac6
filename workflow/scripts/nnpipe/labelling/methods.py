"""Quantum chemistry for labels: GFN2-xTB and B3LYP/6-31G(2df,p), the method of QM9."""

from collections.abc import Callable

import numpy as np

from ..errors import InputError
from ..structures.vibrations import ForceFunction
from ..units import BOHR, HARTREE

Method = Callable[[np.ndarray], ForceFunction]  # atomic numbers (N,) -> function of one molecule


class NotConverged(Exception):
    """The self-consistent field did not converge, or its result is not finite."""


def gfn2(z: np.ndarray) -> ForceFunction:
    """Return energies and forces of GFN2-xTB, computed by tblite, for a neutral molecule z (N,).

    Each call starts from the self-consistent field of the last one. It raises NotConverged.
    https://doi.org/10.1021/acs.jctc.8b01176
    """
    from tblite.interface import Calculator

    calculator, last = None, None

    def energy_and_forces(pos: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal calculator, last
        if calculator is None:
            calculator = Calculator("GFN2-xTB", z.astype(int), pos / BOHR)
            calculator.set("verbosity", 0)
        calculator.update(pos / BOHR)
        try:
            last = calculator.singlepoint(last)
        except RuntimeError as error:
            last = None
            raise NotConverged(str(error)) from error
        energy, gradient = last.get("energy").item(), last.get("gradient")
        if not np.isfinite(energy) or not np.isfinite(gradient).all():
            last = None
            raise NotConverged("energy or forces are not finite")
        return energy * HARTREE, gradient * (-HARTREE / BOHR)

    return energy_and_forces


def dft(z: np.ndarray, fast: bool = False) -> ForceFunction:
    """Return energies and forces of B3LYP/6-31G(2df,p), computed by PySCF, for a molecule z (N,).

    Each call starts from the density of the last one. It raises NotConverged. QM9 used six
    Cartesian d functions per shell, PySCF uses five: forces differ by 0.02 to 0.08 eV/Å. `fast`
    selects density fitting and a coarser grid: several times faster, forces within 0.002 eV/Å.
    """
    from pyscf import dft as functionals
    from pyscf import gto

    last = None

    def energy_and_forces(pos: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal last
        atoms = list(zip(z.tolist(), pos.tolist(), strict=True))
        molecule = gto.M(atom=atoms, basis="6-31g(2df,p)", verbose=0)
        field = functionals.RKS(molecule, xc="b3lypg")
        if fast:
            field = field.density_fit()
            field.grids.level, field.conv_tol = 2, 1e-7
        energy = field.kernel(dm0=last)
        if not field.converged:
            last = None
            raise NotConverged("SCF not converged")
        last = field.make_rdm1()
        return energy * HARTREE, field.nuc_grad_method().kernel() * (-HARTREE / BOHR)

    return energy_and_forces


METHODS: dict[str, Method] = {"xtb": gfn2, "dft": dft}


def method(name: str) -> Method:
    """Return the method `xtb` or `dft`. Raises InputError if its package is not installed."""
    package = {"xtb": "tblite", "dft": "pyscf"}[name]
    try:
        __import__(package)
    except ImportError:
        raise InputError(f"labels.method: {name} needs {package}; pip install {package}") from None
    return METHODS[name]
