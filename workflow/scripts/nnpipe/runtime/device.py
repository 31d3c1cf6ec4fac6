"""What this process computes on: device, threads, memory."""

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
    """`cuda` if torch sees one and `name` is auto, else the CPU; else the device named.

    A process of torchrun takes the GPU of its own number. Raises InputError if that device is not
    there.
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
            f"device: {name!r} is not to be had ({reason}); use auto or cpu"
        ) from error


def use_threads(threads: int) -> int:
    """Make torch use `threads` threads, at most one per core, and return their number.

    More threads than cores are much slower than as many threads as cores.
    """
    torch.set_num_threads(min(threads, available_cores()))
    torch.set_flush_denormal(True)
    return torch.get_num_threads()


def thread_pool_map(number: int) -> Callable[..., Iterator[Any]]:
    """A `map` whose calls run side by side on `number` threads, each of which computes by itself.

    For functions that hardly hold Python's lock: threads that share every operation instead wait
    for each other after every one.
    """

    def start_thread() -> None:
        torch.set_num_threads(1)  # of this thread
        torch.set_flush_denormal(True)

    torch.get_num_threads()  # settles the caller's, which theirs would become
    return ThreadPoolExecutor(number, initializer=start_thread).map


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """`tensor` of the CPU on `device`, without waiting for it."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def peak_memory_mb(device: torch.device) -> float:
    """Largest memory used so far, MiB: of the GPU's allocator, or of this process on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
