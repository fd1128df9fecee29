"""What a training process is told, and what it trains: the contract between a stage, the launcher and the loop."""

from __future__ import annotations

import importlib
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from components.store.errors import ConfigurationError
from components.training.config import TrainConfig
from data_contracts.base import Contract

SNAPSHOTS = "snapshots"
"""The folder of a run's scratch, and of what it publishes, that holds versions kept on the way."""


class Job(Contract):
    """One training run, as JSON in `job.json`. Paths are local to the machine of the process."""

    entry: str
    """`package.module:function` that builds the Trainee; it gets this job."""
    config: dict[str, object]
    train: TrainConfig
    seed: int
    inputs: dict[str, str]
    out: str
    scratch: str


class Trainee(Protocol):
    """What the loop trains. Everything random comes from the sample's own generator, so a step is a pure function of
    (seed, step, batch): it does not depend on how many processes share it, nor on whether the run was interrupted."""

    module: nn.Module

    def sample(self, generator: torch.Generator, number: int) -> dict[str, Tensor]:
        """One training sample. `number` counts a run's samples from 0, for those who walk through data in epochs."""

    def collate(self, samples: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """A process's samples of one step as one batch, samples along the first axis of every tensor; often `stack`.

        Every process calls it in every step, so it may agree with the others on what they all divide by.
        """

    def loss(self, module: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Scalars averaged over the batch: `loss`, which is minimised, and whatever else is worth a curve.

        What is minimised is the mean over micro-batches and processes, so a batch may be any part of a step's.
        """

    def save(self, path: Path) -> None:
        """Write the module's weights as they are now: a snapshot on the way. Rank 0 alone calls it."""

    def publish(self, out: Path) -> dict[str, float | int | str]:
        """Write the trained weights and whatever shows them into `out`; returns metrics. Rank 0 alone calls it."""


def stack(samples: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Samples of equal shapes as one batch."""
    return {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}


def build(job: Job) -> Trainee:
    """Import and call the job's entry. Raises ConfigurationError for an entry outside this project."""
    module, _, function = job.entry.partition(":")
    if not module.startswith("components.") or not function:
        raise ConfigurationError(f"training entry {job.entry!r} is not 'components.<module>:<function>'")
    trainee: Trainee = getattr(importlib.import_module(module), function)(job)
    return trainee


def save_parameters(module: nn.Module, path: Path) -> None:
    """A module's parameters as safetensors: what a snapshot holds."""
    save_file({name: p.detach().contiguous() for name, p in module.named_parameters()}, str(path))


@lru_cache(maxsize=2)
def epoch_order(seed: int, epoch: int, size: int) -> tuple[int, ...]:
    """In which order an epoch walks through `size` examples."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return tuple(torch.randperm(size, generator=generator).tolist())


def sample_generator(seed: int, step: int, index: int) -> torch.Generator:
    """The generator of sample `index` of step `step`."""
    mixed = (seed * 1_000_003 + step) * 1_000_003 + index
    return torch.Generator().manual_seed(mixed % (1 << 63))
