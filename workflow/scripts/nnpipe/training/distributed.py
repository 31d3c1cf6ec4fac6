"""Processes that share a training.

Each process of a group holds the whole model and computes a shard of each batch; the gradients are
summed over all processes. The training equals that in one process but for the order of sums.
"""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from ..errors import InputError
from ..runtime.job import PARENT
from ..runtime.signals import signal_handler


@dataclass(frozen=True)
class ProcessGroup:
    """The processes that share a training; this one has number `rank` of `size`."""

    rank: int = 0
    size: int = 1

    def shard(self, rows: Tensor) -> Tensor:
        """Return the rows of a batch that this process computes; there may be none."""
        return rows[self.rank :: self.size]

    def sum(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return the sums over all processes, which one message collects."""
        if self.size == 1:
            return list(tensors)
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        dist.all_reduce(flat)
        parts = flat.split([tensor.numel() for tensor in tensors])
        return [part.view(t.shape) for part, t in zip(parts, tensors, strict=True)]

    def any(self, flag: bool, device: torch.device) -> bool:
        """Return whether the flag of any process is set."""
        if self.size == 1:
            return flag
        return bool(self.sum([torch.tensor(float(flag), device=device)])[0])


SINGLE = ProcessGroup()


@contextmanager
def join_process_group() -> Iterator[ProcessGroup]:
    """Yield the group in which torchrun started this process, or a group of one."""
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


def run_in_group(module: str, path: Path, processes: int, nodes: int, threads: int) -> None:
    """Run `python -m module path` in processes that form a group.

    `processes` counts the processes of all nodes, `threads` the cores of one node. Several nodes
    need a Slurm job and a `path` that all of them can read. SIGTERM and SIGUSR1 are passed on as
    SIGTERM. Raises InputError if a process fails; it has written the reason.
    """
    group = ["--standalone", f"--nproc-per-node={processes // nodes}"]
    command: list[str] = []
    variables = os.environ | {
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "OMP_NUM_THREADS": str(max(1, threads * nodes // processes)),
        PARENT: str(os.getpid()),
    }
    if nodes > 1:
        if "SLURM_JOB_ID" not in os.environ:
            raise InputError("config: resources.nodes: needs a Slurm job; set it to 1")
        del variables[PARENT]  # the other nodes have no such process
        command = [
            "srun", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1",
            f"--cpus-per-task={threads}", "--cpu-bind=none",
        ]  # fmt: skip
        with socket.socket() as free:
            free.bind(("", 0))
            rendezvous = f"{socket.gethostname()}:{free.getsockname()[1]}"
        group[0] = f"--nnodes={nodes}"
        group += ["--rdzv-backend=c10d", f"--rdzv-endpoint={rendezvous}", "--rdzv-id=training"]
    command += [sys.executable, "-m", "torch.distributed.run", *group, "-m", module, str(path)]

    def forward(number: int, frame: object) -> None:
        # Slurm signals every process of a job, and a second signal would end torchrun at once
        if "SLURM_JOB_ID" not in os.environ:
            launcher.send_signal(signal.SIGTERM)

    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # torchrun inherits this
    launcher = subprocess.Popen(command, env=variables)
    signal.signal(signal.SIGUSR1, before)
    with signal_handler(forward):
        failed = launcher.wait()
    if failed:
        raise InputError(f"a training in {processes} processes failed; the reason stands above")
