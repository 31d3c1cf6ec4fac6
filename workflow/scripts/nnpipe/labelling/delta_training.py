"""Training of the network of the teacher (delta.py).

It learns the energies and forces of DFT less the ones of tight binding: of DFT frames, of minima of
QM9, whose energies are known and whose forces are 0, and of geometries near some of the minima,
whose forces follow from the frequencies of QM9 (near_minima.py).
"""

import logging
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from ..data.frames import write_tables
from ..data.molecules import Molecules
from ..data.qm9 import SADDLE_POINTS
from ..models.potential import SURFACE
from ..runtime.files import write_csv
from ..runtime.progress import progress_bar
from ..training.run import train_from_files
from ..training.settings import Settings, Stage
from .near_minima import near_minima
from .scf import Method, NotConverged

log = logging.getLogger(__name__)
ARCHITECTURE = "gnn"
HYPERPARAMETERS = {
    "cutoff": 5.0, "features": 64, "channels": 12, "vectors": 6, "radial": 8, "mixed": 64,
    "layers": 2,
}  # fmt: skip
SETTINGS = Settings(
    stages=(Stage(epochs=24),), batch_atoms=300, learning_rate=2e-3, warmup_steps=100,
    ema_decay=0.99, keep="last",
)  # fmt: skip
MINIMA = 2000  # of QM9; the ones of the frames come first
NEAR_MINIMA = 400  # minima of QM9 with geometries near them
FRAME_PASSES = 3  # passes over a frame in an epoch; over other geometries: one
VALIDATION_STRIDE = 20  # frames of every 20th molecule measure the error


def differences(frames: Sequence[Atoms], method: Method) -> Iterator[Atoms]:
    """Yield the frames with their energies (eV) and forces (eV/Å) less the ones of `method`.

    Frames that do not converge are left out.
    """
    for frame in progress_bar(frames, unit="frames"):
        try:
            energy, forces = method(frame.numbers)(frame.positions)
        except NotConverged as error:
            log.warning("%s: left out: %s", frame.info.get("qm9", frame.symbols), error)
            continue
        found = Atoms(frame.numbers, frame.positions, info=frame.info)
        known = frame.get_potential_energy(), frame.get_forces()
        found.calc = SinglePointCalculator(
            found, energy=known[0] - energy, forces=known[1] - forces
        )
        yield found


def minima(molecules: Molecules, rows: Sequence[int] | np.ndarray) -> Iterator[Atoms]:
    """Yield the minima of QM9 in `rows` with energies (eV) and forces (eV/Å), without saddles."""
    for row in rows:
        index, z, pos = molecules.geometry(row)
        if index not in SADDLE_POINTS:
            atoms = Atoms(z, pos, info={"qm9": index})
            energy = float(molecules.targets[SURFACE][row])
            atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=np.zeros_like(pos))
            yield atoms


def train_delta(
    frames: Sequence[Atoms],
    molecules: Molecules,
    rows: Sequence[int] | np.ndarray,
    near: Sequence[int] | np.ndarray,
    method: Method,
    folder: str | Path,
    work: str | Path,
    settings: Settings = SETTINGS,
) -> None:
    """Train the network on `frames` with energies (eV) and forces (eV/Å) of DFT, on the minima in
    `rows` and on geometries near the minima in the rows `near`; write it to `folder`.

    The frames of a molecule, by `smiles` in `info`, train together or validate together. The folder
    `work` holds tables and the checkpoint of a training that was stopped.
    """
    known = list(differences(frames, method))
    still = list(differences(list(minima(molecules, rows)), method))
    others = [*still, *near_minima(molecules, near, method)]
    owners = list(dict.fromkeys(frame.info["smiles"] for frame in known))
    held_out = set(owners[VALIDATION_STRIDE - 1 :: VALIDATION_STRIDE] or owners[-1:])
    validation = [frame for frame in known if frame.info["smiles"] in held_out]
    training = [frame for frame in known if frame.info["smiles"] not in held_out]
    together = [*validation, *training * FRAME_PASSES, *others]
    # a split has test molecules, too; nothing reads this one
    parts = ["test"] + ["validation"] * (len(validation) - 1)
    parts += ["train"] * (len(together) - len(validation))
    work = Path(work)
    work.mkdir(parents=True, exist_ok=True)
    tables = write_tables(together, HYPERPARAMETERS["cutoff"], work)
    split = work / "split.csv"
    write_csv(pd.DataFrame({"index": range(1, len(together) + 1), "split": parts}), split)
    train_from_files(
        folder, ARCHITECTURE, HYPERPARAMETERS, SURFACE, settings, *tables, split,
        work / "checkpoint.safetensors",
    )  # fmt: skip
    shutil.rmtree(work)
