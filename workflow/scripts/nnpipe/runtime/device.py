"""Device, threads and memory of this process."""

import os
import resource
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from .job import available_cores


def pick_device(name: str) -> torch.device:
    """Return the device `name`; auto is cuda if available, else cpu.

    A process of torchrun takes the GPU with its local rank. Raises InputError if the device is not
    available.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and "LOCAL_RANK" in os.environ:
        name = f"cuda:{os.environ['LOCAL_RANK']}"
    try:
        return torch.zeros(1, device=name).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"device: {name!r} is not available ({reason}); use auto or cpu"
        ) from error


def use_threads(threads: int) -> int:
    """Make torch use `threads` threads, at most one per core, and return their number.

    More threads than cores are much slower than as many threads as cores.
    """
    torch.set_num_threads(min(threads, available_cores()))
    torch.set_flush_denormal(True)
    return torch.get_num_threads()


def thread_pool_map(number: int) -> Callable[..., Iterator[Any]]:
    """Return a `map` that calls its function on `number` threads, in which torch uses one thread.

    For functions that rarely hold Python's lock. Threads that share every operation instead have to
    wait for each other after each one.
    """

    def start_thread() -> None:
        torch.set_num_threads(1)  # of this thread
        torch.set_flush_denormal(True)

    torch.get_num_threads()  # fixes the caller's number, which theirs would become
    return ThreadPoolExecutor(number, initializer=start_thread).map


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a copy of the CPU's `tensor` on `device`, without waiting for the transfer."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def peak_memory_mb(device: torch.device) -> float:
    """Return the peak memory in MiB of the GPU's allocator, or of this process on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
