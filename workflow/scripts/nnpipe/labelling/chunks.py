"""Energies and forces of distorted geometries, as QM9 has minima only.

A chunk holds the results of the labelling method for a part of the molecules. labelling/table.py
adds the anchor and the correction.
"""

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..data import store
from ..data.molecules import Molecules
from ..data.qm9 import SADDLE_POINTS
from ..runtime.progress import progress_bar
from ..structures.smiles import matches
from .distortions import DistortionSampler
from .scf import Method, NotConverged, label
from .settings import Settings

log = logging.getLogger(__name__)
TINY_HEAVY_ATOMS = 2  # largest number of heavy atoms of a tiny molecule


def write_chunk(
    molecules: Molecules,
    rows: Sequence[int] | np.ndarray,
    method: Method,
    settings: Settings,
    path: str | Path,
    provenance: dict[str, Any],
) -> int:
    """Write labels of distorted geometries of the molecules in `rows`; return their number.

    The minimum of a molecule comes first. Energies (eV) are relative to it; forces are in eV/Å.
    Saddle points are left out. Geometries that do not converge are logged and left out, and so is
    the molecule if its minimum does not converge. The geometries of a molecule depend on the seed
    and its index only, not on the chunk.
    """
    header = {"kind": "chunk", "units": {"energy": "eV", "forces": "eV/Å"}}
    n_labels, n_atoms = 0, 0
    smiles = [molecules.smiles[row] for row in rows]
    patterns = [matches(smiles, smarts) for smarts in settings.smarts]
    with store.writer(path, header | {"provenance": provenance}) as append:
        append(
            index=np.zeros(0, np.int32), ptr=np.zeros(1, np.int64), pos=np.zeros((0, 3)),
            energy=np.zeros(0), forces=np.zeros((0, 3)),
        )  # fmt: skip
        for place, row in enumerate(progress_bar(rows, unit="molecules")):
            index, z, pos = molecules.geometry(row)
            if index in SADDLE_POINTS:
                continue
            function, rng = method(z), np.random.default_rng([settings.seed, index])
            sampler = DistortionSampler(z, pos, settings)
            factors = settings.small_ring_factors
            factor = factors[min(sampler.max_ring_count, len(factors) - 1)]
            if any(found[place] for found in patterns):
                factor = max(factor, settings.smarts_factor)
            if np.count_nonzero(z > 1) <= TINY_HEAVY_ATOMS:
                factor = settings.tiny_molecule_factor
            name = f"molecule {index}"
            try:
                lowest, forces = function(pos)
            except NotConverged as error:
                log.warning("%s: molecule left out: %s", name, str(error).splitlines()[0])
                continue
            drawn = sampler.draws(rng, math.ceil(settings.geometries * factor), name)
            labelled = [(pos, lowest, forces), *label(function, drawn, name, first=1)]
            for geometry, energy, forces in labelled:
                n_atoms += len(z)
                append(
                    index=np.array([index], np.int32), ptr=np.array([n_atoms]), pos=geometry,
                    energy=np.array([energy - lowest]), forces=forces,
                )  # fmt: skip
            n_labels += len(labelled)
    return n_labels
