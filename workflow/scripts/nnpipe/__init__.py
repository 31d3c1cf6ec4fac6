"""nnpipe: neural network potentials from QM9 to molecular dynamics."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .simulation.calculator import NeuralCalculator

__version__ = "0.1.0"


def load_calculator(
    path: str, dtype: str = "float32", device: str = "auto", compiled: bool = False
) -> "NeuralCalculator":
    """The ASE calculator of a trained model; see nnpipe.simulation.calculator.load_calculator."""
    from .simulation.calculator import load_calculator

    return load_calculator(path, dtype, device, compiled)
