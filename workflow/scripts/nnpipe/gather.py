"""Reading of neighbours and summing over atoms, with gradients that are such readings and sums.

PyTorch's own gradient of indexing adds rows up one after the other, in an order that differs between
runs on several threads. But a pair of atoms stands in the lists of both, so what belongs to an atom
can be fetched: fast on many threads, and the same bits every time.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function


class Around(Function):
    """(N, K, ...) what the neighbours (N, K) of each atom have of `values` (N, ...), 0 where the
    `mask` (N, K) says that there is none; `reverse` (N, K) is the place among the N * K of the same
    pair seen from the neighbour.
    """

    @staticmethod
    def forward(  # type: ignore[override]  # as in the functions below
        ctx: Any, values: Tensor, neighbours: Tensor, reverse: Tensor, mask: Tensor
    ) -> Tensor:
        ctx.save_for_backward(neighbours, reverse, mask)
        return torch.where(_like(mask, values), values[neighbours], 0)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:  # type: ignore[override]
        return FromAround.apply(gradient, *ctx.saved_tensors), None, None, None


class FromAround(Function):
    """(N, ...) sums of what all atoms have of an atom in `values` (N, K, ...): transpose of Around."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, values: Tensor, neighbours: Tensor, reverse: Tensor, mask: Tensor
    ) -> Tensor:
        ctx.save_for_backward(neighbours, reverse, mask)
        values = values.flatten(0, 1)
        return torch.where(_like(mask, values), values[reverse], 0).sum(1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:  # type: ignore[override]
        return Around.apply(gradient, *ctx.saved_tensors), None, None, None


class OverAtoms(Function):
    """(B,) sums of `values` (N,) over the atoms of each molecule; `molecule` (N,) ascends."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, molecule: Tensor, size: int) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(molecule)
        ctx.size = size
        ends = torch.searchsorted(molecule, torch.arange(size, device=molecule.device), right=True)
        total = values.double().cumsum(0)[ends - 1]
        return torch.diff(total, prepend=total.new_zeros(1)).to(values.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        return ToAtoms.apply(gradient, *ctx.saved_tensors, ctx.size), None, None


class ToAtoms(Function):
    """(N,) what each atom's molecule has of `values` (B,): transpose of OverAtoms."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, molecule: Tensor, size: int) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(molecule)
        ctx.size = size
        return values[molecule]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        return OverAtoms.apply(gradient, *ctx.saved_tensors, ctx.size), None, None


def of_element(table: Tensor, z: Tensor) -> Tensor:
    """(N, F) rows `z` (N,) of `table` (elements, F), as a product of matrices: its gradient is one."""
    return (z[:, None] == torch.arange(table.shape[0], device=z.device)).to(table.dtype) @ table


def _like(mask: Tensor, values: Tensor) -> Tensor:
    """`mask` (N, K) with as many dimensions more as `values` (N, ...) has."""
    return mask.view(*mask.shape, *(1 for _ in values.shape[1:]))
