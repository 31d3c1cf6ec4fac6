"""Gather values of neighbours and sum over atoms, with gradients that gather and sum, too.

PyTorch's gradient of indexing scatters: it adds rows one after the other, on several threads in an
order that differs between runs. But each pair of atoms is in the lists of both, so the gradient can
gather what belongs to an atom: fast on many threads, and with the same bits in every run.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function


class _Linear(Function):
    """`function(values, *more)`, linear in `values`, whose gradient is its `transpose`."""

    @staticmethod
    def forward(ctx: Any, *args: Any) -> Tensor:
        function, _, values, *more = args
        ctx.functions = args[:2]
        ctx.save_for_backward(*more)
        return function(values, *more)

    @staticmethod
    def backward(ctx: Any, *gradient: Tensor) -> tuple[Tensor | None, ...]:
        function, transpose = ctx.functions
        more = ctx.saved_tensors
        result = _Linear.apply(transpose, function, *gradient, *more)
        return None, None, result, *(None for _ in more)


def gather_neighbours(
    values: Tensor, neighbours: Tensor, reverse_idx: Tensor, mask: Tensor
) -> Tensor:
    """Return `values` (N, ...) of the `neighbours` (N, K) of each atom: (N, K, ...).

    The result is 0 where `mask` (N, K) is False. `reverse_idx` (K, N) is the slot, of N * K, of the
    same pair seen from the neighbour, or -1. K is its first dimension, so that a compiled sum over
    neighbours runs along contiguous memory.
    """
    return _linear(_gather, _scatter, values, neighbours, reverse_idx, mask)


def segment_sum(values: Tensor, system_idx: Tensor, n_systems: int) -> Tensor:
    """Return the sums (n_systems,) of `values` (N,) over the atoms of each system.

    `system_idx` (N,) ascends. The sum is NaN where one of its values is not finite.
    """
    systems = torch.arange(n_systems, device=system_idx.device)
    ends = torch.searchsorted(system_idx, systems, right=True)
    return _linear(_segment_sum, _expand, values, system_idx, ends)


def embed_elements(table: Tensor, z: Tensor) -> Tensor:
    """Return the rows `z` (N,) of `table` (elements, F): (N, F), as a matrix product."""
    return (z[:, None] == torch.arange(table.shape[0], device=z.device)).to(table.dtype) @ table


def _linear(
    function: Callable[..., Tensor], transpose: Callable[..., Tensor], values: Tensor, *more: Tensor
) -> Tensor:
    result: Tensor = _Linear.apply(function, transpose, values, *more)
    return result


def _gather(values: Tensor, neighbours: Tensor, reverse_idx: Tensor, mask: Tensor) -> Tensor:
    return torch.where(_like(mask, values), values[neighbours], 0)


def _scatter(values: Tensor, neighbours: Tensor, reverse_idx: Tensor, mask: Tensor) -> Tensor:
    values = values.flatten(0, 1)
    return torch.where(_like(reverse_idx >= 0, values), values[reverse_idx.clamp(min=0)], 0).sum(0)


def _like(mask: Tensor, values: Tensor) -> Tensor:
    """Return `mask` (N, K) with the further dimensions of `values` (N, ...), of length 1."""
    return mask.view(*mask.shape, *(1 for _ in values.shape[1:]))


def _segment_sum(values: Tensor, system_idx: Tensor, ends: Tensor) -> Tensor:
    finite = values.isfinite()
    total = _differences(torch.where(finite, values, 0).double().cumsum(0), ends)
    # counted separately, as a cumulative sum would carry NaN into all later systems
    broken = _differences((~finite).cumsum(0), ends)
    return torch.where(broken > 0, torch.nan, total).to(values.dtype)


def _differences(total: Tensor, ends: Tensor) -> Tensor:
    return torch.diff(total[ends - 1], prepend=total.new_zeros(1))


def _expand(values: Tensor, system_idx: Tensor, ends: Tensor) -> Tensor:
    return values[system_idx]
