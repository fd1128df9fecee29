"""What a closed-loop evaluation found: `result.json` of an `evaluations/…` version, one per arm."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from data_contracts.base import Contract

Arm = Literal["expert", "policy", "from-scratch", "mean-action"]


class EpisodeOutcome(Contract):
    """One simulated episode. The same (task, level, seed) is the same scene for every arm."""

    task: str
    level: int = Field(ge=1)
    seed: int
    success: bool
    steps: int = Field(ge=0, description="control ticks until success or the limit")
    video: str = Field(default="", description="path of its video inside the version, if one was kept")


class EvaluationResult(Contract):
    """All episodes of one arm on held-out seeds."""

    arm: Arm
    embodiment: str
    episodes: tuple[EpisodeOutcome, ...] = Field(min_length=1)

    @property
    def successes(self) -> int:
        return sum(e.success for e in self.episodes)

    def of_task(self, task: str) -> tuple[EpisodeOutcome, ...]:
        return tuple(e for e in self.episodes if e.task == task)
