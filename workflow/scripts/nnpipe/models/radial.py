"""Radial functions that are zero at the cutoff, shared by the models."""

import math

import torch
from torch import Tensor


def envelope(x: Tensor) -> Tensor:
    """Return 1 - 10 x^3 + 15 x^4 - 6 x^5, with x clamped to [0, 1].

    It falls from 1 to 0, with two continuous derivatives at both ends.
    https://arxiv.org/abs/2003.03123, equation 8 with p = 3.
    """
    x = x.clamp(0, 1)
    return 1 - x**3 * (10 - x * (15 - 6 * x))


def bessel(distance: Tensor, number: int, cutoff: float, dim: int = -1) -> Tensor:
    """Return `number` spherical Bessel functions of order 0 of `distance` (...) Å > 0.

    They lie along a new dimension, `dim` < 0. They are not zero beyond the cutoff: multiply by an
    envelope. https://arxiv.org/abs/2003.03123, equation 7.
    """
    n = torch.arange(1, number + 1, device=distance.device, dtype=distance.dtype)
    distance = distance.unsqueeze(dim)
    arguments = distance / cutoff * (math.pi * n).view(-1, *(1,) * (-1 - dim))
    return math.sqrt(2 / cutoff) * torch.sin(arguments) / distance
