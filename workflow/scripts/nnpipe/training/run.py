"""From tables on disk to a trained model on disk."""

import hashlib
import json
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from ase.data import chemical_symbols
from torch import Tensor

from .. import __version__
from ..data.molecules import isolated_atoms
from ..data.splits import read_split
from ..data.store import read as read_store
from ..errors import InputError
from ..graphs.dataset import Dataset, load_dataset, load_labels
from ..models.checkpoint import ModelInfo, load_model, save_model
from ..models.potential import INTENSIVE, SURFACE, Potential
from ..models.predict import predict
from ..models.registry import build
from ..models.uncertainty import fit_uncertainty, held_out_geometries, measure_errors
from ..runtime.device import peak_memory_mb, pick_device, use_threads
from ..runtime.files import atomic, sha256
from ..runtime.job import job
from ..runtime.signals import signals_received
from ..units import readable
from .atomic_references import atomic_references
from .distributed import join_process_group, run_in_group
from .loop import train
from .settings import Settings
from .state import Checkpoint, Progress

log = logging.getLogger(__name__)


def make_potential(
    model: torch.nn.Module,
    data: Dataset,
    target: str,
    unit: str = "eV",
    isolated: dict[int, float] | None = None,
) -> Potential:
    """`model` with the references and the scale of the labels of `data`.

    `isolated`: energies of isolated atoms, see `atomic_references`.
    """
    intensive = target in INTENSIVE
    references = fit_references(data, data.target, intensive, isolated)
    plain = Potential(model, references, 1.0, unit, intensive)
    scale = float(plain.normalised_target(data).double().std(correction=0)) or 1.0
    return Potential(model, references, scale, unit, intensive, repulsion=target == SURFACE)


def shift_references(start: Potential, data: Dataset) -> Potential:
    """Return `start` with references that fit the labels of `data`, which may be of another
    level of theory; forces and scale stay the same.

    Each element of `data` is shifted by its least-squares share in the errors of `start`. If the
    molecules do not determine the shifts (all have one formula, for instance), their norm is the
    least.
    """
    shifts = fit_references(data, data.target - predict(start, data), start.intensive)
    references = {z: start.references[z].item() + shift for z, shift in shifts.items()}
    surface = start.repulsion is not None
    return Potential(start.model, references, start.scale, start.unit, start.intensive, surface)


def fit_references(
    data: Dataset, values: Tensor, intensive: bool, isolated: dict[int, float] | None = None
) -> dict[int, float]:
    """Return the value of each element whose sum over atoms fits `values` (M,) best."""
    total = values * data.sizes if intensive else values
    z, sizes = data.atomic_numbers().numpy(), data.sizes.numpy()
    return atomic_references(z, sizes, total.numpy(), isolated)


def load_start(
    start: str | Path, architecture: str, hyperparameters: dict[str, float], data: Dataset
) -> tuple[Potential, ModelInfo]:
    """Return the trained model in folder `start` and the content of its model.json.

    Raises InputError if that is another architecture, has other hyperparameters, or was trained
    without an element of `data`.
    """
    trained, info = load_model(start)
    if (info.architecture, info.hyperparameters) != (architecture, hyperparameters):
        raise InputError(
            f"{start}: a {info.architecture} with {info.hyperparameters}, to start from it needs"
            f" the same, not a {architecture} with {hyperparameters}"
        )
    if unknown := set(data.atomic_numbers().tolist()) - set(info.elements):
        raise InputError(
            f"{start}: trained without {chemical_symbols[min(unknown)]}, which the training data"
            " contain; leave out its molecules, or train without init_from"
        )
    return trained, info


def train_from_files(
    folder: str | Path,
    architecture: str,
    hyperparameters: dict[str, float],
    target: str,
    settings: Settings,
    molecules: str | Path,
    neighbours: str | Path,
    split: str | Path,
    checkpoint: str | Path,
    labels: str | Path | None = None,
    start: str | Path | None = None,
    code: str = "",
    device: str = "auto",
) -> None:
    """Train a model on the split's training molecules and write it to `folder`.

    model.safetensors and model.json hold the model, metrics.jsonl one line an epoch. With `labels`
    it is trained on the labelled geometries of those molecules, energies and forces, and on the
    energies of their minima; references are of the minima. With `start`, the folder of a model of
    the same architecture and hyperparameters, training begins with its weights and, if it has the
    same target, with its scale and forces, see `shift_references`. `code` stands for the code in
    the checkpoint's identity. SIGTERM and SIGUSR1 end the training with Stopped and its
    state in the checkpoint. In a process of torchrun, the training is shared with the others.
    """
    where = pick_device(device)
    table, header = read_store(molecules, "molecules")
    parts = read_split(split, table["index"])
    data, validation = (
        load_dataset(molecules, neighbours, parts[part], target, hyperparameters["cutoff"])
        for part in ("train", "validation")
    )
    index = table["index"][parts["train"]]
    unit = header["units"][target]
    model, same_target = build(architecture, hyperparameters, settings.seed), False
    if start:
        initial, info = load_start(start, architecture, hyperparameters, data)
        model, same_target = initial.model, info.target == target
    if same_target:
        potential = shift_references(initial, data).to(where)
    else:
        potential = make_potential(model, data, target, unit, isolated_atoms(table)).to(where)
    if settings.keep == "auto":  # without labelled geometries, validation measures all errors
        settings = replace(settings, keep="best" if same_target and not labels else "last")
    n_train, minima = len(data), None
    if labels:
        minima = data.to(where)
        data = load_labels(labels, index, hyperparameters["cutoff"], header["digest"])
    n_geometries = len(data.atom_start.unique())  # some are taken several times
    parameters = sum(parameter.numel() for parameter in model.parameters())
    log.info(
        "%s of %d parameters on %s, %d threads; %d molecules, %d geometries; %s +- %.4g %s",
        architecture, parameters, where, torch.get_num_threads(), n_train, n_geometries,
        target, potential.scale, unit,
    )  # fmt: skip
    provenance = {
        "molecules": header["digest"],
        "neighbours": read_store(neighbours, "neighbours")[1]["digest"],
        "split": sha256(split),
        "labels": read_store(labels, "labels")[1]["digest"] if labels else None,
        "start": sha256(Path(start) / "model.safetensors") if start else None,
        "source": header["provenance"],
    }
    surface = [info.references, info.scale] if start else []
    about = [
        architecture, hyperparameters, target, asdict(settings), provenance, surface, code,
        where.type,
    ]  # fmt: skip
    identity = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()

    def write_metrics(history: Sequence[dict[str, float]]) -> None:
        with atomic(Path(folder) / "metrics.jsonl") as temporary:
            temporary.write_text("".join(json.dumps(entry) + "\n" for entry in history))

    with signals_received() as received, join_process_group() as group:
        progress = train(
            potential,
            data.to(where),
            validation.to(where),
            settings,
            minima=minima,
            checkpoint=Checkpoint(checkpoint, identity),
            after_epoch=write_metrics,
            stop=lambda: bool(received),
            group=group,
        )
    if group.rank:
        return
    write_metrics(progress.history)
    _report(progress, settings, unit)
    held_out = None
    if target == SURFACE:
        tables = molecules, neighbours, split, labels
        held_out = held_out_geometries(0, hyperparameters["cutoff"], *tables)
    if held_out:
        errors = measure_errors(potential, held_out.to(where))
        potential.uncertainty = fit_uncertainty(potential, data.to(where), errors).to(where)
    name = torch.cuda.get_device_name(where) if where.type == "cuda" else where
    save_model(
        folder,
        potential,
        ModelInfo(
            architecture=architecture,
            hyperparameters=hyperparameters,
            target=target,
            unit=unit,
            intensive=potential.intensive,
            references={
                z: potential.references[z].item() for z in data.atomic_numbers().unique().tolist()
            },
            scale=potential.scale,
            seed=settings.seed,
            n_train=n_train,
            n_geometries=n_geometries,
            parameters=parameters,
            train_seconds=progress.seconds,
            peak_memory_mb=peak_memory_mb(where),
            device=f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}",
            settings=asdict(settings),
            data=provenance,
            nnpipe_version=__version__,
        ),
    )


def _report(progress: Progress, settings: Settings, unit: str) -> None:
    """Log the validation errors of the saved weights, and which epoch they are of."""
    factor, small = readable(unit)

    def errors(entry: dict[str, float]) -> str:
        text = f"{entry['validation_mae'] * factor:.1f} {small}"
        forces = entry.get("validation_force_mae")
        return text if forces is None else f"{text}, of forces {forces * 1000:.1f} meV/Å"

    if settings.keep != "best":
        log.info("validation MAE %s", errors(progress.history[-1]))
        return
    start, best = progress.history[0], progress.best()
    if best is start:
        log.warning(
            "no epoch lowered the validation errors: the start is saved, with validation MAE %s;"
            " train on more molecules, or lower learning_rate",
            errors(start),
        )
        return
    log.info(
        "epoch %d of %d is saved, with validation MAE %s; at the start %s",
        best["epoch"], settings.epochs, errors(best), errors(start),
    )  # fmt: skip


def launch(processes: int, nodes: int, threads: int, log: str | Path, **arguments: Any) -> None:
    """Call `train_from_files` in this process, or in several processes on one or several nodes.

    `arguments`, with `settings` as a dict, must be fit for JSON. `processes` counts the
    processes of all nodes, `threads` the cores of one node. The first process writes to `log`.
    """
    if processes == 1:
        train_from_files(**arguments | {"settings": Settings(**arguments["settings"])})
        return
    path = Path(f"{arguments['checkpoint']}.arguments.json")
    threads_per_process = max(1, threads * nodes // processes)
    content = {"log": str(log), "threads": threads_per_process, "arguments": arguments}
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(content))
    try:
        run_in_group("nnpipe.training.run", path, processes, nodes, threads)
    finally:
        path.unlink()


def run_process(path: str | Path) -> None:
    """Train in this process of a group, as the file that `launch` wrote says."""
    content = json.loads(Path(path).read_text())
    rank, size = os.environ["RANK"], os.environ["WORLD_SIZE"]
    use_threads(content["threads"])
    arguments = content["arguments"]
    with job(content["log"], alone=False) if rank == "0" else nullcontext():
        try:
            train_from_files(**arguments | {"settings": Settings(**arguments["settings"])})
        except InputError as error:
            raise InputError(f"process {rank} of {size}: {error}") from error


if __name__ == "__main__":
    try:
        run_process(sys.argv[1])
    except InputError as error:  # of a process that has no log
        sys.exit(f"error: {error}")
