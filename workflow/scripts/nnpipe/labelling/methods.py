"""Methods for labels: functions that make the energies and forces of a molecule."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..structures.vibrations import ForceFunction

Method = Callable[[np.ndarray], ForceFunction]  # atomic numbers (N,) -> function of one molecule
PACKAGES = {"teacher": "tblite", "gfn2": "tblite", "dft": "pyscf"}


class NotConverged(Exception):
    """The self-consistent field did not converge, or its result is not finite."""


def method(name: str, teacher_file: str | Path | None = None) -> Method:
    """Return the method `teacher` (with the parameters in `teacher_file`), `gfn2` or `dft`.

    Raises InputError if its package is not installed, or as `tight_binding.read_teacher`.
    """
    package = PACKAGES[name]
    try:
        __import__(package)
    except ImportError:
        raise InputError(f"labels.method: {name} needs {package}; pip install {package}") from None
    if name == "dft":
        from .kohn_sham import dft

        return dft
    from .tight_binding import gfn2, teacher

    return teacher(teacher_file) if teacher_file else gfn2
