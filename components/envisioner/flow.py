"""Rectified flow (reference, Sec. 3): x_sigma = (1 - sigma) x0 + sigma eps, velocity target eps - x0."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

TIMESTEPS = 1000.0
"""The network's time is sigma * 1000."""


def noised(x0: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    """x_sigma. `sigma` has shape (B,) or any shape that, padded with ones on the right, broadcasts over `x0`."""
    s = _pad(sigma, x0)
    return (1 - s) * x0 + s * noise


def velocity(x0: Tensor, noise: Tensor) -> Tensor:
    """What the network learns to predict; it does not depend on sigma."""
    return noise - x0


def euler(model: Callable[[Tensor, Tensor], Tensor], noise: Tensor, steps: int) -> Tensor:
    """Integrate from sigma = 1 to 0 in `steps` equal steps. `model(x, timestep (B,))` returns a velocity like `x`."""
    x = noise
    sigmas = torch.linspace(1.0, 0.0, steps + 1)
    for now, then in zip(sigmas[:-1].tolist(), sigmas[1:].tolist(), strict=True):
        timestep = x.new_full((x.shape[0],), now * TIMESTEPS)
        x = x + (then - now) * model(x, timestep)
    return x


def _pad(sigma: Tensor, like: Tensor) -> Tensor:
    return sigma.reshape(*sigma.shape, *([1] * (like.ndim - sigma.ndim)))
