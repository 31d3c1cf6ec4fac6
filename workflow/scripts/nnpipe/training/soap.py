"""SOAP: Adam in the eigenbasis of Shampoo's preconditioner (https://arxiv.org/abs/2409.11321).

On QM9 it reaches in 5 epochs the error that Adam needs 20 for, at nine tenths of its speed.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..runtime.cuda_graph import CudaGraphed
from ..runtime.device import to_device

LARGEST = 1024  # a side longer than this (an embedding, say) is not preconditioned


class SOAP(torch.optim.Optimizer):
    """Matrices by algorithm 3 of the paper, everything else by Adam with decoupled weight decay.

    lr: learning rate; betas: decay of both moments; shampoo_beta: decay of the preconditioner;
    every: steps between two refreshes of the eigenbasis. Parameters of one shape are updated
    together: small matrices cost little but calls. Their state, stacked, is that of the first.
    `parallel_map` is the `map` by which the shapes are updated.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.95, 0.95),
        shampoo_beta: float = 0.95,
        every: int = 10,
        eps: float = 1e-8,
        parallel_map: Callable[..., Iterable[Any]] = map,
    ) -> None:
        defaults = dict(lr=lr, weight_decay=weight_decay, betas=betas, shampoo_beta=shampoo_beta)
        super().__init__(parameters, defaults | dict(every=every, eps=eps))
        self.parallel_map = parallel_map
        groups = range(len(self.param_groups))
        self.updates = [CudaGraphed(partial(self._update, number)) for number in groups]

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step; every parameter must have a gradient. The first one only sets up the bases."""
        for group, update in zip(self.param_groups, self.updates, strict=True):
            gradients: list[Any] = [parameter.grad for parameter in group["params"]]
            if group["params"][0] not in self.state:
                self._initialise(group)
                continue
            states = [self.state[alike[0]] for alike in _alike(group)]
            for state in states:
                state["step"] += 1
            step = states[0]["step"].item()
            rates = (group["lr"], *(1 - beta**step for beta in group["betas"]))
            update(to_device(torch.tensor(rates), gradients[0].device), *gradients)
            if step % group["every"] == 0:
                list(self.parallel_map(_refresh, states))

    def _initialise(self, group: dict) -> None:
        for alike in _alike(group):
            state = self.state[alike[0]]
            grads: list[Any] = [parameter.grad for parameter in alike]
            gradient = torch.stack(grads)  # (L, m, n) or (L, n)
            state["step"] = torch.zeros(())
            state["mean"] = torch.zeros_like(gradient)
            state["square"] = torch.zeros_like(gradient)
            for side, length in zip(("left", "right"), gradient.shape[1:], strict=False):
                if gradient.ndim == 3 and 1 < length <= LARGEST:
                    state[side] = (1 - group["shampoo_beta"]) * _outer(gradient, side)
                    basis = torch.linalg.eigh(state[side])[1].flip(2)
                    state[f"{side}_basis"] = basis.contiguous()

    def _update(self, number: int, rates: Tensor, *gradients: Tensor) -> tuple[Tensor, ...]:
        """All that a step does but for the refresh; rates (3,): the learning rate, and what the
        moments have seen of their weight.
        """
        group = self.param_groups[number]
        given = dict(zip(group["params"], gradients, strict=True))
        list(self.parallel_map(partial(self._move, group, rates, given), _alike(group)))
        return ()

    @torch.no_grad()
    def _move(
        self, group: dict, rates: Tensor, given: dict[Tensor, Tensor], alike: list[Tensor]
    ) -> None:
        """The step of the parameters of one shape, with the gradients that are given."""
        (rate, seen1, seen2), (beta1, beta2) = rates.unbind(), group["betas"]
        state, gradient = self.state[alike[0]], torch.stack([given[one] for one in alike])
        sides = _sides(state)
        turned = _rotate(gradient, state, sides)
        state["mean"].lerp_(turned, 1 - beta1)  # both moments are kept in the eigenbasis
        state["square"].lerp_(turned.square(), 1 - beta2)
        root = (state["square"] / seen2).sqrt_().add_(group["eps"])
        change = _rotate(root.reciprocal_().mul_(state["mean"]), state, sides, back=True)
        change.mul_(rate / seen1)
        if group["weight_decay"]:
            torch._foreach_mul_(alike, 1 - rate * group["weight_decay"])
        torch._foreach_sub_(alike, change.unbind(0))
        for side in sides:
            state[side].lerp_(_outer(gradient, side), 1 - group["shampoo_beta"])


def _alike(group: dict) -> list[list[Tensor]]:
    """The parameters of a group, those of one shape together, the most numbers first."""
    alike = defaultdict(list)
    for parameter in group["params"]:
        alike[parameter.shape].append(parameter)
    return sorted(alike.values(), key=lambda some: -len(some) * some[0].numel())


def _sides(state: dict[str, Tensor]) -> list[str]:
    """Those from which a stack of parameters is preconditioned."""
    return [side for side in ("left", "right") if side in state]


def _outer(gradient: Tensor, side: str) -> Tensor:
    return gradient.bmm(gradient.mT) if side == "left" else gradient.mT.bmm(gradient)


def _rotate(
    matrix: Tensor, state: dict[str, Tensor], sides: list[str], back: bool = False
) -> Tensor:
    """`matrix` (L, m, n) in the eigenbasis, or back from it."""
    for side in sides:
        basis = state[f"{side}_basis"]
        if side == "left":
            matrix = (basis if back else basis.mT).bmm(matrix)
        else:
            matrix = matrix.bmm(basis.mT if back else basis)
    return matrix


@torch.no_grad()
def _refresh(state: dict[str, Tensor]) -> None:
    """One step of power iteration towards the eigenvectors, the largest eigenvalue first."""
    for side in _sides(state):
        basis, outer = state[f"{side}_basis"], state[side]
        powered = outer @ basis
        order = (basis * powered).sum(1).argsort(dim=1, descending=True)
        across = order[:, :, None] if side == "left" else order[:, None]
        state["square"].copy_(state["square"].take_along_dim(across, 1 if side == "left" else 2))
        mean = _rotate(state["mean"], state, [side], back=True)
        basis.copy_(torch.linalg.qr(powered.take_along_dim(order[:, None], 2))[0])
        state["mean"].copy_(_rotate(mean, state, [side]))
