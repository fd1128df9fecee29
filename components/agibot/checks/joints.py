"""Joints: whether a robot of this embodiment can have moved as the arrays say, and whether its sensors are alive."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from components.agibot.checks.evidence import Evidence
from components.agibot.checks.places import after, count, frames, in_file, rows, runs
from components.agibot.proprio import Array
from data_contracts.catalogue import Thresholds, finding
from data_contracts.embodiment import Limits
from data_contracts.reasons import Finding

ARMS = "state/joint/position"


def check_joints(evidence: Evidence) -> Iterator[Finding]:
    """All checks of this file, over arrays that have N rows each."""
    robot, arrays, allowed = evidence.robot, evidence.arrays, evidence.allowed
    for part, limits in (("joint", robot.arms), ("head", robot.head), ("waist", robot.waist)):
        for group in ("state", "action"):
            values = arrays.get(f"{group}/{part}/position")
            if values is not None and values.shape[1] == len(limits.lower):
                yield from check_limits(f"{group}/{part}/position", values, limits, allowed)
        values = arrays.get(f"state/{part}/position")
        if values is not None and values.shape[1] == len(limits.velocity):
            yield from check_velocity(f"state/{part}/position", values, limits, robot.fps, allowed)
    if ARMS in arrays:
        yield from check_jerk(arrays[ARMS], allowed)
        yield from check_idle(arrays[ARMS], robot.fps, allowed)
        if "action/joint/position" in arrays:
            yield from check_alive(arrays[ARMS], arrays["action/joint/position"], allowed)


def check_limits(key: str, values: Array, limits: Limits, allowed: Thresholds) -> Iterator[Finding]:
    """`values` (N, D) against lower and upper limits, rad or m."""
    lower, upper = np.asarray(limits.lower), np.asarray(limits.upper)
    beyond = np.maximum(values - upper, lower - values)
    levels = (
        ("kinematics.joint-limit", allowed.limit_impossible_rad),
        ("kinematics.joint-limit-margin", allowed.limit_margin_rad),
    )
    if found := _first_exceeded(beyond, levels):
        code, bad, frame, joint = found
        message = (
            f"{key} of dimension {joint} reaches {values[frame, joint]:.3f}, its limits are "
            f"{lower[joint]:.3f} .. {upper[joint]:.3f}; {count(bad, 'frame')}"
        )
        yield finding(code, message, f"{in_file(key)}, dimension {joint}, {frames(bad)}")


def check_velocity(key: str, values: Array, limits: Limits, fps: int, allowed: Thresholds) -> Iterator[Finding]:
    """Speed between frames against the velocity limits; `values` (N, D)."""
    speed, most = np.abs(np.diff(values, axis=0)) * fps, np.asarray(limits.velocity)
    share = np.divide(speed, most, out=np.where(speed > 0, np.inf, 0.0), where=most > 0)
    levels = (
        ("kinematics.velocity-impossible", allowed.velocity_impossible),
        ("kinematics.velocity-high", allowed.velocity_high),
    )
    if found := _first_exceeded(share, levels):
        code, bad, frame, joint = found
        message = (
            f"{key} of dimension {joint} moves at {speed[frame, joint]:.2f} per second, its limit is "
            f"{most[joint]:.2f}; {count(bad, 'frame')}"
        )
        yield finding(code, message, f"{in_file(key)}, dimension {joint}, {frames(after(bad))}")


def _first_exceeded(
    excess: Array, levels: Iterable[tuple[str, float]]
) -> tuple[str, NDArray[np.bool_], int, int] | None:
    """Of the levels, the gravest first, the one that `excess` (N, D) is above somewhere.

    Returns its code, the frames (N,) bool, and frame and dimension of the largest value; None if there is none.
    """
    for code, least in levels:
        bad = excess > least
        if bad.any():
            frame, joint = np.unravel_index(int(excess.argmax()), excess.shape)
            return code, rows(bad), int(frame), int(joint)
    return None


def check_jerk(joints: Array, allowed: Thresholds) -> Iterator[Finding]:
    """Single samples that stand out of an otherwise smooth motion: a robust z-score of the third differences.

    `joints` (N, D) rad. The scale is the median absolute deviation over all frames, and never less than a floor, since
    arms that mostly stand still would else make an outlier of every motion.
    """
    if len(joints) < 8:
        return
    jerk = np.diff(joints, n=3, axis=0)
    scale = np.maximum(1.4826 * np.median(np.abs(jerk), axis=0), allowed.jerk_floor_rad)
    z = np.abs(jerk) / scale
    bad = rows(z > allowed.jerk_z)
    if bad.any():
        frame, joint = np.unravel_index(int(z.argmax()), z.shape)
        message = (
            f"{ARMS} of dimension {joint} has a jerk of {jerk[frame, joint]:+.3f} rad per frame cubed, "
            f"{z[frame, joint]:.0f} times its usual one; {count(bad, 'frame')}"
        )
        mask = np.concatenate([[False], bad, [False, False]])
        yield finding("kinematics.jerk", message, f"{in_file(ARMS)}, dimension {joint}, {frames(mask)}")


def check_idle(joints: Array, fps: int, allowed: Thresholds) -> Iterator[Finding]:
    """Long stretches at either end, or most of the episode, in which no joint moves; `joints` (N, D) rad."""
    still = ~rows(np.abs(np.diff(joints, axis=0)) >= allowed.idle_rad)
    found = runs(still)
    ends = [(a, b) for a, b in found if (a == 0 or b == len(still)) and b - a > allowed.idle_s * fps]
    if ends or still.mean() > allowed.idle_share:
        longest = max((b - a for a, b in ends), default=0)
        message = (
            f"no joint moves at {still.mean():.0%} of the frames, for {longest / fps:.1f} s at an end of the episode"
        )
        yield finding("kinematics.idle", message, f"{in_file(ARMS)}, {frames(after(still))}")


def check_alive(joints: Array, commands: Array, allowed: Thresholds) -> Iterator[Finding]:
    """A joint whose measurement stands still to the last bit while its command moves; both (N, D) rad."""
    if joints.shape != commands.shape:
        return
    dead = (np.ptp(joints, axis=0) == 0) & (np.ptp(commands, axis=0) > allowed.alive_rad)
    if dead.any():
        joint = int(np.flatnonzero(dead)[0])
        message = (
            f"{ARMS} of dimension {joint} never changes while its command moves by "
            f"{np.ptp(commands[:, joint]):.2f} rad; {count(dead, 'such joint')}"
        )
        yield finding("kinematics.state-frozen", message, f"{in_file(ARMS)}, dimension {joint}")
