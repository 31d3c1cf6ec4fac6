"""A potential as a compiled package of AOTInductor, for Python and C++, without nnpipe."""

from pathlib import Path

import torch

from ..simulation.calculator import load_calculator
from .folder import copy_template
from .torch_program import describe, exported_program

# by default, the sines are computed again for each harmonic
OPTIONS = {"realize_opcount_threshold": 15}


def export(model: str | Path, folder: Path) -> list[Path]:
    """Write model.pt2, model.json and examples in Python and C++; return the paths.

    The package serves systems of any size on processors like this one. Compilation takes minutes
    and needs a C++ compiler. Raises InputError if the model is missing or damaged.
    """
    calculator = load_calculator(model, device="cpu")
    program, written = exported_program(calculator), [folder / "model.pt2"]
    torch._inductor.aoti_compile_and_package(
        program, package_path=str(written[0]), inductor_configs=OPTIONS
    )
    describe(calculator, folder / "model.json", compiled=True)
    written.append(folder / "model.json")
    templates = {"example.py": "torch_example.py", "example.cpp": "aoti_example.cpp"}
    return [*written, *(copy_template(name, folder / file) for file, name in templates.items())]
