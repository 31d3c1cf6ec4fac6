# What all rules share: the checked configuration, wildcards, paths, digests of code.
import os
import sys
from pathlib import Path

REPOSITORY = Path(workflow.current_basedir).parents[1]
SCRIPTS = REPOSITORY / "workflow/scripts"
sys.path.insert(0, str(SCRIPTS))

from nnpipe.runtime.digest import digest
from nnpipe.config import (
    architecture_of,
    check_files,
    hyperparameters_of,
    md_of,
    models_of,
    own_data,
    own_structure,
    structure_of,
    training_of,
    uses_labels,
)
from nnpipe.config.command_line import as_typed
from nnpipe.config.folder import with_files
from nnpipe.config.sections import NAME, OWN
from nnpipe.config.source import places
from nnpipe.data.sources import SOURCES
from nnpipe.errors import InputError
from nnpipe.models.names import readable_name
from nnpipe.models.registry import model_file
from nnpipe.runtime.files import sampled_digest
from nnpipe.runtime.job import PARENT, available_cores, lock_folder, prepend_pythonpath

# the files of the working directory, otherwise those of the repository
CONFIG = "config.yaml" if Path("config.yaml").exists() else str(REPOSITORY / "config.yaml")
FOLDER = "molecules" if Path("molecules").is_dir() else os.path.relpath(REPOSITORY / "molecules")

try:
    if not workflow.modifier.skip_configfile and Path(CONFIG).exists():
        places(CONFIG)  # Snakemake itself would name neither the line nor the remedy
except InputError as error:
    raise WorkflowError(str(error)) from None


configfile: CONFIG


try:
    entries = workflow.config_settings.config_args
    config = with_files(as_typed(config, entries), FOLDER)
    check_files(config, workflow.configfiles, entries)
except InputError as error:
    raise WorkflowError(str(error)) from None

if config["resources"]["container"]:

    containerized: config["resources"]["container"]


# every job keeps its cores busy: more threads than cores would slow down all jobs
if workflow.resource_settings.nodes is None and workflow.resource_settings.cores:  # not a cluster
    cores = min(workflow.resource_settings.cores, available_cores())
    workflow.global_resources["_cores"] = cores
# OpenMP threads that wait for work spin for microseconds, then sleep: longer spinning slows down a
# training on busy cores, and no spinning (OMP_WAIT_POLICY=PASSIVE) slows down every training
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
prepend_pythonpath(SCRIPTS)
# a script ends when the process of this number ends
os.environ[PARENT] = str(os.getpid())


include: "progress.smk"


onstart:
    # replaces Snakemake's own lock, which remains after a killed run
    try:
        lock_folder(".snakemake/nnpipe.lock")
    except InputError as error:
        raise WorkflowError(str(error)) from None


ENERGY_MODELS = [name for name in config["models"] if config["models"][name]["target"] == "energy"]
TRAINED = [name for name in config["models"] if "pretrained" not in config["models"][name]]
PRETRAINED = [name for name in config["models"] if "pretrained" in config["models"][name]]
RUNS = [f"{m}_{name}" for name in config["molecules"] for m in models_of(config, name)]


# GPUs and nodes of one training
PROCESSES, NODES = config["resources"]["gpus"], config["resources"]["nodes"]
GPU = 0 if config["resources"]["device"] == "cpu" else 1
# what a training requests from Slurm, besides GPUs; on several nodes it starts its tasks with srun
SPREAD = {"nodes": NODES}
if NODES > 1:
    SPREAD |= {"mpi": "srun", "tasks": NODES, "tasks_per_gpu": 0}
    SPREAD |= {"slurm_extra": f"--gpus-per-node={PROCESSES // NODES}"} if GPU else {}


def grows(amount):
    """Multiply memory or time by the number of the attempt, where the profile retries jobs."""
    return lambda wildcards, attempt: amount * attempt


def code(script, model=None):
    """Return the digest of the files of the library that a script runs, with those of models."""
    models = [model] if isinstance(model, str) else model or []
    files = [model_file(architecture_of(config, name)) for name in models]
    return digest(SCRIPTS / script, *files)


def shipped(name):
    """Return the path of a file of the repository, relative to the working directory.

    Nothing runs again if both are moved together. `local` keeps a module's prefix from the path.
    """
    return local(os.path.relpath(REPOSITORY / name))


def given(name):
    """Return the path of a file that the configuration names."""
    return local(name) if os.path.exists(name) else shipped(name)


def contents(*names):
    """Return digests of files that the configuration names, for `params`.

    Snakemake itself compares times and does not see a file that was replaced by an older one. It
    does not compare params that are functions of the input.
    """
    return [sampled_digest(given(name)) for name in names if os.path.isfile(given(name))]


def pretrained_file(name):
    """Return an input function: the path of a file of a model that was trained before."""
    return lambda wc: given(f"{config['models'][wc.model]['pretrained']}/{name}")


def any_of(names):
    """Return a regular expression of names, the longest first: gnn_u0_x is of the model gnn_u0."""
    return "|".join(sorted(names, key=len, reverse=True))


def labels(content):
    """Return the labels of a file in Snakemake's report: content, and molecule and model if any."""

    def of(wildcards):
        about = {"content": content}
        if "molecule" in wildcards.keys():
            about["molecule"] = wildcards.molecule
        if "model" in wildcards.keys():
            about["model"] = readable_name(wildcards.model)
        return about

    return of


wildcard_constraints:
    model=any_of(config["models"]),
    molecule=any_of(config["molecules"]) if own_structure(config) is None else NAME,
