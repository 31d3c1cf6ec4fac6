"""Files that several engines need in their folder."""

import shutil
from pathlib import Path

from ..models.checkpoint import FILES
from ..simulation.calculator import NeuralCalculator

TEMPLATES = Path(__file__).parent / "templates"


def copy_template(name: str, path: Path) -> Path:
    """Copy the template `name` of this room to `path`; return the path."""
    return Path(shutil.copyfile(TEMPLATES / name, path))


def copy_model_files(calculator: NeuralCalculator, folder: Path) -> list[Path]:
    """Copy the files of the calculator's model into the new folder `folder`; return their paths."""
    source = Path(calculator.parameters["model"])
    folder.mkdir()
    present = [name for name in FILES if (source / name).is_file()]
    return [Path(shutil.copyfile(source / name, folder / name)) for name in present]
