"""How a policy is trained online, on what it samples itself. Cheap to import: recipes read it without torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from components.training.config import TrainConfig
from data_contracts.base import Contract


class GrpoConfig(Contract):
    """Training by GRPO, or by its loss with another baseline. Defaults are those of R-Zero's solver."""

    prompts: int = Field(default=512, ge=1, description="of a rollout")
    group: int = Field(default=5, ge=1, description="completions of each prompt")
    baseline: Literal["group", "rollout"] = Field(
        default="group",
        description="whose mean and spread a reward is compared with: the same prompt's (GRPO), or the whole rollout's "
        "(REINFORCE++, arXiv 2501.03262)",
    )
    updates: int = Field(default=4, ge=1, description="optimiser steps on each rollout")
    max_tokens: int = Field(default=4096, ge=1, description="of a completion; a longer one is cut, and lacks its end")
    top_p: float = Field(default=0.99, gt=0, le=1)
    clip_low: float = Field(default=0.2, gt=0, lt=1)
    clip_high: float = Field(default=0.3, gt=0)
    dual_clip: float = Field(default=3.0, gt=1, description="limit of the loss of a bad token, in advantages")
    kl_weight: float = Field(default=0.01, ge=0, description="of the divergence from where the training started")

    @model_validator(mode="after")
    def _compares(self) -> GrpoConfig:
        if self.compared < 2:
            raise ValueError(
                f"baseline '{self.baseline}' compares {self.compared} completion with itself, which teaches nothing; "
                "raise grpo.group (or grpo.prompts) to 2 at least"
            )
        return self

    @property
    def sequences(self) -> int:
        """Of a rollout."""
        return self.prompts * self.group

    @property
    def compared(self) -> int:
        """How many completions, one after another, are compared with each other."""
        return self.group if self.baseline == "group" else self.sequences


def check_rollouts(grpo: GrpoConfig, train: TrainConfig) -> None:
    """Raises ValueError, with the mend, unless the steps of `train` use up whole rollouts."""
    if train.batch_size * grpo.updates != grpo.sequences:
        raise ValueError(
            f"a rollout of {grpo.prompts} prompts x {grpo.group} gives {grpo.sequences} sequences, but {grpo.updates} "
            f"updates of train.batch_size {train.batch_size} take {grpo.updates * train.batch_size}; set "
            f"train.batch_size={grpo.sequences // grpo.updates} and grpo.prompts so that updates divide the sequences"
        )
    if train.zero_stage == 3:
        raise ValueError("train.zero_stage 3 leaves no process whole weights to sample with; set it to 2")
    if train.steps % grpo.updates:
        raise ValueError(
            f"train.steps {train.steps} ends within a rollout of {grpo.updates} updates; use a multiple of grpo.updates"
        )
