"""What all methods for labels share: their type, the error of a field that fails, and labelling."""

import logging
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from ..structures.vibrations import ForceFunction

log = logging.getLogger(__name__)
Method = Callable[[np.ndarray], ForceFunction]  # atomic numbers (N,) -> function of one molecule


class NotConverged(Exception):
    """The self-consistent field did not converge, or its result is not finite."""


def label(
    function: ForceFunction, geometries: Iterable[np.ndarray], name: str, first: int = 0
) -> Iterator[tuple[np.ndarray, float, np.ndarray]]:
    """Yield the geometries (N, 3) Å with energies (eV) and forces (N, 3) eV/Å.

    Geometries that do not converge are left out and logged under `name`; numbers start at `first`.
    """
    for number, geometry in enumerate(geometries, first):
        try:
            yield geometry, *function(geometry)
        except NotConverged as error:
            what = str(error).splitlines()[0]
            log.warning("%s: geometry %d left out: %s", name, number, what)
