"""Functions of a batch as compiled programs."""

import hashlib
import logging
import threading
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import torch
from torch import Tensor

from ..runtime.cuda_graph import CudaGraphed
from ..runtime.files import lock, unlock
from .batch import Batch

log = logging.getLogger(__name__)
COMPILE_LOCK = threading.Lock()  # two threads cannot
BATCH_TENSORS = [field.name for field in fields(Batch) if field.name != "n_systems"]


class CompiledFunction:
    """`function` of a batch and further tensors, to tensors, as a program that torch.compile fuses.

    Gradients that the function takes are part of the program; the result has none. One program
    serves tensors of every size (sizes of none and of one get programs of their own). On a GPU it
    is CudaGraphed. Compilation, at the first call, takes up to a minute and, on the CPU, a C++
    compiler; where that is missing, or what the function does depends on values, it is called as it
    is from then on. Of processes that want the same program at the same time one compiles it, and
    the others take it from PyTorch's cache.
    """

    def __init__(self, function: Callable[..., tuple[Tensor, ...]]) -> None:
        self.function, self.compiled_ok = function, True
        self.programs: dict[tuple[int, ...], Callable[..., tuple[Tensor, ...]]] = {}

    def __call__(self, batch: Batch, *more: Tensor) -> tuple[Tensor, ...]:
        """What the function gives."""
        if not self.compiled_ok:
            return self.function(batch, *more)
        parts = {name: part for name in BATCH_TENSORS if (part := getattr(batch, name)) is not None}
        tensors = [*parts.values(), batch.pos.new_empty(batch.n_systems), *more]
        key = (len(parts), *(min(n, 2) for tensor in tensors for n in tensor.shape))
        with COMPILE_LOCK:  # of threads that want the same program one makes it, or finds it cannot
            if self.compiled_ok and key not in self.programs:
                try:
                    with torch.no_grad():
                        self.programs[key] = CudaGraphed(self._compile(list(parts), tensors))
                except RuntimeError as error:  # InductorError is one
                    self._fall_back(error)
        if not self.compiled_ok:
            return self.function(batch, *more)
        try:
            with torch.no_grad():
                return self.programs[key](*tensors)
        except RuntimeError as error:
            self._fall_back(error)
            return self.function(batch, *more)

    def _fall_back(self, error: RuntimeError) -> None:
        log.warning("going on without compilation: %s", " ".join(str(error).splitlines()[:2]))
        self.compiled_ok = False

    def _compile(
        self, names: list[str], tensors: list[Tensor]
    ) -> Callable[..., tuple[Tensor, ...]]:
        # not at the top: they take longer than all else that a model needs
        import torch.fx.experimental._config as symbolic
        from torch._inductor import compile as compile_graph
        from torch._inductor.runtime.cache_dir_utils import cache_dir
        from torch.fx.experimental.proxy_tensor import make_fx

        def of_tensors(*tensors: Tensor) -> tuple[Tensor, ...]:
            parts = dict(zip(names, tensors, strict=False))
            batch = Batch(n_systems=tensors[len(names)].shape[0], **parts)
            with torch.enable_grad():
                return self.function(batch, *tensors[len(names) + 1 :])

        with symbolic.patch(use_duck_shape=False):  # type: ignore[attr-defined]  # equal sizes differ
            trace = make_fx(of_tensors, tracing_mode="symbolic", _allow_non_fake_inputs=True)
            graph = trace(*tensors)
            inputs = [node for node in graph.graph.nodes if node.op == "placeholder"]
            symbols = [n.meta.get("val", t) for n, t in zip(inputs, tensors, strict=True)]
            name = hashlib.sha256(graph.code.encode()).hexdigest()[:16]
            # kernels called from C++: from Python the calls take a quarter of a step of dynamics
            native = tensors[0].device.type == "cpu"
            options: dict[str, bool | int] = {
                "cpp_wrapper": native,
                "cpp_wrapper_build_separate": native,
            }
            if native:  # by default the sines are taken anew for every harmonic they multiply
                options["realize_opcount_threshold"] = 15
            path = Path(cache_dir()) / f"nnpipe_{name}.lock"
            held = lock(path, wait=False)
            if held is None:  # another process compiles this program: wait until it is in the cache
                unlock(lock(path))
            try:
                return compile_graph(graph, symbols, options)
            finally:
                unlock(held)
