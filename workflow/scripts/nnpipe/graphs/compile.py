"""Compile functions of a batch."""

import hashlib
import logging
import threading
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from ..runtime.cuda_graph import CudaGraphed
from ..runtime.files import lock, unlock
from .batch import Batch

log = logging.getLogger(__name__)
COMPILE_LOCK = threading.Lock()  # PyTorch compiles in one thread at a time
BATCH_TENSORS = [field.name for field in fields(Batch) if field.name != "n_systems"]
TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-8}  # relative and absolute, by dtype of `pos`


class CompiledFunction:
    """A compiled version of `function(batch, *tensors) -> tensors`.

    The function must not change its arguments and must not draw random numbers. It may compute
    gradients; the results themselves have none. One program serves all shapes, except that
    dimensions of length 0 and 1 need programs of their own. On a GPU, CudaGraphed replays the
    program.

    The first call compiles: up to a minute and, on the CPU, a C++ compiler are needed. It then
    calls the eager function once and compares. Where compilation fails, or the results differ, a
    warning is logged and all calls use the eager function. Errors of a call are raised. If several
    processes need the same program, one compiles it and the others read PyTorch's cache.

    The sizes in the first call decide how operations are fused, hence the rounding of the results.
    PyTorch's cache returns a program that was compiled for other sizes; if `reproducible`, only one
    for the same sizes.
    """

    def __init__(
        self, function: Callable[..., tuple[Tensor, ...]], reproducible: bool = False
    ) -> None:
        self.function, self.reproducible, self.compiled_ok = function, reproducible, True
        self.programs: dict[tuple[int, ...], Callable[..., tuple[Tensor, ...]]] = {}

    def __call__(self, batch: Batch, *more: Tensor) -> tuple[Tensor, ...]:
        """Return the results of the function."""
        if not self.compiled_ok:
            return self.function(batch, *more)
        parts = {name: part for name in BATCH_TENSORS if (part := getattr(batch, name)) is not None}
        tensors = [*parts.values(), batch.pos.new_empty(batch.n_systems), *more]
        key = (len(parts), *(min(n, 2) for tensor in tensors for n in tensor.shape))
        with COMPILE_LOCK:  # one thread compiles, the others wait for its program or its failure
            if self.compiled_ok and key not in self.programs:
                eager = partial(self.function, batch, *more)
                return self._first_call(key, list(parts), tensors, eager, batch.pos.dtype)
        if not self.compiled_ok:
            return self.function(batch, *more)
        with torch.no_grad():
            return self.programs[key](*tensors)

    def _first_call(
        self,
        key: tuple[int, ...],
        names: list[str],
        tensors: list[Tensor],
        eager: Callable[[], tuple[Tensor, ...]],
        dtype: torch.dtype,
    ) -> tuple[Tensor, ...]:
        """Compile a program, return its results, and keep it if they are the eager results."""
        try:
            with torch.no_grad():
                program = CudaGraphed(self._compile(names, tensors))
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:  # InductorError is one
            self._fall_back(" ".join(str(error).splitlines()[:2]))
            return eager()
        with torch.no_grad():
            results = program(*tensors)
        try:
            expected = eager()
        except torch.OutOfMemoryError:  # the eager function needs more memory than the program
            log.warning("compiled results are not compared with eager results: out of memory")
        else:
            if reason := _difference(results, expected, TOLERANCE[dtype]):
                self._fall_back(f"compiled and eager results differ: {reason}")
                return expected
        self.programs[key] = program
        return results

    def _fall_back(self, reason: str) -> None:
        log.warning("continuing without compilation: %s", reason)
        self.compiled_ok = False

    def _compile(
        self, names: list[str], tensors: list[Tensor]
    ) -> Callable[..., tuple[Tensor, ...]]:
        # imported here, as they take longer to import than everything else that a model needs
        import torch.fx.experimental._config as symbolic
        from torch._inductor import compile as compile_graph
        from torch._inductor.runtime.cache_dir_utils import cache_dir
        from torch.fx.experimental.proxy_tensor import make_fx

        def of_tensors(*tensors: Tensor) -> tuple[Tensor, ...]:
            parts = dict(zip(names, tensors, strict=False))
            batch = Batch(n_systems=tensors[len(names)].shape[0], **parts)
            with torch.enable_grad():
                return self.function(batch, *tensors[len(names) + 1 :])

        with symbolic.patch(use_duck_shape=False):  # type: ignore[attr-defined]  # one symbol per size
            trace = make_fx(of_tensors, tracing_mode="symbolic", _allow_non_fake_inputs=True)
            graph = trace(*tensors)
            inputs = [node for node in graph.graph.nodes if node.op == "placeholder"]
            symbols = [n.meta.get("val", t) for n, t in zip(inputs, tensors, strict=True)]
            name = hashlib.sha256(graph.code.encode()).hexdigest()[:16]
            # call kernels from C++: calls from Python take a quarter of the time of an MD step
            native = tensors[0].device.type == "cpu"
            options: dict[str, bool | int] = {
                "cpp_wrapper": native,
                "cpp_wrapper_build_separate": native,
            }
            if native:  # by default, the sines are computed again for each harmonic
                options["realize_opcount_threshold"] = 15
            sizes = str([tuple(tensor.shape) for tensor in tensors]) if self.reproducible else ""
            path = Path(cache_dir()) / f"nnpipe_{name}.lock"
            held = lock(path, wait=False)
            if held is None:  # another process compiles this program: wait until it is in the cache
                unlock(lock(path))
            try:
                with torch.compiler.config.patch(cache_key_tag=sizes):  # type: ignore[attr-defined]
                    return compile_graph(graph, symbols, options)
            finally:
                unlock(held)


def _difference(results: tuple[Tensor, ...], expected: tuple[Tensor, ...], limit: float) -> str:
    """Return a description of the difference, empty if it is within `limit`."""
    try:
        torch.testing.assert_close(results, expected, rtol=limit, atol=limit, equal_nan=True)
    except AssertionError as error:
        return " ".join(str(error).split())
    return ""
