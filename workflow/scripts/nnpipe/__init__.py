"""nnpipe: neural network potentials from QM9 to molecular dynamics."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .notebook.fine_tuning import fine_tune as fine_tune
    from .notebook.run import simulate as simulate
    from .notebook.view import view as view
    from .simulation.calculator import load_calculator as load_calculator

__version__ = "0.2.0"
MODULES = {
    "fine_tune": "notebook.fine_tuning",
    "load_calculator": "simulation.calculator",
    "simulate": "notebook.run",
    "view": "notebook.view",
}


def __getattr__(name: str) -> Any:
    """Import a function at its first use, as torch takes seconds."""
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{MODULES[name]}", __name__), name)


def __dir__() -> list[str]:
    """Return all names, so that a notebook completes the functions before their first use."""
    return sorted([*globals(), *MODULES])
