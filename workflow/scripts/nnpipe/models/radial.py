"""Radial functions that go to zero at the cutoff, shared by the models."""

import math

import torch
from torch import Tensor


def envelope(x: Tensor) -> Tensor:
    """Polynomial from 1 at x = 0 to 0 at x >= 1, with two continuous derivatives at both ends.

    https://arxiv.org/abs/2003.03123, equation 8 with p = 3: 1 - 10 x^3 + 15 x^4 - 6 x^5.
    """
    x = x.clamp(0, 1)
    return 1 - x**3 * (10 - x * (15 - 6 * x))


def bessel(distance: Tensor, number: int, cutoff: float, dim: int = -1) -> Tensor:
    """`number` spherical Bessel functions of order 0 for `distance` (...) Å > 0, along a new `dim`.

    https://arxiv.org/abs/2003.03123, equation 7; not zero beyond the cutoff: use an envelope. Only
    the first is a sine: sin((n + 1) x) = 2 cos(x) sin(n x) - sin((n - 1) x).
    """
    angle = distance * (math.pi / cutoff)
    sines, twice = [torch.zeros_like(angle), torch.sin(angle)], 2 * torch.cos(angle)
    for _ in range(number - 1):
        sines.append(twice * sines[-1] - sines[-2])
    return math.sqrt(2 / cutoff) * torch.stack(sines[1:], dim) / distance.unsqueeze(dim)
