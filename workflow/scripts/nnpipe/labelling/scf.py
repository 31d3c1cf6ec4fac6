"""What all methods for labels share: their type, and the error of a field that fails."""

from collections.abc import Callable

import numpy as np

from ..structures.vibrations import ForceFunction

Method = Callable[[np.ndarray], ForceFunction]  # atomic numbers (N,) -> function of one molecule


class NotConverged(Exception):
    """The self-consistent field did not converge, or its result is not finite."""
