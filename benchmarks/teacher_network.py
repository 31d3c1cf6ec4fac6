"""Held-out errors of the teacher against the number of frames and minima that train its network.

    python benchmarks/teacher_network.py            # about half an hour on two cores
    python benchmarks/teacher_network.py --epochs 1 --molecules 25 --draft   # records nothing

The rules `convert_molecules` and `split_molecules` must have run. Each case trains a network on
the frames of the first molecules of resources/dft_frames.xyz, on minima of QM9 and on geometries
near some of them, the last case on frames alone, and adds it to the tight binding of
resources/teacher/tight_binding.toml. Errors are of plain forces, without anchor and correction, on
resources/forces.xyz, whose molecules train no network. Values are recorded in
benchmarks/results/teacher.csv, table `network`.
"""

import argparse
import logging
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import read
from records import record

from nnpipe.data.molecules import read_molecules
from nnpipe.data.splits import evenly, read_split
from nnpipe.labelling.delta import delta_forces, load_delta
from nnpipe.labelling.delta_training import MINIMA, NEAR_MINIMA, SETTINGS, differences, train_delta
from nnpipe.labelling.scf import Method
from nnpipe.labelling.tight_binding import refitted
from nnpipe.runtime.device import use_threads
from nnpipe.runtime.job import available_cores
from nnpipe.structures.vibrations import ForceFunction
from nnpipe.training.settings import Stage

ROOT = Path(__file__).parents[1]
DATA, RESOURCES = ROOT / "results/data", ROOT / "resources"
NUMBERS = (40, 80)  # of molecules of the frames, before all of them


def remembered(method: Method) -> Method:
    """Return `method`, which computes every geometry once."""

    @cache
    def computed(z: bytes, pos: bytes) -> tuple[float, np.ndarray]:
        return method(np.frombuffer(z, int))(np.frombuffer(pos).reshape(-1, 3))

    def of_molecule(z: np.ndarray) -> ForceFunction:
        return lambda pos: computed(z.astype(int).tobytes(), pos.tobytes())

    return of_molecule


def rows_of(frames: Sequence[Atoms], change: np.ndarray) -> list[dict[str, object]]:
    """Return the records of errors on each reference of resources/forces.xyz.

    frames: with forces (N, 3) eV/Å of DFT less the ones of tight binding; change: forces (A, 3) of
    the network, of one frame after the other.
    """
    errors: dict[str, list[np.ndarray]] = {}
    ends = np.cumsum([len(frame) for frame in frames])[:-1]
    for frame, forces in zip(frames, np.split(change, ends), strict=True):
        errors.setdefault(frame.info["reference"], []).append(frame.get_forces() - forces)
    return [
        {
            "quantity": f"plain forces, {reference}, MAE",
            "value": f"{1000 * np.abs(np.concatenate(found)).mean():.1f}",
            "unit": "meV/Å",
            "n": f"{len(found)} frames",
        }
        for reference, found in errors.items()
    ]


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, help="of a training; default: as in the workflow")
    parser.add_argument("--molecules", type=int, nargs="+", help="numbers of molecules of frames")
    parser.add_argument("--minima", type=int, default=MINIMA, help="of QM9")
    parser.add_argument("--draft", action="store_true", help="record nothing")
    options = parser.parse_args()
    logging.getLogger().setLevel(logging.WARNING)
    use_threads(available_cores())
    settings = SETTINGS
    if options.epochs:
        settings = replace(settings, stages=(Stage(epochs=options.epochs),))

    molecules, _ = read_molecules(DATA / "qm9.safetensors")
    tests, frames = (read(RESOURCES / f"{name}.xyz", ":") for name in ("forces", "dft_frames"))
    owners = list(dict.fromkeys(frame.info["smiles"] for frame in frames))
    rows = read_split(DATA / "split.csv", molecules.index)["train"]
    tested = [frame.info["qm9"] for frame in tests if "qm9" in frame.info]
    rows = rows[~np.isin(molecules.index[rows], tested)][: options.minima]
    method = remembered(refitted(RESOURCES / "teacher/tight_binding.toml"))
    known = list(differences(tests, method))
    z, pos, sizes = (
        np.concatenate([frame.numbers for frame in known]),
        np.concatenate([frame.positions for frame in known]),
        np.array([len(frame) for frame in known]),
    )

    def save(case: str, change: np.ndarray) -> None:
        found = rows_of(known, change)
        about = {"data": f"{settings.epochs} epochs", "split": 0, "seed": settings.seed}
        if not options.draft:
            record("teacher", "network", found, model="teacher", case=case, **about)
        print(case, *(f"{row['quantity']} {row['value']} {row['unit']}" for row in found), sep="; ")

    save("tight binding alone", np.zeros_like(pos))
    numbers = options.molecules or [*(n for n in NUMBERS if n < len(owners)), len(owners)]
    for number, some in [*((n, rows) for n in numbers), (numbers[-1], rows[:0])]:
        chosen = [frame for frame in frames if frame.info["smiles"] in set(owners[:number])]
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            near = evenly(some, NEAR_MINIMA)
            train_delta(chosen, molecules, some, near, method, folder, folder / "work", settings)
            delta = load_delta(folder / "model.safetensors")
        case = f"{len(chosen)} frames of {number} molecules, {len(some)} minima"
        save(case, delta_forces(delta, z, pos, sizes)[1])


if __name__ == "__main__":
    main()
