"""nnpipe: neural network potentials from QM9 to molecular dynamics."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .simulation.calculator import load_calculator as load_calculator
    from .simulation.md import simulate as simulate

__version__ = "0.2.0"
MODULES = {"load_calculator": "calculator", "simulate": "md"}


def __getattr__(name: str) -> Any:
    """Import a function of `nnpipe.simulation` at its first use, as torch takes seconds."""
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".simulation.{MODULES[name]}", __name__), name)
