"""A linear regression trained by the real loop: what `orrery doctor` and the tests train to see that it works."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from components.training.job import Job


class Regression:
    """Learns y = x @ w from noise-free samples. `config.poison` makes the loss NaN."""

    def __init__(self, job: Job):
        torch.manual_seed(job.seed)
        self.module: nn.Module = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1))
        self._target = torch.arange(8.0) / 8
        self._poison = bool(job.config.get("poison", False))

    def sample(self, generator: torch.Generator) -> dict[str, Tensor]:
        x = torch.randn(8, generator=generator)
        return {"x": x, "y": (x @ self._target)[None]}

    def loss(self, module: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        loss = (module(batch["x"]) - batch["y"]).square().mean()
        return {"loss": loss * float("nan") if self._poison else loss}

    def save(self, path: Path) -> None:
        save_file(self.module.state_dict(), str(path))

    def publish(self, out: Path) -> dict[str, float | int | str]:
        self.save(out / "model.safetensors")
        return {}


def trainee(job: Job) -> Regression:
    """Entry of the training loop."""
    return Regression(job)
