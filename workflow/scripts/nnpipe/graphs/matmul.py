"""Sum over neighbours by batched matrix products, with gradients that are such products, too.

PyTorch's gradient of `bmm` returns transposed layouts that must be copied; these functions return
contiguous ones.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

MIN_COLUMNS = 16  # with fewer columns, MKL reaches a third of its usual speed


def neighbour_matmul(left: Tensor, right: Tensor) -> Tensor:
    """Return the products (N, m, c) of (N, m, K) and (N, K, c)."""
    result: Tensor = _Product.apply("neighbours", left, right)
    return result


def cat_last(first: Tensor, second: Tensor) -> Tensor:
    """Return both tensors, concatenated along the last dimension."""
    result: Tensor = _CatLast.apply(first, second)
    return result


class _CatLast(Function):
    """torch.cat with torch.cat as second derivative; PyTorch's own adds padded parts."""

    @staticmethod
    def forward(ctx: Any, first: Tensor, second: Tensor) -> Tensor:
        ctx.lengths = first.shape[-1], second.shape[-1]
        return torch.cat([first, second], -1)

    @staticmethod
    def backward(ctx: Any, *gradient: Tensor) -> tuple[Tensor, ...]:
        return gradient[0].split(ctx.lengths, -1)


class _Product(Function):
    """A batched matrix product over one axis; its gradients are products over the other two.

    Over neighbours: (N, m, K) and (N, K, c). Over columns: (N, m, c) and (N, K, c). Over rows:
    (N, m, K) and (N, m, c).
    """

    @staticmethod
    def forward(ctx: Any, over: str, left: Tensor, right: Tensor) -> Tensor:
        ctx.over = over
        ctx.save_for_backward(left, right)
        if over == "columns":
            return left.bmm(right.mT)
        left = left.mT if over == "rows" else left
        if right.shape[2] < MIN_COLUMNS:
            return right.mT.bmm(left.mT).mT.contiguous()
        return left.bmm(right)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        left, right = ctx.saved_tensors
        products = {
            "neighbours": (("columns", gradient, right), ("rows", left, gradient)),
            "columns": (("neighbours", gradient, right), ("rows", gradient, left)),
            "rows": (("columns", right, gradient), ("neighbours", left, gradient)),
        }[ctx.over]
        wanted = zip(products, ctx.needs_input_grad[1:], strict=True)
        return None, *(_Product.apply(*product) if want else None for product, want in wanted)
