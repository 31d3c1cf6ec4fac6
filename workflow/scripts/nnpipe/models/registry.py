"""The models: one per file, one line each here.

A model is a torch module with `forward(batch) -> energy (B,)`, smooth at its cutoff. Its keyword
arguments are its hyperparameters, `cutoff` among them. References, scale, forces and stress are
written once around it, in potential.py.
"""

import ast
import inspect
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError

if TYPE_CHECKING:
    from torch import nn

MODELS = {
    "mlp": "atom_mlp.AtomMLP",
    "gnn": "atom_gnn.AtomGNN",
    "schnet": "schnet.SchNet",
}


def model_file(architecture: str) -> Path:
    """Return the source file of an architecture."""
    return Path(__file__).parent / f"{MODELS[architecture].split('.')[0]}.py"


def hyperparameter_types(architecture: str) -> dict[str, str]:
    """Return {hyperparameter: type as written} of an architecture.

    `int` is a whole number from 1, `Annotated[int, 'from 0']` one from 0. The source
    is parsed, not imported: this also works without torch.
    """
    name = MODELS[architecture].split(".")[1]
    for node in ast.walk(ast.parse(model_file(architecture).read_text())):
        if isinstance(node, ast.ClassDef) and node.name == name:
            (init,) = (part for part in node.body if getattr(part, "name", "") == "__init__")
            assert isinstance(init, ast.FunctionDef)
            return {a.arg: ast.unparse(a.annotation or ast.Name("Any")) for a in init.args.args[1:]}
    raise LookupError(f"{model_file(architecture)}: no class {name}")


def build(architecture: str, hyperparameters: Mapping[str, float], seed: int = 0) -> "nn.Module":
    """A new model with weights drawn from `seed`; the global random state stays as it is.

    Raises InputError for an architecture or a hyperparameter that does not exist.
    """
    import torch  # the registry itself is read where there is no torch

    if architecture not in MODELS:
        raise InputError(f"architecture {architecture!r} is not one of {', '.join(MODELS)}")
    module, name = MODELS[architecture].split(".")
    model = getattr(import_module(f".{module}", __package__), name)
    known = inspect.signature(model).parameters
    for key in hyperparameters:
        if key not in known:
            raise InputError(
                f"{architecture}: no hyperparameter {key!r}; it has {', '.join(known)}"
            )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return model(**hyperparameters)
