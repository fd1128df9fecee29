"""How a network is trained. What is trained, and on what, belongs to the stages."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, model_validator

from data_contracts.base import Contract


class TrainConfig(Contract):
    """Optimiser, batch, parallelism and checkpoints of one training run (defaults: reference, "Loss, noise")."""

    steps: int = Field(gt=0)
    batch_size: int = Field(gt=0, description="samples per step over all processes")
    micro_batch: int = Field(default=0, ge=0, description="samples per forward pass of a process; 0: all that it has")
    learning_rate: float = Field(default=3e-5, gt=0)
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 1e-5
    warmup_steps: int = Field(default=1000, ge=0)
    decay: Literal["constant", "cosine"] = "constant"
    clip: float = Field(default=1.0, gt=0)
    ema: float = Field(default=0.0, ge=0, lt=1, description="decay of the averaged weights that are published; 0: none")
    precision: Literal["fp32", "bf16"] = "bf16"
    zero_stage: int = Field(
        default=2, ge=1, le=3, description="ZeRO: 1 shards optimiser state, 2 gradients too, 3 weights too"
    )
    recompute: bool = Field(
        default=False, description="compute activations again in the backward pass: less memory, a third more time"
    )
    processes: int = Field(default=8, ge=1, description="ranks; on a CPU, one thread each")
    checkpoint_seconds: float = Field(default=600.0, gt=0, description="seconds between resumable checkpoints")
    log_every: int = Field(default=50, ge=1)
    snapshots: int = Field(default=0, ge=0, description="versions kept on the way, evenly spread: a curve of success")

    @model_validator(mode="after")
    def _consistent(self) -> TrainConfig:
        if self.batch_size % self.processes:
            raise ValueError(
                f"batch_size {self.batch_size} cannot be split over {self.processes} processes; "
                f"use a multiple, e.g. {(self.batch_size // self.processes + 1) * self.processes}"
            )
        if self.micro_batch and self.share % self.micro_batch:
            raise ValueError(
                f"micro_batch {self.micro_batch} does not divide the {self.share} samples that a process has of each "
                f"batch; take a divisor of {self.share}, or 0 for all at once"
            )
        if self.warmup_steps >= self.steps:
            raise ValueError(
                f"warmup_steps {self.warmup_steps} leaves nothing of {self.steps} steps; lower warmup_steps"
            )
        if self.snapshots >= self.steps:
            raise ValueError(f"snapshots {self.snapshots} are not fewer than the {self.steps} steps; lower snapshots")
        if self.zero_stage == 3 and self.ema:
            raise ValueError(
                f"ema {self.ema} keeps whole weights, which zero_stage 3 shards; set ema=0 or zero_stage=2"
            )
        return self

    @property
    def share(self) -> int:
        """Samples that each process has of a step's batch."""
        return self.batch_size // self.processes

    @property
    def snapshot_steps(self) -> tuple[int, ...]:
        """After which steps a snapshot is kept."""
        return tuple(self.steps * (i + 1) // (self.snapshots + 1) for i in range(self.snapshots))

    def learning_rate_at(self, step: int) -> float:
        """Learning rate of step `step` (0-based): linear warm-up, then constant or cosine to a tenth."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        if self.decay == "constant":
            return self.learning_rate
        progress = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        return self.learning_rate * (0.1 + 0.45 * (1 + math.cos(math.pi * progress)))
