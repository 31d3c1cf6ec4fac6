"""A trajectory that grows on disk, and the checkpoint from which its run goes on."""

import hashlib
import io
import json
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.io.extxyz import write_extxyz
from torch import Tensor

from ..graphs.compile import CompiledFunction
from ..models.checkpoint import load_tensors, save_tensors
from ..runtime.files import atomic
from ..structures.checks import fixed_atoms
from .calculator import NeuralCalculator
from .settings import Settings

log = logging.getLogger(__name__)


class Trajectory:
    """An extended xyz file to which frames are added; `length` (bytes) and `digest` describe what
    was written.
    """

    def __init__(self, file: BinaryIO, length: int = 0) -> None:
        self.file, self.length, self.digest = file, length, hashlib.sha256()

    def add(self, frame: Atoms) -> None:
        """Write a frame at the end."""
        with io.StringIO() as text:
            write_extxyz(text, [frame])
            written = text.getvalue().encode()
        self.file.write(written)
        self.digest.update(written)
        self.length += len(written)

    def sync(self) -> None:
        """Wait until all frames are on the disk."""
        self.file.flush()
        os.fsync(self.file.fileno())


@contextmanager
def new_trajectory(path: str | Path) -> Iterator[Trajectory]:
    """Yield a trajectory that is moved to `path` if the block ends without an error."""
    with atomic(path) as temporary, open(temporary, "wb") as file:
        yield Trajectory(file)


@dataclass(frozen=True)
class Checkpoint:
    """A file with the state of the run of this identity; the trajectory so far lies beside it."""

    path: Path
    identity: str

    @property
    def growing(self) -> Path:
        """The path of the trajectory so far."""
        return self.path.with_suffix(".partial.xyz")

    def load(self, last_step: int) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Return what `save` received, or None where the run must start again: the files are
        missing, belong to another run, or are further than `last_step`.
        """
        if not self.path.is_file():
            return None
        tensors, meta = load_tensors(self.path)
        if meta["identity"] != self.identity:
            reason = "of other settings, another start, model, device or code"
        elif meta["step"] > last_step + 1:
            reason = "of a run longer than length_ps"
        elif not self.growing.is_file() or _digest(self.growing, meta["bytes"]) != meta["sha256"]:
            reason = f"not of the trajectory in {self.growing}"
        else:
            return tensors, meta
        log.warning("%s: %s; starting again", self.path, reason)
        return None

    def save(
        self, trajectory: Trajectory, tensors: dict[str, Tensor], meta: dict[str, Any]
    ) -> None:
        """Write the state, after the frames that lead to it."""
        trajectory.sync()
        written = {"bytes": trajectory.length, "sha256": trajectory.digest.hexdigest()}
        save_tensors(self.path, tensors, {"identity": self.identity} | written | meta)

    @contextmanager
    def open(self, target: Path, length: int) -> Iterator[Trajectory]:
        """Yield the trajectory with its first `length` bytes, to which frames are added; if the
        block ends without an error, `target` becomes another name of its file, or a copy.

        A `target` that is the same file already is removed first, as it must not be incomplete.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if not length:
            self.growing.unlink(missing_ok=True)
        elif target.exists() and target.samefile(self.growing):
            target.unlink()
        with open(self.growing, "r+b" if length else "wb") as file:
            trajectory = Trajectory(file, length)
            if length:
                trajectory.digest.update(file.read(length))
                file.truncate(length)
            yield trajectory
            trajectory.sync()
        with atomic(target) as temporary:
            temporary.unlink(missing_ok=True)
            try:
                os.link(self.growing, temporary)
            except OSError:  # a file system without hard links
                shutil.copyfile(self.growing, temporary)
            os.utime(temporary)


def _digest(path: Path, length: int) -> str:
    """Return the SHA-256 of the first bytes of a file; "" if it has fewer."""
    with open(path, "rb") as file:
        head = file.read(length)
    return hashlib.sha256(head).hexdigest() if len(head) == length else ""


def run_identity(
    systems: Sequence[Atoms],
    calculator: Calculator,
    settings: Settings,
    names: Sequence[str],
    code: str,
) -> str:
    """Return a digest of everything that decides each step of a run, which its length does not."""
    kept = asdict(settings) | {"length_ps": None, "checkpoint_seconds": None}
    digest = hashlib.sha256(json.dumps([kept, list(names), code], sort_keys=True).encode())
    for system in systems:
        box = system.cell.array, system.pbc, system.get_masses(), fixed_atoms(system)
        for values in (system.numbers, system.positions, system.get_momenta(), *box):
            digest.update(values.tobytes() + b"|")
    digest.update(type(calculator).__qualname__.encode())
    if isinstance(calculator, NeuralCalculator):
        potential = calculator.potential
        about = [type(potential.model).__name__, potential.cutoff, potential.scale]
        about += [potential.repulsion is not None, str(calculator.dtype)]
        about += [isinstance(calculator.step, CompiledFunction), calculator.device.type]
        digest.update(json.dumps(about).encode())
        for name, tensor in potential.state_dict().items():
            digest.update(name.encode() + tensor.cpu().numpy().tobytes())
    else:
        digest.update(str(calculator.parameters).encode())
    return digest.hexdigest()
