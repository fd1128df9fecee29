"""The JSON document of `orrery episodes validate SOURCE --json`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from data_contracts.base import Contract
from data_contracts.reasons import Finding

Verdict = Literal["accepted", "repaired", "quarantined"]
Decode = Literal["full", "sampled"]
"""How much of each video is decoded: every frame, or a few key frames."""
WEAKER: dict[Decode, dict[str, str]] = {
    "full": {},
    "sampled": {
        "video.undecodable": "at most eight key frames of each video are decoded; damage elsewhere goes unseen",
        "video.frame-count": "packets are counted, as the container lists them, not the frames that come out of them",
        "video.black": "seen at those key frames only",
        "video.blurred": "seen if two of those key frames in a row are blurred",
        "video.frozen": "seen if those key frames stay the same while joints move, and then jump or end",
        "video.hands-swapped": "not checked",
        "depth.format": "checked on eight images",
    },
}
"""By reason, what a way of decoding checks less well than `full`."""


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
    decode: Decode = "full"
    weaker: dict[str, str] = Field(default={}, description="by reason code, what was checked on samples or not at all")
