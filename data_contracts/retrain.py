"""What a recurring retrain decides, and what it tells people of it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from data_contracts.base import Contract

Mode = Literal["skip", "adapt", "full"]


class RetrainDecision(Contract):
    """`decision.json` of `evaluations/<policy>-retrain/<version>`: whether to train, from which weights, and why."""

    policy: str
    mode: Mode
    reason: str = Field(description="one sentence")
    dataset: str = Field(default="", description="prefix of the dataset's last version; '' if it has none")
    judged: str = Field(default="", description="the dataset version that the last policy before the gate learned from")
    base: str = Field(default="", description="the published policy whose weights are adapted")
    new_episodes: int = Field(default=0, ge=0, description="episodes that `judged` lacks")
    drift: float | None = Field(default=None, ge=0, description="largest shift of a mean action, in deviations")


class RetrainNotice(Contract):
    """`runs/<pipeline>/<run>/notice.json`, and the body of the webhook's request."""

    text: str = Field(description="what happened, in one line; the field that chat services show")
    run: str
    pipeline: str
    status: str = Field(description="SUCCEEDED, or KFP's word for what happened instead")
    policy: str
    mode: str = Field(default="", description="'' if the run ended before it decided")
    reason: str = ""
    candidate: str = Field(default="", description="version that the channel `candidate` names after the run")
    problems: tuple[str, ...] = Field(default=(), description="of each stage that failed: its name and message")
    delivery: str = Field(default="", description="how the webhook went; '' if none is named")
