"""What the training tests run in processes of their own.

Imports little: the server that forks these processes has imported the rest (see test_train.py).
"""

import os
from typing import Any


def train_in_group(environment: dict[str, str], path: str) -> None:
    """Train as one process of a group, as torchrun would start it."""
    from nnpipe.training.run import run_process

    os.environ.update(environment)
    run_process(path)


def train_as_job(processes: int, log: str, arguments: dict[str, Any]) -> None:
    """Train as the script of the rule does."""
    from nnpipe.runtime.job import job
    from nnpipe.training.run import launch

    with job(log, processes):
        launch(processes, 1, processes, log, **arguments)
