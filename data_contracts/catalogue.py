"""Reasons and thresholds of the checks, read from `limits/*.json`: they are data, so that a change is a clean diff."""

from __future__ import annotations

import json
from functools import lru_cache
from importlib import resources

from pydantic import Field, TypeAdapter

from data_contracts.base import Contract
from data_contracts.reasons import Finding, Reason


class Thresholds(Contract):
    """What the checks compare with. Sources: the AgiBot-World card, its users' reports, LeRobot's tolerance."""

    period_tolerance: float = Field(gt=0, description="largest relative deviation of the median frame period")
    jitter_ms: float = Field(gt=0, description="largest 99th percentile of |frame period - nominal|, ms")
    short_gap_periods: float = Field(gt=1, description="a period longer than this many nominal ones is a short gap")
    gap_s: float = Field(gt=0, description="a pause longer than this makes an episode unusable, s")
    duration_tolerance: float = Field(gt=0, description="largest relative deviation of the duration from frames/fps")
    limit_margin_rad: float = Field(ge=0, description="beyond a joint limit by more than this is a warning, rad or m")
    limit_impossible_rad: float = Field(ge=0, description="... and by more than this an error, rad or m")
    velocity_impossible: float = Field(gt=1, description="times the velocity limit that no robot does")
    end_step_m: float = Field(gt=0, description="largest step of a flange between frames, m")
    quaternion_norm: float = Field(gt=0, description="largest |norm - 1|")
    gripper_margin: float = Field(ge=0, description="outside open..closed by more than this share of it: a warning")
    gripper_impossible: float = Field(ge=0, description="... and by more than this share: an error")
    gripper_command_margin: float = Field(ge=0, description="a gripper command may be outside 0..1 by this much")
    rotation: float = Field(gt=0, description="largest |R^T R - I| element and |det R - 1|")
    focal_range: tuple[float, float] = Field(description="plausible focal length, in image widths")
    min_coverage: float = Field(ge=0, le=1, description="share of frames that language spans should cover")
    span_overlap_frames: int = Field(ge=0)
    span_gap_s: float = Field(gt=0)
    duplicate_joint_rad: float = Field(gt=0, description="joint angles equal to this are the same")
    max_frames: int = Field(gt=0, description="longest episode that is read")
    max_pixels: int = Field(gt=0, description="largest image that is decoded")
    max_proprio_bytes: int = Field(gt=0, description="largest proprio_stats.h5, and the largest array in it")
    max_json_bytes: int = Field(gt=0)
    max_members: int = Field(gt=0, description="most members of one tar")
    seconds_per_episode: float = Field(gt=0, description="deadline of reading one episode, plus ...")
    seconds_per_megabyte: float = Field(gt=0, description="... this for each MB of its files")


@lru_cache
def catalogue() -> dict[str, Reason]:
    """Every reason by its code, in the catalogue's order."""
    reasons = TypeAdapter(tuple[Reason, ...]).validate_json(_limits("reasons.json"))
    found = {reason.code: reason for reason in reasons}
    if len(found) < len(reasons):
        raise ValueError("limits/reasons.json names a code twice")
    return found


@lru_cache
def thresholds() -> Thresholds:
    """The thresholds in force."""
    return Thresholds.model_validate({k: v["value"] for k, v in json.loads(_limits("thresholds.json")).items()})


def finding(code: str, message: str, where: str = "") -> Finding:
    """A finding of a catalogued reason, with the catalogue's severity. Raises KeyError for a code that is not there."""
    return Finding(code=code, severity=catalogue()[code].severity, message=message, where=where)


def _limits(name: str) -> str:
    return (resources.files("data_contracts") / "limits" / name).read_text(encoding="utf-8")
