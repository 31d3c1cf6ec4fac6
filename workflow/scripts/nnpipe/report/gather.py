"""The results of a run, read from its files into one object that the page is made of."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ase import Atoms
from ase.io import iread

from ..data.molecules import Molecules, read_molecules
from ..models.checkpoint import ModelInfo, read_info
from ..models.names import readable_name
from ..models.potential import SURFACE

# Atoms times frames of all players together: with 16 bytes each, these are 5 MB of the page.
ATOMS_OF_ALL_FRAMES = 320_000
MAX_FRAMES, MIN_FRAMES = 500, 2  # of one player
READ_FRAMES = 2500  # of a replica, which give the values over time
MAX_MODE_ATOMS = 120  # of a system whose normal modes are on the page
TABLES = (
    "accuracy", "forces", "profiles", "frequencies", "uncertainty", "md", "cost", "published",
)  # fmt: skip


@dataclass(frozen=True)
class Files:
    """Paths of the files of a run, empty where the run makes none.

    infos: `model.json` of each model; minima: also of GFN2-xTB; spectra, modes and scans: in the
    order of trajectories. The names of files are the names of models and of runs.
    """

    infos: Sequence[str] = ()
    metrics: Sequence[str] = ()
    predictions: Sequence[str] = ()
    molecules: Sequence[str] = ()
    minima: Sequence[str] = ()
    trajectories: Sequence[str] = ()
    summaries: Sequence[str] = ()
    spectra: Sequence[str] = ()
    modes: Sequence[str] = ()
    scans: Sequence[str] = ()
    accuracy: Sequence[str] = ()
    forces: Sequence[str] = ()
    profiles: Sequence[str] = ()
    frequencies: Sequence[str] = ()
    uncertainty: Sequence[str] = ()
    md: Sequence[str] = ()
    cost: Sequence[str] = ()
    published: Sequence[str] = ()

    def __iter__(self) -> Any:
        """Iterate over all paths."""
        return (path for paths in vars(self).values() for path in paths)


@dataclass(frozen=True)
class Model:
    """A model of a run; `test` are its predictions of test molecules, with their `error`."""

    name: str
    info: ModelInfo
    history: pd.DataFrame  # one row per epoch
    test: pd.DataFrame | None = None
    pretrained: bool = False

    @property
    def label(self) -> str:
        """The name as people write it."""
        return readable_name(self.name)

    @property
    def is_surface(self) -> bool:
        """Whether the model predicts the potential energy surface."""
        return self.info.target == SURFACE


@dataclass(frozen=True)
class Trajectory:
    """A run of molecular dynamics.

    frames: thinned to READ_FRAMES, one list per replica; number: frames of the whole file;
    spectrum: columns wavenumber_cm1 and density_cm; modes and scan: frames of the files of the
    same name.
    """

    name: str
    summaries: Sequence[Mapping[str, Any]]  # one per replica
    frames: Sequence[Sequence[Atoms]]
    number: int
    path: Path
    structure: str = ""  # SMILES or path, as in the configuration
    limit_a: float = np.nan  # Å, deviation of a bond length that ends the run
    spectrum: pd.DataFrame | None = None
    modes: Sequence[Atoms] = ()
    scan: Sequence[Atoms] = ()

    @property
    def model(self) -> str:
        """The name of the model in the configuration."""
        return str(self.summaries[0]["model"])

    @property
    def molecule(self) -> str:
        """The name of the molecule in the configuration."""
        return str(self.summaries[0]["molecule"])

    @property
    def start(self) -> Atoms:
        """The first frame."""
        return self.frames[0][0]


@dataclass(frozen=True)
class Results:
    """All results of a run; a table is empty where the run makes none."""

    models: Sequence[Model]
    trajectories: Sequence[Trajectory]
    tables: Mapping[str, pd.DataFrame]
    minima: Mapping[str, pd.DataFrame]
    molecules: Molecules | None = None
    data: str = "QM9"  # name of the data set
    is_qm9: bool = True
    delta: bool = False  # whether the teacher of the labels has a network
    config: Mapping[str, Any] = field(default_factory=dict)
    files: Files = field(default_factory=Files)

    def model(self, name: str) -> Model:
        """Return the model of a name in the configuration."""
        return next(model for model in self.models if model.name == name)

    def row(self, table: str, **values: Any) -> Mapping[str, Any] | None:
        """Return the first row of a table with these values, or None."""
        rows = self.tables[table]
        for column, value in values.items():
            rows = rows[rows[column] == value] if column in rows else rows[:0]
        return None if rows.empty else rows.iloc[0].to_dict()


def gather(
    files: Files,
    config: Mapping[str, Any],
    structures: Mapping[str, str] | None = None,
    limits: Mapping[str, float] | None = None,
    own_data: bool = False,
    delta: bool = False,
) -> Results:
    """Return the results in `files`.

    structures: SMILES or path of each molecule; limits: largest bond deviation (Å) of each
    molecule; own_data: whether the data set is not QM9; delta: whether the teacher of the labels
    has a network.
    """
    structures, limits = structures or {}, limits or {}
    entries = config.get("models", {})
    source = str(config.get("data", {}).get("sources", [""])[0])
    return Results(
        models=_models(files, entries),
        trajectories=_trajectories(files, structures, limits),
        tables={name: _table(getattr(files, name)) for name in TABLES},
        minima={Path(path).stem: pd.read_csv(path) for path in files.minima},
        molecules=read_molecules(files.molecules[0])[0] if files.molecules else None,
        data=Path(source).name if own_data else "QM9",
        is_qm9=not own_data,
        delta=delta,
        config=config,
        files=files,
    )


def _table(paths: Sequence[str]) -> pd.DataFrame:
    return pd.read_csv(paths[0]) if paths else pd.DataFrame()


def _models(files: Files, entries: Mapping[str, Any]) -> list[Model]:
    predictions = {Path(path).stem: path for path in files.predictions}
    metrics = {Path(path).parent.name: path for path in files.metrics}
    found = []
    for path in files.infos:
        name, folder = Path(path).parent.name, Path(path).parent
        test = None
        if name in predictions:
            table = pd.read_csv(predictions[name])
            test = table[table["split"] == "test"].reset_index(drop=True)
            test["error"] = test["prediction"] - test["target"]
        history = pd.read_json(metrics[name], lines=True) if name in metrics else pd.DataFrame()
        trained_before = "pretrained" in entries.get(name, {})
        found.append(Model(name, read_info(folder), history, test, trained_before))
    return found


def _trajectories(
    files: Files, structures: Mapping[str, str], limits: Mapping[str, float]
) -> list[Trajectory]:
    optional = {
        kind: {Path(path).stem: path for path in getattr(files, kind)}
        for kind in ("spectra", "modes", "scans")
    }
    summaries = [json.loads(Path(path).read_text()) for path in files.summaries]
    found = []
    for path, of_run in zip(files.trajectories, summaries, strict=True):
        name, molecule = Path(path).stem, of_run[0]["molecule"]
        frames, number = thinned_frames(path, READ_FRAMES, len(of_run))
        spectrum = optional["spectra"].get(name)
        show_modes = name in optional["modes"] and of_run[0]["atoms"] <= MAX_MODE_ATOMS
        found.append(
            Trajectory(
                name=name,
                summaries=of_run,
                frames=frames,
                number=number,
                path=Path(path),
                structure=structures.get(molecule, ""),
                limit_a=limits.get(molecule, np.nan),
                spectrum=pd.read_csv(spectrum) if spectrum else None,
                modes=_frames(optional["modes"][name]) if show_modes else (),
                scan=_frames(optional["scans"][name]) if name in optional["scans"] else (),
            )
        )
    return found


def _frames(path: str) -> list[Atoms]:
    """Return the frames of a file, which may be empty."""
    return list(iread(path, ":", format="extxyz")) if Path(path).stat().st_size else []


def frames_on_page(atoms: int, sizes: Sequence[int], replicas: int = 1) -> int:
    """Return the number of frames that the page shows of a system of `atoms` atoms, of `replicas`;
    `sizes` are the atoms of all trajectories of the run.
    """
    share = ATOMS_OF_ALL_FRAMES / max(len(sizes), 1) / max(atoms, 1) / replicas
    return int(np.clip(share, MIN_FRAMES, MAX_FRAMES))


def thinned_frames(
    path: str | Path, wanted: int, replicas: int = 1
) -> tuple[list[list[Atoms]], int]:
    """Return about `wanted` evenly spaced frames of each replica, the first and the last among
    them, and the number of frames of the file.
    """
    with open(path, "rb") as file:
        size = int(file.readline()) + 2
        file.seek(0)
        lines = sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
    number = lines // size
    step = max(1, -(-number // (replicas * max(wanted - 1, 1))))
    if replicas == 1:  # frames in between are not parsed
        frames = list(iread(path, f"::{step}", format="extxyz"))
        last = iread(path, "-1:", format="extxyz") if (number - 1) % step else ()
        return [[*frames, *last]], number
    of_replica: dict[int, list[Atoms]] = {}
    for frame in iread(path, ":", format="extxyz"):
        of_replica.setdefault(frame.info.get("replica", 0), []).append(frame)
    thinned = []
    for place in sorted(of_replica):
        whole = of_replica[place]
        thinned.append(whole[::step] + (whole[-1:] if (len(whole) - 1) % step else []))
    return thinned, number
