"""Trained models and training states as safetensors and JSON files, written atomically."""

import json
import shutil
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ..errors import InputError
from ..runtime.files import atomic, sha256
from ..schema_errors import one_line
from .potential import INTENSIVE, MAX_Z, SURFACE, Potential
from .registry import build
from .uncertainty import Uncertainty, last_layer

FORMAT = 1
FILES = ("model.safetensors", "model.json", "metrics.jsonl")  # of the folder of a model
UNCERTAINTY = "uncertainty."  # prefix of its tensors


@dataclass(frozen=True)
class ModelInfo:
    """The content of model.json."""

    __pydantic_config__ = ConfigDict(strict=True, allow_inf_nan=False)

    architecture: str
    hyperparameters: dict[str, int | float]
    target: str
    unit: str
    intensive: bool
    references: dict[int, float]  # {atomic number: unit of the target}
    scale: float  # unit of the target
    seed: int
    n_train: int  # molecules
    n_geometries: int  # minima and other geometries of these molecules
    parameters: int
    train_seconds: float
    peak_memory_mb: float
    device: str
    settings: dict[str, Any]  # training.settings.Settings
    data: dict[str, Any]  # provenance: digests of molecules, neighbours and split
    nnpipe_version: str
    weights_sha256: str = ""
    format: int = FORMAT

    @property
    def elements(self) -> list[int]:
        """Atomic numbers of the training data."""
        return sorted(self.references)


def save_tensors(path: str | Path, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
    """Write tensors and a dict, which JSON can hold, to one safetensors file."""
    # copies, as safetensors refuses tensors that share memory, as some of SchNet do
    whole = {name: t.detach().to("cpu", copy=True).contiguous() for name, t in tensors.items()}
    with atomic(path) as temporary:
        temporary.write_bytes(save(whole, {"nnpipe": json.dumps(meta)}))


def load_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors, on the CPU, and the dict. Raises InputError for a damaged file."""
    try:
        with safe_open(path, "pt") as file:
            meta = json.loads(file.metadata()["nnpipe"])
            names = file.keys()
            # copies, as the tensors in the file are not aligned, which changes the rounding
            return {name: file.get_tensor(name).clone() for name in names}, meta
    except (SafetensorError, OSError, TypeError, KeyError, ValueError) as error:
        raise InputError(
            f"{path}: not a whole safetensors file of nnpipe ({error}); delete it and run again"
        ) from error


def save_model(folder: str | Path, potential: Potential, info: ModelInfo) -> None:
    """Write model.safetensors, with the uncertainty if there is one, and model.json."""
    weights, tensors = Path(folder) / "model.safetensors", potential.model.state_dict()
    if potential.uncertainty is not None:
        constants = potential.uncertainty.state_dict()
        tensors |= {UNCERTAINTY + name: value for name, value in constants.items()}
    save_tensors(weights, tensors, {"format": FORMAT})
    content = asdict(info) | {
        "weights_sha256": sha256(weights),
        "elements": info.elements,
    }
    with atomic(Path(folder) / "model.json") as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n")


def read_info(folder: str | Path) -> ModelInfo:
    """Return the content of model.json.

    Raises InputError if the file is missing, damaged or of another format.
    """
    path = Path(folder) / "model.json"
    again = "copy the model again, or train it again"
    try:
        content = json.loads(path.read_text())
        if content["format"] != FORMAT:
            raise InputError(
                f"{path}: format {content['format']!r}, this nnpipe reads {FORMAT}; train it again"
            )
        content["references"] = {int(z): value for z, value in content["references"].items()}
        elements = content["elements"]
        values = {field.name: content[field.name] for field in fields(ModelInfo)}
        info = TypeAdapter(ModelInfo).validate_json(json.dumps(values))  # of a dict, if strict
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; train the model first") from None
    except ValidationError as error:
        raise InputError(f"{path}: {one_line(error, ModelInfo)}; {again}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: not a model of nnpipe ({error!r}); {again}") from error
    for key, wrong in {
        "scale": info.scale <= 0,
        "hyperparameters": info.hyperparameters.get("cutoff", 0) <= 0,
        "references": not all(0 < z <= MAX_Z for z in info.references) or not info.references,
        "elements": elements != info.elements,
        "unit": info.target == SURFACE and info.unit != "eV",
        "intensive": info.intensive != (info.target in INTENSIVE),
    }.items():
        if wrong:
            raise InputError(f"{path}: {key}: {content[key]!r} is not valid; {again}")
    return info


def copy_model(
    source: str | Path,
    folder: str | Path,
    architecture: str,
    target: str,
    hyperparameters: dict[str, float],
) -> None:
    """Copy a trained model from the folder `source` to `folder`.

    Raises InputError if it is damaged, or has another architecture, target or hyperparameters.
    """
    _, info = load_model(source)
    asked = {
        "architecture": architecture, "target": target, "hyperparameters": hyperparameters,
    }  # fmt: skip
    for key, wanted in asked.items():
        if getattr(info, key) != wanted:
            raise InputError(
                f"{source}/model.json: {key} {getattr(info, key)!r} is not what config.yaml asks"
                f" for, {wanted!r}; make them the same"
            )
    for name in FILES:
        if not (Path(source) / name).is_file():
            raise InputError(f"{source}/{name}: no such file; copy the whole folder of the model")
        with atomic(Path(folder) / name) as temporary:
            shutil.copyfile(Path(source) / name, temporary)


def load_model(folder: str | Path) -> tuple[Potential, ModelInfo]:
    """Return the potential, on the CPU in float32, and the content of model.json.

    Raises InputError if a file is missing, damaged, of another format or of another model.
    """
    info, weights = read_info(folder), Path(folder) / "model.safetensors"
    if not weights.is_file() or sha256(weights) != info.weights_sha256:
        raise InputError(f"{weights}: not the weights that model.json describes; train it again")
    tensors = load_tensors(weights)[0]
    if not all(tensor.isfinite().all() for tensor in tensors.values()):
        raise InputError(f"{weights}: a weight is not finite; train the model again")
    try:
        constants = {n: tensors.pop(n) for n in list(tensors) if n.startswith(UNCERTAINTY)}
        model = build(info.architecture, info.hyperparameters)
        model.load_state_dict(tensors)
        surface = info.target == SURFACE
        potential = Potential(
            model, info.references, info.scale, info.unit, info.intensive, surface
        )
        if constants:
            potential.uncertainty = Uncertainty(last_layer(model).in_features, info.elements)
            potential.uncertainty.load_state_dict(
                {name.removeprefix(UNCERTAINTY): value for name, value in constants.items()}
            )
    except (TypeError, ValueError, RuntimeError, KeyError, IndexError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{folder}/model.json: not of this nnpipe's models ({reason}); train it again"
        ) from error
    return potential, info
