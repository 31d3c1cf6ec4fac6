"""Quantum chemistry for labels: GFN2-xTB and B3LYP/6-31G(2df,p), the method of QM9."""

from collections.abc import Callable
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from scipy.linalg import block_diag

from ..errors import InputError
from ..structures.vibrations import ForceFunction
from ..units import BOHR, HARTREE

Method = Callable[[np.ndarray], ForceFunction]  # atomic numbers (N,) -> function of one molecule

GAUSSIAN_D_EXPONENTS = (1.6, 0.4)  # of C, N, O and F


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

    Each call starts from the density of the last one. It raises NotConverged. The basis is the one
    of Gaussian, which computed QM9: energies agree with QM9 within 0.0001 eV. `fast` selects
    density fitting and a coarser grid: several times faster, forces within 0.002 eV/Å.
    """
    from pyscf import dft as kohn_sham
    from pyscf import gto

    basis = {symbol: _gaussian_basis(symbol) for symbol in {chemical_symbols[n] for n in z}}
    last = None

    def energy_and_forces(pos: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal last
        atoms = list(zip(z.tolist(), pos.tolist(), strict=True))
        molecule = gto.M(atom=atoms, basis=basis, cart=True, verbose=0)
        field = kohn_sham.RKS(molecule, xc="b3lypg")
        functions = _orthonormal_functions(molecule)

        def orbitals(fock: np.ndarray, *_: Any, **__: Any) -> tuple[np.ndarray, np.ndarray]:
            energies, vectors = np.linalg.eigh(functions.T @ fock @ functions)
            return energies, functions @ vectors

        # PySCF's DIIS takes the functions from the first one, or before 2.12 from the second one
        field.check_linear_dependency, field.eig = lambda *_: functions, orbitals
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


def _gaussian_basis(symbol: str) -> list[Any]:
    """Return 6-31G(2df,p) as in Gaussian: other exponents of the d functions than in PySCF."""
    from pyscf.gto.basis import load

    exponents = iter(GAUSSIAN_D_EXPONENTS)
    shells = load("6-31g(2df,p)", symbol)
    return [[2, [next(exponents), 1.0]] if shell[0] == 2 else shell for shell in shells]


def _orthonormal_functions(molecule: Any) -> np.ndarray:
    """Return orthonormal functions (Cartesian functions, B): six d, but seven f per shell.

    PySCF has either Cartesian or pure functions; these are combinations of Cartesian functions.
    """
    from pyscf.gto.mole import cart2sph

    blocks = []
    for shell in range(molecule.nbas):
        degree = molecule.bas_angular(shell)
        pure = cart2sph(degree) if degree == 3 else np.eye((degree + 1) * (degree + 2) // 2)
        blocks += [pure] * molecule.bas_nctr(shell)
    mixed = block_diag(*blocks)
    overlap = mixed.T @ molecule.intor("int1e_ovlp") @ mixed
    values, vectors = np.linalg.eigh(overlap)
    return mixed @ (vectors / np.sqrt(values))


METHODS: dict[str, Method] = {"xtb": gfn2, "dft": dft}


def method(name: str) -> Method:
    """Return the method `xtb` or `dft`. Raises InputError if its package is not installed."""
    package = {"xtb": "tblite", "dft": "pyscf"}[name]
    try:
        __import__(package)
    except ImportError:
        raise InputError(f"labels.method: {name} needs {package}; pip install {package}") from None
    return METHODS[name]
