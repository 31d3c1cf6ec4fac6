"""Choice of the method for labels: the teacher, GFN2-xTB or B3LYP/6-31G(2df,p)."""

from pathlib import Path

from ..errors import InputError
from .scf import Method
from .tight_binding import gfn2, refitted

PACKAGES = {"teacher": "tblite", "gfn2": "tblite", "dft": "pyscf"}


def method(name: str, parameters: str | Path | None = None) -> Method:
    """Return the method `teacher`, `gfn2` or `dft`.

    The teacher is tight binding with the parameters in the file `parameters`, without its network
    (delta.py). Raises InputError if a package is not installed, or as
    `tight_binding.read_parameters`.
    """
    package = PACKAGES[name]
    try:
        __import__(package)
    except ImportError:
        raise InputError(f"labels.method: {name} needs {package}; pip install {package}") from None
    if name == "dft":
        from .kohn_sham import dft  # PySCF serves nothing else

        return dft
    return refitted(parameters) if parameters else gfn2
