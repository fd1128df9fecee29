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
    velocity_high: float = Field(ge=1, description="times the velocity limit: a warning")
    velocity_impossible: float = Field(gt=1, description="times the velocity limit that no robot does")
    end_step_m: float = Field(gt=0, description="largest step of a flange between frames, m")
    quaternion_norm: float = Field(gt=0, description="largest |norm - 1|")
    gripper_margin: float = Field(ge=0, description="outside open..closed by more than this share of it: a warning")
    gripper_impossible: float = Field(ge=0, description="... and by more than this share: an error")
    gripper_command_margin: float = Field(ge=0, description="a gripper command may be outside 0..1 by this much")
    jerk_z: float = Field(gt=1, description="a third difference of a joint this many times its usual one is an outlier")
    jerk_floor_rad: float = Field(
        gt=0, description="the usual third difference is never taken as less, rad per frame^3"
    )
    idle_rad: float = Field(gt=0, description="a joint that moves less between frames stands still, rad")
    idle_s: float = Field(gt=0, description="longest stretch without motion at an end of the episode, s")
    idle_share: float = Field(gt=0, le=1, description="largest share of frames without motion")
    alive_rad: float = Field(gt=0, description="a joint must react to a command that moves by more than this, rad")
    end_turn_rad: float = Field(gt=0, description="largest turn of a flange between frames, rad")
    flange_residual_m: float = Field(gt=0, description="largest distance of a flange from where the joints put it, m")
    base_still: float = Field(gt=0, description="a base is told to move by more than this, m/s or rad/s")
    gripper_moves: float = Field(gt=0, le=1, description="a command that spans more than this must be followed")
    gripper_slope: float = Field(gt=0, description="least share of its command that a gripper follows")
    black_level: float = Field(ge=0, description="a frame of less mean brightness is black, of 255")
    black_share: float = Field(ge=0, le=1, description="largest share of black frames")
    blurred_share: float = Field(gt=0, lt=1, description="detail below this share of the video's median is a blur")
    blurred_frames: int = Field(gt=0, description="shortest run of blurred frames that counts")
    frozen_level: float = Field(gt=0, description="a mean change of brightness below this is none, of 255")
    frozen_frames: int = Field(gt=1, description="shortest run of equal frames that counts")
    frozen_travel_rad: float = Field(gt=0, description="... while a joint travels farther than this, rad")
    frozen_jump: float = Field(gt=1, description="... and times the usual change with which the pictures go on")
    swapped_correlation: float = Field(gt=0, description="by how much more pictures follow the other hand than theirs")
    depth_holes: float = Field(ge=0, le=1, description="largest share of pixels without depth")
    camera_step_m: float = Field(gt=0, description="largest step of the head's camera between frames, m")
    camera_turn_rad: float = Field(gt=0, description="largest turn of the head's camera between frames, rad")
    camera_still_m: float = Field(gt=0, description="a camera within this stands still, m")
    camera_travel_m: float = Field(gt=0, description="an arm whose flange moves over more than this works, m")
    out_of_view: float = Field(ge=0, le=1, description="largest share of frames with a working tool outside the image")
    rotation: float = Field(gt=0, description="largest |R^T R - I| element and |det R - 1|")
    focal_range: tuple[float, float] = Field(description="plausible focal length, in image widths")
    min_coverage: float = Field(ge=0, le=1, description="share of frames that language spans should cover")
    span_overlap_frames: int = Field(ge=0)
    span_gap_s: float = Field(gt=0)
    span_frames: int = Field(ge=1, description="shortest step worth a label")
    duplicate_joint_rad: float = Field(gt=0, description="joint angles equal to this are the same")
    near_rad: float = Field(gt=0, description="mean distance of two time-warped trajectories that are one motion, rad")
    near_bits: int = Field(ge=0, le=64, description="differing bits of the hashes of two pictures of one scene")
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
