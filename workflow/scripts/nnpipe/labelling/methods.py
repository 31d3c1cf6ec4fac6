"""Choice of the method for labels: the teacher, GFN2-xTB or B3LYP/6-31G(2df,p)."""

from pathlib import Path

from ..errors import InputError
from .scf import Method
from .tight_binding import gfn2, teacher

PACKAGES = {"teacher": "tblite", "gfn2": "tblite", "dft": "pyscf"}


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
        from .kohn_sham import dft  # PySCF serves nothing else

        return dft
    return teacher(teacher_file) if teacher_file else gfn2
