"""Energies and forces off the minimum, for molecules of which QM9 holds the minimum only.

Chunks hold what the labelling method says; nnpipe.labelling.table puts them on the surface of the
data set.
"""

import logging
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..data import store
from ..data.molecules import Molecules
from ..data.qm9 import SADDLE_POINTS
from ..runtime.progress import progress_bar
from ..structures.vibrations import ForceFunction
from .distortions import DistortionSampler
from .methods import Method, NotConverged
from .settings import Settings

log = logging.getLogger(__name__)
TINY_HEAVY_ATOMS = 2  # of a tiny molecule, at most


def write_chunk(
    molecules: Molecules,
    rows: Sequence[int] | np.ndarray,
    method: Method,
    settings: Settings,
    path: str | Path,
    provenance: dict[str, Any],
) -> int:
    """Label distorted geometries of each of `rows` and return how many labels there are.

    The minimum comes first, then the distorted geometries of its molecule; energies are relative
    to the minimum. A geometry that does not converge is logged and left out, with its molecule if
    it is the minimum.
    """
    header = {"kind": "chunk", "units": {"energy": "eV", "forces": "eV/Å"}}
    done, total = 0, 0
    with store.writer(path, header | {"provenance": provenance}) as append:
        append(
            index=np.zeros(0, np.int32), ptr=np.zeros(1, np.int64), pos=np.zeros((0, 3)),
            energy=np.zeros(0), forces=np.zeros((0, 3)),
        )  # fmt: skip
        for row in progress_bar(rows, unit="molecules"):
            index, z, pos = molecules.geometry(row)
            if index in SADDLE_POINTS:
                continue
            function, rng = method(z), np.random.default_rng([settings.seed, index])
            sampler = DistortionSampler(z, pos, settings)
            geometries = [pos]
            factors = settings.small_ring_factors
            factor = factors[min(sampler.rings, len(factors) - 1)]
            if np.count_nonzero(z > 1) <= TINY_HEAVY_ATOMS:
                factor = settings.tiny_molecule_factor
            for _ in range(math.ceil(settings.geometries * factor)):
                drawn = sampler.draw(rng)
                if drawn is None:
                    log.warning("molecule %d: no geometry without a clash; left out", index)
                else:
                    geometries.append(drawn)
            labelled = list(_label(index, function, geometries))
            for geometry, energy, forces in labelled:
                total += len(z)
                append(
                    index=np.array([index], np.int32), ptr=np.array([total]), pos=geometry,
                    energy=np.array([energy - labelled[0][1]]), forces=forces,
                )  # fmt: skip
            done += len(labelled)
    return done


def _label(
    index: int, function: ForceFunction, geometries: list[np.ndarray]
) -> Iterable[tuple[np.ndarray, float, np.ndarray]]:
    for number, geometry in enumerate(geometries):
        try:
            yield geometry, *function(geometry)
        except NotConverged as error:
            what = "molecule" if number == 0 else f"geometry {number}"
            log.warning("molecule %d: %s left out: %s", index, what, str(error).splitlines()[0])
            if number == 0:
                return
