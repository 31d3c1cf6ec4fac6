"""Atoms and trajectories as moving molecules in a notebook."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.io import read

from ..errors import InputError
from ..runtime.files import atomic
from ..viewer.player import fragment, page, player, trajectory_data


@dataclass(frozen=True)
class View:
    """A player of `frames`, which a notebook shows."""

    frames: list[Atoms]
    title: str
    html: str

    def __repr__(self) -> str:
        formula = self.frames[0].get_chemical_formula()
        return f"View of {formula}, frames: {len(self.frames)}; save() writes a page"

    def _repr_html_(self) -> str:
        return self.html

    def save(self, path: str | Path) -> None:
        """Write a page that a browser opens without a network."""
        title = self.title or self.frames[0].get_chemical_formula()
        with atomic(path) as temporary:
            body = player(trajectory_data(self.frames, title=title))
            temporary.write_text(page(body, title), encoding="utf-8")


def view(what: Any, title: str = "") -> View:
    """Return a player of Atoms, of the frames of a trajectory, of a run or of a file of ASE's.

    Of several systems of a run, the first is shown. Raises InputError for anything else, a file
    that ASE cannot read, and frames that are not of one system.
    """
    frames: Any = what
    if isinstance(what, str | Path):
        try:
            frames = read(what, ":")
        except Exception as error:  # readers raise anything
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise InputError(
                f"{what}: not readable ({reason}); give a file that ASE reads"
            ) from error
    elif isinstance(what, Atoms):
        frames = [what]
    elif hasattr(what, "systems"):
        frames = what.systems()[0].frames
    if not isinstance(frames, Sequence) or not all(isinstance(one, Atoms) for one in frames):
        raise InputError(
            f"view: {type(what).__name__} is not Atoms, a list of Atoms, a run or a file; give one"
        )
    return View(list(frames), title, fragment(frames, title=title))
