"""Sections of config.yaml: defaults, units, bounds, descriptions, checks within a section."""

import math
import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from .. import units
from ..data.sources import SOURCES, is_extxyz
from ..labelling.settings import Settings as LabelSettings
from ..models import registry
from ..schema import section, setting
from ..schema_errors import did_you_mean, missing
from ..simulation.settings import Settings as MDSettings
from ..training.settings import Settings as TrainingSettings

Values = dict[str, Any]
NAME = "[A-Za-z][A-Za-z0-9_-]*"
Name = Annotated[str, Field(pattern=f"^{NAME}$")]
OWN = ("smiles", "structure")  # keys of the command line: a molecule that no section has
REPOSITORY = Path(__file__).parents[4]
MODELS: Values = {
    "gnn": {
        "architecture": "gnn",
        "target": "energy",
        "hyperparameters": {
            "cutoff": 4.0, "features": 64, "channels": 16, "vectors": 8, "radial": 8, "mixed": 64,
            "layers": 2,
        },
        "training": {
            "stages": [
                {"epochs": 6, "minima_passes": 4},
                {"epochs": 2, "minima_passes": 9, "force_weight": 0.2},
            ]
        },
    },
    "gnn_u0": {
        "target": "u0",
        "init_from": "gnn",
        "training": {"stages": [{"epochs": 6}], "learning_rate": 1.5e-3},
    },
    "mlp": {
        "architecture": "mlp",
        "target": "energy",
        "hyperparameters": {"radial": 16, "channels": 8, "features": 128, "layers": 3},
        "training": {"stages": [{"epochs": 4}]},
    },
}  # fmt: skip
MOLECULES: Values = {
    "aspirin": "CC(=O)Oc1ccccc1C(=O)O",
    "paracetamol": {"structure": "CC(=O)Nc1ccc(O)cc1", "models": ["gnn"]},
    "ibuprofen": {"structure": "CC(C)Cc1ccc(cc1)C(C)C(=O)O", "models": ["gnn"]},
    "caffeine": {"structure": "Cn1cnc2c1c(=O)n(C)c(=O)n2C", "models": ["gnn"]},
}


def find_file(path: str) -> Path:
    """Return the path of a file in the working directory or, if it is not there, the repository."""
    return Path(path) if os.path.exists(path) else REPOSITORY / path  # noqa: PTH110, see is_file


def is_file(path: str) -> bool:
    """Whether `find_file` finds a file; False for a name that is too long for a file."""
    return os.path.isfile(find_file(path))  # noqa: PTH113, Path raises for such a name


def _check_hyperparameters(architecture: str, values: Values) -> None:
    types = registry.hyperparameter_types(architecture)
    for key, value in values.items():
        if key not in types:
            close = did_you_mean(str(key), types)
            raise ValueError(f"hyperparameters: unknown key {key!r}; {close}")
        kind, whole = types[key], isinstance(value, int) and not isinstance(value, bool)
        choices = kind.removeprefix("Literal[").removesuffix("]").split(", ")
        if kind.startswith("Literal") and repr(value) not in choices:
            raise ValueError(f"hyperparameters.{key}: {value!r} is not one of {', '.join(choices)}")
        least = {"int": 1, "Annotated[int, 'from 0']": 0}.get(kind)
        if least is not None and not (whole and value >= least):
            raise ValueError(f"hyperparameters.{key}: {value!r} is not a whole number from {least}")
        if kind == "float" and not (whole or isinstance(value, float)):
            raise ValueError(f"hyperparameters.{key}: {value!r} is not a number")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"hyperparameters.{key}: {value} is not a finite number")


@section
class ExtXYZ:
    """Keys and units of a data set in extended xyz, and files of its parts."""

    energy: str = setting("energy", "key of the energies", min_length=1)
    forces: str = setting("forces", "key of the forces; '' to read none")
    energy_unit: str = setting("eV", "unit of energy", examples=list(units.ENERGY))
    length_unit: str = setting("Ang", "unit of length", examples=list(units.LENGTH))
    force_unit: str = setting(
        "", "unit of forces, such as Hartree/Bohr, or -Hartree/Bohr for gradients; '':"
        " energy_unit/length_unit",
    )  # fmt: skip
    validation: str = setting("", "file of all validation molecules; '': drawn from data.sources")
    test: str = setting("", "file of all test molecules; '': drawn from data.sources")

    def __post_init__(self) -> None:
        for key, known in (("energy_unit", units.ENERGY), ("length_unit", units.LENGTH)):
            if getattr(self, key) not in known:
                raise ValueError(f"{key}: {getattr(self, key)!r} is not one of {', '.join(known)}")
        if self.force_unit and self.force_unit.removeprefix("-") not in units.FORCE:
            raise ValueError(
                f"force_unit: {self.force_unit!r} is not a unit of energy"
                f" ({', '.join(units.ENERGY)}), / and one of length ({', '.join(units.LENGTH)}),"
                " such as Hartree/Bohr"
            )
        for part in ("validation", "test"):
            if (path := getattr(self, part)) and not (is_extxyz(path) and is_file(path)):
                raise ValueError(f"{part}: {path!r} is not a file in extended xyz")


@section
class Data:
    """The data set."""

    sources: tuple[str, ...] = setting(
        tuple(SOURCES),
        "figshare, qm9pack or paths of files in these formats, tried in this order; or the path of"
        " one data set: extended xyz (.xyz, .extxyz, .gz) or a database of ASE (.db)",
        min_length=1,
    )
    cutoff: float = setting(
        5.0, "radius within which neighbours are stored; a model may use a smaller cutoff", "Å",
        gt=0.5, le=20,
    )  # fmt: skip
    extxyz: ExtXYZ = setting(
        ExtXYZ(), "keys and units of a data set in extended xyz; files of its parts"
    )

    def __post_init__(self) -> None:
        for source in self.sources:
            if source not in SOURCES and not is_file(source):
                raise ValueError(f"sources: {source!r} is not {', '.join(SOURCES)} or a file")
        if len(self.sources) > 1 and any(map(is_extxyz, self.sources)):
            raise ValueError("sources: a data set in extended xyz must be the only source")
        parts = self.extxyz.validation or self.extxyz.test
        if parts and not is_extxyz(self.sources[0]):
            raise ValueError(
                f"extxyz: {parts!r} needs a training set in extended xyz; name it in data.sources"
            )


@section
class Split:
    """Molecules, drawn at random without replacement."""

    seed: int = setting(0, "seed of the random draw", ge=0, le=2**31 - 1)
    always_train_smallest: int = setting(
        8, "number of smallest molecules that are always in the training set", ge=0
    )
    train_first: tuple[str, ...] = setting(
        ("c1ccccc1",),
        "SMARTS; matching molecules outside the validation and test sets train before others:"
        " rings of drugs are rare in QM9",
    )
    train: int = setting(
        10_000, "training molecules; usual large split: 110000, 10000, 10831", ge=1
    )
    validation: int = setting(1_000, "validation molecules", ge=1)
    test: int = setting(10_000, "test molecules", ge=1)

    def __post_init__(self) -> None:
        if self.always_train_smallest > self.train:
            raise ValueError(
                f"always_train_smallest: {self.always_train_smallest} is above split.train,"
                f" {self.train}; lower it"
            )


@section
class Labels(LabelSettings):
    """Labelled geometries off the minimum, which teach forces."""

    method: Literal["teacher", "gfn2", "dft"] = setting(
        "teacher",
        "teacher (GFN2-xTB refitted to DFT, and a network for the rest), gfn2 (plain GFN2-xTB) or"
        " dft (the level of theory of QM9; slow); the first two are corrected towards QM9",
    )
    teacher: str = setting(
        "resources/teacher",
        "folder of the teacher: tight_binding.toml, parameters in the format of tblite, and files"
        " of a trained network, if any; or fit, which fits both again",
        min_length=1,
    )
    fragments: str = setting(
        "resources/fragments.smi",
        "file of molecules that QM9 lacks, one SMILES per line, which the teacher labels, too;"
        " '' for none; unused without the network of the teacher",
    )
    molecules: int = setting(
        0, "training molecules with labels, and as many of validation; 0: all of the split", ge=0
    )
    correction_molecules: int = setting(
        50, "molecules whose DFT frequencies the correction is fitted to; 0: no correction", ge=0,
    )  # fmt: skip
    chunks: int = setting(8, "jobs that share the labelling", ge=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        file = f"{self.teacher}/tight_binding.toml"
        if self.method == "teacher" and self.teacher != "fit" and not is_file(file):
            raise ValueError(f"teacher: {file!r} is not a file; write resources/teacher, or fit")
        if self.method == "teacher" and self.fragments and not is_file(self.fragments):
            raise ValueError(
                f"fragments: {self.fragments!r} is not a file; write resources/fragments.smi, or"
                " '' for none"
            )


@section
class Model:
    """A model: what it predicts and how it is trained."""

    target: Literal[
        "energy", "u0", "u", "h", "g", "cv", "zpve", "homo", "lumo", "gap", "mu", "alpha", "r2",
        "rotational_a", "rotational_b", "rotational_c",
    ] = setting(
        ...,
        "energy (U0 - ZPVE, the potential energy surface; needed for dynamics), u0 (with the"
        " zero-point energy; what papers report) or another property of QM9",
    )  # fmt: skip
    architecture: str = setting(
        None,
        f"{', '.join(registry.MODELS)}; inherited from the model of init_from",
        examples=list(registry.MODELS),
    )
    hyperparameters: dict[str, Any] = setting(
        {}, "arguments of the architecture; inherited from the model of init_from"
    )
    init_from: str = setting(
        None, "model whose trained weights are the initial weights of this one", min_length=1
    )
    use_labels: bool = setting(
        True, "train a model of energy on the labelled geometries too, not on minima alone"
    )
    pretrained: str = setting(
        None, "folder of a trained model, which is used in place of a training"
    )
    training: TrainingSettings = setting(
        TrainingSettings(), "replaces settings of training for this model"
    )

    def __post_init__(self) -> None:
        if self.architecture is None:
            if self.init_from is None:
                raise ValueError(missing("architecture"))
        elif self.architecture not in registry.MODELS:
            close = did_you_mean(self.architecture, registry.MODELS)
            raise ValueError(f"architecture: {self.architecture!r} does not exist; {close}")
        else:
            _check_hyperparameters(self.architecture, self.hyperparameters)
        if self.pretrained is not None and not is_file(f"{self.pretrained}/model.json"):
            raise ValueError(
                f"pretrained: {self.pretrained!r} has no model.json; give a folder such as"
                " results/models/gnn"
            )


def _molecule(value: Any) -> Any:
    """Return the mapping of a molecule that may be given as a text."""
    if not isinstance(value, str | dict | Molecule):
        raise ValueError(f"{value!r} is not text; write a SMILES or the path of a file in quotes")
    return {"structure": value} if isinstance(value, str) else value


@section
class Evaluation:
    """Tables and figures."""

    frequency_molecules: int = setting(
        100, "test molecules whose harmonic frequencies are compared with QM9", ge=1
    )


@section
class MD(MDSettings):
    """Molecular dynamics; a molecule may replace any of these."""

    models: tuple[str, ...] = setting(
        ("gnn", "mlp"), "models that simulate every molecule if snakemake is given no file name",
        min_length=1,
    )  # fmt: skip
    replicas: int = setting(
        1, "runs per molecule, with different velocities, computed together", ge=1
    )
    dtype: Literal["float32", "float64"] = setting("float32", "precision: float32 or float64")

    def __post_init__(self) -> None:
        if len(set(self.models)) < len(self.models):
            raise ValueError(f"models: a model is given twice in {', '.join(self.models)}")


@section
class Molecule(MD):
    """A molecule, with values that replace the values of md."""

    structure: str = setting(..., "a SMILES or the path of a structure file", min_length=1)


@section
class Resources:
    """Hardware and environments of the jobs."""

    device: str = setting(
        "auto", "auto, cpu, cuda, or one GPU by its number", pattern="^(auto|cpu|cuda(:[0-9]+)?)$",
        examples=["auto", "cpu", "cuda", "cuda:1"],
    )  # fmt: skip
    threads: int = setting(
        8, "threads of a training; reduced to --cores and to its share of the cores", ge=1,
    )  # fmt: skip
    gpus: int = setting(1, "GPUs of a training, one process each", ge=1)
    nodes: int = setting(
        1, "nodes of a Slurm cluster over which the GPUs of a training are spread", ge=1
    )
    container: str = setting("", "container image with the environments of all rules")

    def __post_init__(self) -> None:
        if self.gpus % self.nodes:
            raise ValueError(
                f"gpus: {self.gpus} cannot be spread evenly over {self.nodes} nodes;"
                f" take {self.nodes * max(1, self.gpus // self.nodes)}"
            )
        if self.gpus > 1 and ":" in self.device:
            raise ValueError(
                f"device: {self.device!r} is one GPU, resources.gpus is {self.gpus}; write cuda"
            )


@section
class Config:
    """config.yaml of nnpipe."""

    data: Data = Data()
    split: Split = Split()
    labels: Labels = Labels()
    training: TrainingSettings = setting(
        TrainingSettings(), "Training; a model may replace any of these."
    )
    models: dict[Name, Model] = setting(MODELS, "Any name; gnn and mlp must exist.")
    evaluation: Evaluation = Evaluation()
    molecules: dict[
        Name,
        Annotated[
            Molecule,
            BeforeValidator(_molecule, json_schema_input_type=str | Molecule),
        ],
    ] = setting(
        MOLECULES,
        "Any name: a SMILES or the path of a structure file, or {structure: ...} with values that"
        " replace the values of md.",
        min_length=1,
    )
    md: MD = MD()
    resources: Resources = Resources()
