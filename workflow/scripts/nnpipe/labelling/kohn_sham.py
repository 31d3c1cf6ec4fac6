"""B3LYP/6-31G(2df,p), the method of QM9, by PySCF, with the functional integrated by NumPy.

PySCF evaluates basis functions again in each cycle and has slow matrix products. Here their values
on the grid are stored; gradients contract the density matrix first. With density fitting this is
two to three times as fast.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from pyscf import dft as pyscf_dft
from pyscf import gto, lib
from pyscf.dft.numint import NumInt
from pyscf.gto.basis import load
from pyscf.gto.mole import cart2sph
from scipy.linalg import block_diag

from ..structures.vibrations import ForceFunction
from ..units import BOHR, HARTREE
from .scf import NotConverged

GAUSSIAN_D_EXPONENTS = (1.6, 0.4)  # of C, N, O and F
EXCHANGE = 0.2  # fraction of exact exchange in B3LYP
# grid and convergence (Hartree) of the fields before the last one: most cycles run on a small grid
COARSE_GRID, COARSE_TOLERANCE = 0, 1e-4
GRID_POINTS = 56 * 64  # per block; PySCF requires a multiple of 56
STORED_VALUES = 3e8  # largest number of values of basis functions that are kept: 2.4 GB
# number of each second derivative of a basis function in PySCF's order: values, x, y, z, xx, ...
SECOND = ((4, 5, 6), (5, 7, 8), (6, 8, 9))


class Functional(NumInt):
    """Exchange-correlation energy, matrix and gradient of a GGA on the grid of `grids`."""

    weights: np.ndarray | None = None
    blocks: list[tuple[slice, np.ndarray]]
    potential: np.ndarray  # (4, points): derivatives with respect to density and its gradient

    def values(self, molecule: Any, grids: Any, degree: int) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield blocks of points with values (derivatives up to `degree`, functions, points)."""
        for start in range(0, len(grids.weights), GRID_POINTS):
            block = slice(start, start + GRID_POINTS)
            values = molecule.eval_gto(f"GTOval_cart_deriv{degree}", grids.coords[block])
            yield block, np.ascontiguousarray(values.transpose(0, 2, 1))

    def first_derivatives(self, molecule: Any, grids: Any) -> Any:
        """Return an iterable of `values` of degree 1, stored if they are not too many."""
        if 4 * molecule.nao * len(grids.weights) > STORED_VALUES:
            return self.values(molecule, grids, 1)
        if self.weights is not grids.weights:
            self.blocks = []  # frees the values on the last grid first
            self.blocks, self.weights = list(self.values(molecule, grids, 1)), grids.weights
        return self.blocks

    def nr_rks(
        self, mol: Any, grids: Any, xc_code: str, dms: np.ndarray, *_: Any, **__: Any
    ) -> tuple[float, float, np.ndarray]:
        """Return the number of electrons, the energy and the matrix (functions, functions).

        PySCF calls this method; dms (functions, functions) is the density matrix.
        """
        if grids.coords is None:
            grids.build()
        dms = np.asarray(dms)
        parts = [
            np.einsum("xig,ig->xg", values, dms @ values[0])
            for _, values in self.first_derivatives(mol, grids)
        ]
        density = np.concatenate(parts, 1)
        density[1:] *= 2
        energy, potential = self.eval_xc_eff(xc_code, density, 1, xctype="GGA")[:2]
        electrons, self.potential = density[0] * grids.weights, grids.weights * potential
        half = self.potential.copy()
        half[0] *= 0.5
        matrix = np.zeros_like(dms)
        for block, values in self.first_derivatives(mol, grids):
            matrix += values[0] @ np.einsum("xig,xg->ig", values, half[:, block]).T
        return electrons.sum(), electrons @ energy, matrix + matrix.T

    def gradient(self, molecule: Any, grids: Any, density_matrix: np.ndarray) -> np.ndarray:
        """Return the gradient (N, 3) Hartree/Bohr, after `nr_rks` with nearly the same density."""
        gradient = np.zeros((molecule.nao, 3))
        for block, values in self.values(molecule, grids, 2):
            potential = self.potential[:, block]
            plain = density_matrix @ values[0]
            weighted = density_matrix @ np.einsum("xig,xg->ig", values[:4], potential)
            for axis, second in enumerate(SECOND):
                gradient[:, axis] += np.einsum("ig,ig->i", values[1 + axis], weighted)
                slope = sum(values[n] * w for n, w in zip(second, potential[1:], strict=True))
                gradient[:, axis] += np.einsum("ig,ig->i", slope, plain)
        return -2 * np.array(
            [gradient[first:end].sum(0) for *_, first, end in molecule.aoslice_by_atom()]
        )


def dft(z: np.ndarray, fast: bool = False) -> ForceFunction:
    """Return energies and forces of B3LYP/6-31G(2df,p) for a neutral molecule z (N,).

    Each call starts from the density of the last one. It raises NotConverged. The basis is the one
    of Gaussian, which computed QM9: energies agree with QM9 within 0.0001 eV. `fast` selects
    density fitting and a coarser grid: several times faster, energies within 0.001 eV and forces
    within 0.002 eV/Å.
    """
    basis = {symbol: _gaussian_basis(symbol) for symbol in {chemical_symbols[n] for n in z}}
    last: Any = None

    def energy_and_forces(pos: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal last
        atoms = list(zip(z.tolist(), pos.tolist(), strict=True))
        molecule = gto.M(atom=atoms, basis=basis, cart=True, verbose=0)
        field = pyscf_dft.RKS(molecule, xc="b3lypg")
        functions = _orthonormal_functions(molecule)

        def orbitals(fock: np.ndarray, *_: Any, **__: Any) -> tuple[np.ndarray, np.ndarray]:
            energies, vectors = np.linalg.eigh(functions.T @ fock @ functions)
            return energies, functions @ vectors

        # PySCF's DIIS takes the functions from the first one, or before 2.12 from the second one
        field.check_linear_dependency, field.eig = lambda *_: functions, orbitals
        if fast:
            field = field.density_fit(auxbasis="def2-universal-jkfit")
        field._numint = functional = Functional()
        final = (2, 1e-7) if fast else (3, 1e-9)
        for level, tolerance in ((COARSE_GRID, COARSE_TOLERANCE), final):
            field.grids = pyscf_dft.gen_grid.Grids(molecule)
            field.grids.level, field.conv_tol = level, tolerance
            energy = field.kernel(dm0=last)
            if not field.converged:
                last = None
                raise NotConverged("SCF not converged")
            last = field.make_rdm1()
        gradients = field.nuc_grad_method()
        gradients.get_veff = lambda _, density: _coulomb_and_exchange(gradients, density)
        gradient = gradients.kernel() + functional.gradient(molecule, field.grids, last)
        functional.blocks, functional.weights = [], None  # PySCF's objects outlive this function
        return energy * HARTREE, gradient * (-HARTREE / BOHR)

    return energy_and_forces


def _coulomb_and_exchange(gradients: Any, density: np.ndarray) -> np.ndarray:
    """Return what PySCF's gradients expect of `get_veff`, without the functional."""
    coulomb, exchange = gradients.get_jk(gradients.mol, density)
    half = EXCHANGE / 2
    matrix, fitted = coulomb - half * exchange, 0.0
    if hasattr(coulomb, "aux"):  # density fitting
        fitted = coulomb.aux.sum((0, 1)) - half * exchange.aux.sum((0, 1))
    return lib.tag_array(matrix, exc1_grid=None, aux=fitted)


def _gaussian_basis(symbol: str) -> list[Any]:
    """Return 6-31G(2df,p) as in Gaussian: other exponents of the d functions than in PySCF."""
    exponents = iter(GAUSSIAN_D_EXPONENTS)
    shells = load("6-31g(2df,p)", symbol)
    return [[2, [next(exponents), 1.0]] if shell[0] == 2 else shell for shell in shells]


def _orthonormal_functions(molecule: Any) -> np.ndarray:
    """Return orthonormal functions (Cartesian functions, B): six d, but seven f per shell.

    PySCF has either Cartesian or pure functions; these are combinations of Cartesian functions.
    """
    blocks = []
    for shell in range(molecule.nbas):
        degree = molecule.bas_angular(shell)
        pure = cart2sph(degree) if degree == 3 else np.eye((degree + 1) * (degree + 2) // 2)
        blocks += [pure] * molecule.bas_nctr(shell)
    mixed = block_diag(*blocks)
    overlap = mixed.T @ molecule.intor("int1e_ovlp") @ mixed
    values, vectors = np.linalg.eigh(overlap)
    return mixed @ (vectors / np.sqrt(values))
