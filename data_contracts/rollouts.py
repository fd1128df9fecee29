"""What a policy's online training says of its rollouts: for the report, and for people."""

from __future__ import annotations

from pydantic import Field

from data_contracts.base import Contract


class Example(Contract):
    """Something a model wrote, and what it earned or got."""

    text: str
    note: str


class RolloutSummary(Contract):
    """One rollout of a training: a line of `rollouts.jsonl`."""

    rollout: int = Field(ge=0)
    seconds: float = Field(ge=0, description="of sampling and rewarding")
    reward: float = Field(description="mean")
    informative: float = Field(
        ge=0, le=1, description="share of groups (of one prompt, or the rollout) whose rewards differ: only they teach"
    )
    tokens: float = Field(ge=0, description="mean length of a completion")
    cut: float = Field(ge=0, le=1, description="share of completions that did not end within max_tokens")
    of_task: dict[str, float] = Field(
        default_factory=dict, description="R-Zero's challenger: proper, uncertainty and repetition, means of the batch"
    )
    examples: tuple[Example, ...] = ()
