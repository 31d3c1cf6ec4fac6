"""Functions of tensors as CUDA graphs: one launch instead of one launch per kernel."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import increment_version

MAX_GRAPHS = 64  # graphs per function; each keeps its inputs in memory


class CudaGraphed:
    """Call `function` as a CUDA graph, which the second call with the same shapes records.

    `function` maps tensors to tensors. It may change other tensors in place, but must not read
    tensor values on the host. Outputs are overwritten by the next call. Inputs are kept alive and
    copied again only if replaced or modified. On the CPU, `function` is called directly.
    """

    def __init__(self, function: Callable[..., tuple[Tensor, ...]]) -> None:
        self.function = function
        self.graphs: dict[tuple[torch.Size, ...], tuple | None] = {}
        self.pool: Any = None  # of memory, shared by the graphs

    def __call__(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs of `function`."""
        if tensors[0].device.type != "cuda":
            return self.function(*tensors)
        shapes = tuple(tensor.shape for tensor in tensors)
        if shapes not in self.graphs:
            if len(self.graphs) < MAX_GRAPHS:
                self.graphs[shapes] = None
            return self.function(*tensors)
        graph, inputs, sources, results = self.graphs[shapes] or self._record(shapes, tensors)
        for place, tensor in enumerate(tensors):
            seen, version = sources[place]
            if seen is not tensor or version != tensor._version:
                inputs[place].copy_(tensor)
                sources[place] = tensor, tensor._version
        graph.replay()
        for result in results:
            increment_version(result)  # replay() does not
        return results

    def _record(self, shapes: tuple[torch.Size, ...], tensors: tuple[Tensor, ...]) -> tuple:
        self.pool = self.pool or torch.cuda.graph_pool_handle()
        graph, inputs = torch.cuda.CUDAGraph(), [tensor.clone() for tensor in tensors]
        with torch.cuda.graph(graph, self.pool, capture_error_mode="thread_local"):
            results = self.function(*inputs)
        recorded = graph, inputs, [(None, 0)] * len(inputs), results
        self.graphs[shapes] = recorded
        return recorded
