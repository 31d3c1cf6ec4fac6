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


def around(values: Tensor, neighbours: Tensor, reverse: Tensor, mask: Tensor) -> Tensor:
    """(N, K, ...) what the neighbours (N, K) of each atom have of `values` (N, ...), 0 where `mask`
    (N, K) is False. `reverse` (K, N) says which of the N * K places has the same pair of atoms seen
    from the neighbour, -1 that there is none; neighbours come first so that a program which sums
    over them goes along the last dimension of what it sums.
    """
    return _linear(_around, _from_around, values, neighbours, reverse, mask)


def over_atoms(values: Tensor, molecule: Tensor, size: int) -> Tensor:
    """(size,) sums of `values` (N,) over the atoms of each molecule, NaN where one is not finite;
    `molecule` (N,) ascends.
    """
    numbers = torch.arange(size, device=molecule.device)
    return _linear(_over, _to, values, molecule, torch.searchsorted(molecule, numbers, right=True))


def of_element(table: Tensor, z: Tensor) -> Tensor:
    """(N, F) rows `z` (N,) of `table` (elements, F), as a product of matrices."""
    return (z[:, None] == torch.arange(table.shape[0], device=z.device)).to(table.dtype) @ table


def _linear(
    there: Callable[..., Tensor], back: Callable[..., Tensor], values: Tensor, *more: Tensor
) -> Tensor:
    result: Tensor = _Linear.apply(there, back, values, *more)
    return result


def _around(values: Tensor, neighbours: Tensor, reverse: Tensor, mask: Tensor) -> Tensor:
    return torch.where(_like(mask, values), values[neighbours], 0)


def _from_around(values: Tensor, neighbours: Tensor, reverse: Tensor, mask: Tensor) -> Tensor:
    values = values.flatten(0, 1)
    return torch.where(_like(reverse >= 0, values), values[reverse.clamp(min=0)], 0).sum(0)


def _like(mask: Tensor, values: Tensor) -> Tensor:
    """`mask` (N, K) with as many dimensions more as `values` (N, ...) has."""
    return mask.view(*mask.shape, *(1 for _ in values.shape[1:]))


def _over(values: Tensor, molecule: Tensor, ends: Tensor) -> Tensor:
    finite = values.isfinite()
    total = _differences(torch.where(finite, values, 0).double().cumsum(0), ends)
    broken = _differences((~finite).cumsum(0), ends)  # or one would break all that follow it
    return torch.where(broken > 0, torch.nan, total).to(values.dtype)


def _differences(total: Tensor, ends: Tensor) -> Tensor:
    return torch.diff(total[ends - 1], prepend=total.new_zeros(1))


def _to(values: Tensor, molecule: Tensor, ends: Tensor) -> Tensor:
    return values[molecule]
