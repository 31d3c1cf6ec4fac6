# What the rules share: the checked configuration, wildcards, the digest of a rule's code.
import os
import sys
from pathlib import Path

import yaml

SCRIPTS = Path(workflow.current_basedir).parent / "scripts"
sys.path.insert(0, str(SCRIPTS))

from nnpipe.runtime.digest import digest
from nnpipe.config import (
    check,
    check_keys,
    hyperparameters_of,
    md_of,
    model_file,
    models_of,
    own_data,
    structure_of,
    training_of,
    uses_labels,
)
from nnpipe.errors import InputError
from nnpipe.runtime.job import CORES, PARENT, lock, prepend_pythonpath

schema = yaml.safe_load((SCRIPTS.parent / "schemas" / "config.schema.yaml").read_text())
try:
    for path in workflow.configfiles:
        check_keys(path)
    check(config, schema)
except InputError as error:
    raise WorkflowError(str(error)) from None

if config["resources"]["container"]:

    containerized: config["resources"]["container"]


# `--cores` may promise more than the machine has: trainings then share what is there
os.environ[CORES] = str(workflow.resource_settings.cores or "")  # none on a cluster
# threads that wait spin for some microseconds and then sleep: longer costs a training most of its
# speed on busy cores, and not at all (OMP_WAIT_POLICY=PASSIVE) nearly all of it on two or more threads
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
prepend_pythonpath(SCRIPTS)
# a script ends when this process does
os.environ[PARENT] = str(os.getpid())


onstart:
    # in place of Snakemake's own lock, which a killed run leaves behind
    try:
        lock(".snakemake/nnpipe.lock")
    except InputError as error:
        raise WorkflowError(str(error)) from None


ENERGY_MODELS = [name for name in config["models"] if config["models"][name]["target"] == "energy"]
PRETRAINED = [name for name in config["models"] if "pretrained" in config["models"][name]]
RUNS = [f"{m}_{name}" for name in config["molecules"] for m in models_of(config, name)]


PROCESSES, NODES = config["resources"]["gpus"], config["resources"]["nodes"]  # of a training
GPU = 0 if config["resources"]["device"] == "cpu" else 1
# what Slurm is asked for beside GPUs; on several nodes the training starts its tasks by srun
SPREAD = {"nodes": NODES}
if NODES > 1:
    SPREAD |= {"mpi": "srun", "tasks": NODES, "tasks_per_gpu": 0}
    SPREAD |= {"slurm_extra": f"--gpus-per-node={PROCESSES // NODES}"} if GPU else {}


def grows(amount):
    """Of memory or time: as much again at each new attempt of a job, where the profile retries."""
    return lambda wildcards, attempt: amount * attempt


def code(script, model=None):
    """Digest of the library files that a script uses, those of a model or several among them."""
    models = [model] if isinstance(model, str) else model or []
    files = [model_file(config["models"][name]["architecture"]) for name in models]
    return digest(SCRIPTS / script, *files)


wildcard_constraints:
    model="|".join(config["models"]),
    molecule="|".join(config["molecules"]),
