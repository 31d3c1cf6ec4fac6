"""The processes of a training: several that share the work, each of which can be asked to stop.

With several, every process holds the whole model and takes its share of every batch; gradients are
summed over all of them. So the training is that of one process, but for the order of sums.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from ..errors import InputError
from ..runtime.device import use_threads
from ..runtime.job import PARENT, job


@dataclass(frozen=True)
class ProcessGroup:
    """The processes of a training; this one is number `rank` of `size`."""

    rank: int = 0
    size: int = 1

    def shard(self, rows: Tensor) -> Tensor:
        """The part of the rows of a batch that is this process's; may be empty."""
        return rows[self.rank :: self.size]

    def sum(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Sums over all processes, in one message."""
        if self.size == 1:
            return list(tensors)
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        dist.all_reduce(flat)
        parts = flat.split([tensor.numel() for tensor in tensors])
        return [part.view(t.shape) for part, t in zip(parts, tensors, strict=True)]

    def any(self, flag: bool, device: torch.device) -> bool:
        """Whether the flag of any process is set."""
        if self.size == 1:
            return flag
        return bool(self.sum([torch.tensor(float(flag), device=device)])[0])


SINGLE = ProcessGroup()


@contextmanager
def join_process_group() -> Iterator[ProcessGroup]:
    """The process group of torchrun that this process belongs to, or a group of one."""
    size = int(os.environ.get("WORLD_SIZE", 1))
    if size == 1:
        yield SINGLE
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield ProcessGroup(dist.get_rank(), size)
    finally:
        dist.destroy_process_group()


def work_together(
    work: Callable[[], None],
    processes: int,
    threads: int,
    log: str | Path,
    nodes: int,
    meeting: str,
) -> None:
    """Run `work` with its threads in this process, or in several that share them.

    On each of several nodes this is called for `processes` of its own; they meet at that address.
    """
    if processes * nodes == 1:
        _member(work, threads)
    else:
        share = work, max(1, threads // processes), log
        _launch(_member, share, processes, nodes, meeting)


def on_nodes(module: str, told: dict[str, Any], nodes: int, threads: int) -> None:
    """Run `python -m module`, with `told` as JSON, once on each node of this job of Slurm.

    `meeting`, an address at which the nodes can meet, is told them, too. Raises InputError outside
    of such a job, or if one of them fails; it has said why.
    """
    if "SLURM_JOB_ID" not in os.environ:
        raise InputError("config: resources.nodes: needs a job of Slurm around it; set it to 1")
    with socket.socket() as free:
        free.bind(("", 0))
        meeting = f"{socket.gethostname()}:{free.getsockname()[1]}"
    variables = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    variables.pop(PARENT, None)  # of this node alone
    command = [
        "srun", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1",
        f"--cpus-per-task={threads}", "--cpu-bind=none",
        sys.executable, "-m", module, json.dumps(told | {"meeting": meeting}),
    ]  # fmt: skip
    if subprocess.run(command, env=variables).returncode:
        raise InputError(f"the training on {nodes} nodes failed; its reason stands above")


def _member(work: Callable[[], None], threads: int, log: str | Path | None = None) -> None:
    use_threads(threads)
    with job(log, alone=False) if log and os.environ["RANK"] == "0" else nullcontext():
        work()


def _launch(
    work: Callable[..., None], arguments: tuple[Any, ...], processes: int, nodes: int, meeting: str
) -> None:
    """Run `work`, which with its arguments must be fit for pickling, in processes that make a team.

    Raises InputError if one of them fails; it has said why.
    """
    config = LaunchConfig(
        min_nodes=nodes, max_nodes=nodes, nproc_per_node=processes, max_restarts=0,
        monitor_interval=0.5, run_id=meeting, rdzv_backend="c10d", rdzv_endpoint=meeting,
    )  # fmt: skip
    try:
        elastic_launch(config, work)(*arguments)
    except ChildFailedError as error:
        rank = error.get_first_failure()[0]
        total = processes * nodes
        raise InputError(f"process {rank} of {total} failed; its reason stands above") from None


@contextmanager
def stop_on_signal() -> Iterator[Callable[[], bool]]:
    """A function that tells whether SIGTERM or SIGUSR1 came, as before a cluster's time limit.

    They do not end the process within the block.
    """
    seen: list[int] = []
    before = {
        number: signal.signal(number, lambda number, frame: seen.append(number))
        for number in (signal.SIGTERM, signal.SIGUSR1)
    }
    try:
        yield lambda: bool(seen)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
