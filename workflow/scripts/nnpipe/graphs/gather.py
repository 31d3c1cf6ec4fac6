"""Reading of neighbours and summing over atoms, with gradients that are such readings and sums.

PyTorch's own gradient of indexing adds rows up one after the other, in an order that differs from
run to run on several threads. But a pair of atoms stands in the lists of both, so what belongs to
an atom can be fetched: fast on many threads, and the same bits every time.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function


class _Linear(Function):
    """`there(values, *more)`, linear in values (...), with `back` as its transpose."""

    @staticmethod
    def forward(ctx: Any, *args: Any) -> Tensor:
        there, _, values, *more = args
        ctx.functions = args[:2]
        ctx.save_for_backward(*more)
        return there(values, *more)

    @staticmethod
    def backward(ctx: Any, *gradient: Tensor) -> tuple[Tensor | None, ...]:
        there, back = ctx.functions
        more = ctx.saved_tensors
        return None, None, _Linear.apply(back, there, *gradient, *more), *(None for _ in more)


def gather_neighbours(
    values: Tensor, neighbours: Tensor, reverse_idx: Tensor, mask: Tensor
) -> Tensor:
    """(N, K, ...) what the neighbours (N, K) of each atom have of `values` (N, ...), 0 where `mask`
    (N, K) is False. `reverse_idx` (K, N) is the slot, of N * K, of the same pair of atoms seen from
    the neighbour, or -1; neighbours come first so that a program which sums
    over them goes along the last dimension of what it sums.
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
    """(N, F) rows `z` (N,) of `table` (elements, F), as a product of matrices."""
    return (z[:, None] == torch.arange(table.shape[0], device=z.device)).to(table.dtype) @ table


def _linear(
    there: Callable[..., Tensor], back: Callable[..., Tensor], values: Tensor, *more: Tensor
) -> Tensor:
    result: Tensor = _Linear.apply(there, back, values, *more)
    return result


def _gather(values: Tensor, neighbours: Tensor, reverse_idx: Tensor, mask: Tensor) -> Tensor:
    return torch.where(_like(mask, values), values[neighbours], 0)


def _scatter(values: Tensor, neighbours: Tensor, reverse_idx: Tensor, mask: Tensor) -> Tensor:
    values = values.flatten(0, 1)
    return torch.where(_like(reverse_idx >= 0, values), values[reverse_idx.clamp(min=0)], 0).sum(0)


def _like(mask: Tensor, values: Tensor) -> Tensor:
    """`mask` (N, K) with as many dimensions more as `values` (N, ...) has."""
    return mask.view(*mask.shape, *(1 for _ in values.shape[1:]))


def _segment_sum(values: Tensor, system_idx: Tensor, ends: Tensor) -> Tensor:
    finite = values.isfinite()
    total = _differences(torch.where(finite, values, 0).double().cumsum(0), ends)
    broken = _differences((~finite).cumsum(0), ends)  # or one would break all that follow it
    return torch.where(broken > 0, torch.nan, total).to(values.dtype)


def _differences(total: Tensor, ends: Tensor) -> Tensor:
    return torch.diff(total[ends - 1], prepend=total.new_zeros(1))


def _expand(values: Tensor, system_idx: Tensor, ends: Tensor) -> Tensor:
    return values[system_idx]
