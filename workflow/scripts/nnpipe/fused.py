"""Functions of a batch as compiled programs."""

import hashlib
import logging
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import Tensor

from .batch import Batch

log = logging.getLogger(__name__)
TENSORS = [field.name for field in fields(Batch) if field.name != "size"]


class Fused:
    """`function` of a batch and further tensors, to tensors, as a program that torch.compile fuses.

    Gradients that the function takes are part of the program; the result has none. One program
    serves batches of every size (sizes of one get programs of their own). Compilation, at the first
    call, takes up to a minute and, on the CPU, a C++ compiler; where that is missing, or what the
    function does depends on values, it is called as it is from then on. Of processes that want the
    same program at the same time one compiles it, and the others take it from PyTorch's cache.
    """

    def __init__(self, function: Callable[..., tuple[Tensor, ...]]) -> None:
        self.function, self.works = function, True
        self.programs: dict[tuple[int, ...], Callable[..., tuple[Tensor, ...]]] = {}

    def __call__(self, batch: Batch, *more: Tensor) -> tuple[Tensor, ...]:
        """What the function gives."""
        if not self.works:
            return self.function(batch, *more)
        tensors = [*(getattr(batch, name) for name in TENSORS), torch.empty(batch.size), *more]
        key = (len(more), *(size == 1 for size in (*batch.neighbours.shape, batch.size)))
        try:
            with torch.no_grad():
                if key not in self.programs:
                    self.programs[key] = self._compile(tensors)
                return self.programs[key](*tensors)
        except RuntimeError as error:  # InductorError is one
            log.warning("going on without compilation: %s", " ".join(str(error).splitlines()[:2]))
            self.works = False
            return self.function(batch, *more)

    def _compile(self, tensors: list[Tensor]) -> Callable[..., tuple[Tensor, ...]]:
        # not at the top: they take longer than all else that a model needs
        import torch.fx.experimental._config as symbolic
        from torch._guards import TracingContext, detect_fake_mode, tracing
        from torch._inductor.compile_fx import compile_fx_inner
        from torch._inductor.decomposition import select_decomp_table
        from torch._inductor.runtime.cache_dir_utils import cache_dir
        from torch.func import functionalize
        from torch.fx.experimental.proxy_tensor import make_fx

        def of_tensors(*tensors: Tensor) -> tuple[Tensor, ...]:
            number = len(TENSORS)
            parts = dict(zip(TENSORS, tensors[:number], strict=True))
            batch = Batch(size=tensors[number].shape[0], **parts)
            with torch.enable_grad():
                return self.function(batch, *tensors[number + 1 :])

        def traced(function: Callable[..., Any], table: Any = None) -> torch.fx.GraphModule:
            trace = make_fx(function, table, "symbolic", _allow_non_fake_inputs=True)
            return trace(*tensors)

        with symbolic.patch(use_duck_shape=False):  # type: ignore[attr-defined]  # equal sizes differ
            # gradients first, then without what happens in place and in terms of simpler operations
            graph = traced(functionalize(traced(of_tensors)), select_decomp_table())
            graph.shape_env = None  # the inputs have it; the cache cannot read it
            parameters = _lift(graph)
            inputs = zip(
                graph.graph.find_nodes(op="placeholder"), [*parameters, *tensors], strict=True
            )
            symbols = [node.meta.get("val", given) for node, given in inputs]  # some are None
            name = hashlib.sha256(graph.code.encode()).hexdigest()[:16]
            lock = FileLock(Path(cache_dir()) / f"nnpipe_{name}.lock")
            try:
                lock.acquire(blocking=False)
            except Timeout:
                with lock:  # the other process is done
                    pass
            try:
                # the cache wants to know what the sizes are called
                with tracing(TracingContext(detect_fake_mode(symbols))):
                    program = compile_fx_inner(graph, symbols, is_inference=True)
                return lambda *given: program([*parameters, *given])
            finally:
                lock.release()


def _lift(graph: torch.fx.GraphModule) -> list[Tensor]:
    """Make the parameters that the graph holds its first inputs, and return them: what it holds
    counts as constant.
    """
    parameters, first = {}, next(iter(graph.graph.nodes))
    for node in list(graph.graph.nodes):
        if node.op == "get_attr" and isinstance(getattr(graph, node.target), torch.nn.Parameter):
            if node.target not in parameters:
                with graph.graph.inserting_before(first):
                    parameters[node.target] = graph.graph.placeholder(node.target)
                    parameters[node.target].meta = node.meta
            node.replace_all_uses_with(parameters[node.target])
            graph.graph.erase_node(node)
    graph.recompile()
    return [getattr(graph, name) for name in parameters]
