"""Quantum chemistry for labels: GFN2-xTB and B3LYP/6-31G(2df,p), the method of QM9."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import InputError
from ..structures.vibrations import ForceFunction
from ..units import BOHR, HARTREE

Method = Callable[[np.ndarray], ForceFunction]  # atomic numbers (N,) -> function of one molecule


class NotConverged(Exception):
    """The self-consistent field did not converge, or its result is not finite."""


def tight_binding(parameters: str | dict[str, Any]) -> Method:
    """Return the tight-binding method of tblite with these parameters: a name or tblite's tables.

    A function that the method returns starts each call from the self-consistent field of the last
    one. It raises NotConverged. https://doi.org/10.1021/acs.jctc.8b01176
    """
    from tblite.interface import Calculator

    def method(z: np.ndarray) -> ForceFunction:
        calculator, last = None, None

        def energy_and_forces(pos: np.ndarray) -> tuple[float, np.ndarray]:
            nonlocal calculator, last
            if calculator is None:
                calculator = Calculator(parameters, z.astype(int), pos / BOHR)
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

    return method


def gfn2(z: np.ndarray) -> ForceFunction:
    """Return energies and forces of GFN2-xTB for a neutral molecule z (N,)."""
    return tight_binding("GFN2-xTB")(z)


def dft(z: np.ndarray, fast: bool = False) -> ForceFunction:
    """Return energies and forces of B3LYP/6-31G(2df,p), see `kohn_sham.dft`."""
    from .kohn_sham import dft

    return dft(z, fast)


METHODS: dict[str, Method] = {"xtb": gfn2, "dft": dft}


def method(name: str) -> Method:
    """Return the method `xtb` or `dft`. Raises InputError if its package is not installed."""
    package = {"xtb": "tblite", "dft": "pyscf"}[name]
    try:
        __import__(package)
    except ImportError:
        raise InputError(f"labels.method: {name} needs {package}; pip install {package}") from None
    return METHODS[name]
