"""The JSON document of `orrery episodes validate SOURCE --json`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from data_contracts.base import Contract
from data_contracts.reasons import Finding

Verdict = Literal["accepted", "repaired", "quarantined"]


class EpisodeVerdict(Contract):
    task_id: int
    episode_id: int
    verdict: Verdict
    findings: tuple[Finding, ...] = ()


class Summary(Contract):
    accepted: int = Field(ge=0)
    repaired: int = Field(ge=0)
    quarantined: int = Field(ge=0)
    frames: int = Field(ge=0, description="frames of the accepted and repaired episodes")
    seconds: float = Field(ge=0, description="recorded seconds of the accepted and repaired episodes")


class ValidationReport(Contract):
    source: str
    episodes: tuple[EpisodeVerdict, ...]
    summary: Summary
