"""Labels of molecules that QM9 lacks, from their SMILES.

The energies of the teacher, tight binding plus network, are on the scale of QM9. Its labels
therefore need no minimum of QM9 and no anchor. This module computes the part of tight binding;
labelling/table.py adds the network.
"""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from scipy.optimize import minimize

from ..data import store
from ..errors import InputError
from ..runtime.progress import progress_bar
from ..structures.bonds import bond_matrix, spring_hessian
from ..structures.smiles import canonical_smiles, from_smiles
from ..structures.vibrations import ForceFunction
from .distortions import DistortionSampler
from .scf import Method, NotConverged, label
from .settings import Settings

log = logging.getLogger(__name__)
GEOMETRIES = 8  # distorted ones of a molecule
MAX_FORCE = 0.1  # eV/Å, of the geometry that is distorted: a minimum that is near enough
FIRST_FRAGMENT = 2000  # fragments have the numbers from -2000 down, see FIRST_OTHER in table.py


def write_fragments(
    smiles: Sequence[str],
    held_out: Iterable[str],
    method: Method,
    settings: Settings,
    path: str | Path,
    provenance: dict[str, Any],
) -> int:
    """Write labels of distorted geometries of the molecules `smiles`; return their number.

    Energies (eV) are total energies of `method`; forces are in eV/Å. The geometries of a molecule
    depend on the seed and its SMILES only. The molecules `held_out`, also as other stereoisomers,
    and what does not converge are logged and left out.
    """
    tested = {canonical_smiles(one, stereo=False) for one in held_out}
    header = {"kind": "fragments", "units": {"energy": "eV", "forces": "eV/Å"}, "smiles": smiles}
    n_labels, n_atoms = 0, 0
    with store.writer(path, header | {"provenance": provenance}) as append:
        append(
            index=np.zeros(0, np.int32), ptr=np.zeros(1, np.int64), z=np.zeros(0, np.uint8),
            pos=np.zeros((0, 3)), energy=np.zeros(0), forces=np.zeros((0, 3)),
        )  # fmt: skip
        for place, name in enumerate(progress_bar(smiles, unit="fragments")):
            if canonical_smiles(name, stereo=False) in tested:
                log.warning("fragment %s left out: a validation or test molecule", name)
                continue
            try:
                atoms = from_smiles(name, settings.seed)
                z, function = atoms.numbers, method(atoms.numbers)
                pos = _relaxed(z, atoms.positions, function)
            except (InputError, NotConverged) as error:
                log.warning("fragment %s left out: %s", name, str(error).splitlines()[0])
                continue
            rng = np.random.default_rng([settings.seed, crc32(name.encode())])
            about = f"fragment {name}"
            drawn = DistortionSampler(z, pos, settings).draws(rng, GEOMETRIES, about)
            for geometry, energy, forces in label(function, drawn, about):
                n_labels, n_atoms = n_labels + 1, n_atoms + len(z)
                append(
                    index=np.array([-FIRST_FRAGMENT - place], np.int32), ptr=np.array([n_atoms]),
                    z=z.astype(np.uint8), pos=geometry, energy=np.array([energy]), forces=forces,
                )  # fmt: skip
    return n_labels


def _relaxed(z: np.ndarray, pos: np.ndarray, function: ForceFunction) -> np.ndarray:
    """Return positions (N, 3) Å near the minimum, by BFGS steps from the Hessian of springs.

    Raises NotConverged.
    """

    def energy_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
        energy, forces = function(flat.reshape(-1, 3))
        return energy, -forces.ravel()

    hessian = spring_hessian(pos, bond_matrix(z, pos))
    inverse = np.linalg.inv(hessian + np.eye(len(hessian)))  # 1 eV/Å^2 keeps it regular
    options = {"hess_inv0": (inverse + inverse.T) / 2, "gtol": MAX_FORCE}
    found = minimize(energy_and_gradient, pos.ravel(), jac=True, method="BFGS", options=options)
    if not found.success:
        raise NotConverged(f"no minimum: {found.message}")
    return found.x.reshape(-1, 3)
