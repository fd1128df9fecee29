"""A regression trained by the real loop, and what can go wrong in one: what the tests train to see that it works."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from components.training.job import Job, stack


class Regression:
    """Learns y = x @ w from noise-free samples.

    Counting the losses that a process computes from 1: that of `config.poison_at` and all that follow are NaN, and
    `config.hang_at` never comes.
    """

    def __init__(self, job: Job):
        torch.manual_seed(job.seed)
        self.module: nn.Module = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1))
        self._target = torch.arange(8.0) / 8
        config: dict[str, Any] = job.config
        self._poison_at, self._hang_at = (float(str(config.get(k, math.inf))) for k in ("poison_at", "hang_at"))
        self._losses = 0

    def sample(self, generator: torch.Generator, number: int) -> dict[str, Tensor]:
        x = torch.randn(8, generator=generator)
        return {"x": x, "y": (x @ self._target)[None]}

    def collate(self, samples: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        return stack(samples)

    def loss(self, module: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        self._losses += 1
        while self._losses == self._hang_at:
            time.sleep(1)
        loss = (module(batch["x"]) - batch["y"]).square().mean()
        return {"loss": loss * float("nan") if self._losses >= self._poison_at else loss}

    def save(self, path: Path) -> None:
        save_file(self.module.state_dict(), str(path))

    def publish(self, out: Path) -> dict[str, float | int | str]:
        self.save(out / "model.safetensors")
        return {}


def trainee(job: Job) -> Regression:
    """Entry of the training loop."""
    return Regression(job)
