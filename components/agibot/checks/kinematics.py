"""Limits, speeds and orientations: whether a robot of this embodiment can have done what the arrays say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.agibot.checks.arrays import closed_share
from components.agibot.checks.places import frames, in_file, rows
from components.agibot.proprio import Array
from data_contracts.catalogue import finding, thresholds
from data_contracts.embodiment import Embodiment, Limits
from data_contracts.reasons import Finding

Arrays = dict[str, NDArray[Any]]


def check_kinematics(arrays: Arrays, embodiment: Embodiment) -> Iterator[Finding]:
    """All checks of this file, over arrays that have N rows each."""
    for part, limits in (("joint", embodiment.arms), ("head", embodiment.head), ("waist", embodiment.waist)):
        for group in ("state", "action"):
            values = arrays.get(f"{group}/{part}/position")
            if values is not None and values.shape[1] == len(limits.lower):
                yield from check_limits(f"{group}/{part}/position", values, limits)
        values = arrays.get(f"state/{part}/position")
        if values is not None and values.shape[1] == len(limits.velocity):
            yield from check_velocity(f"state/{part}/position", values, limits, embodiment.fps)
    yield from check_grippers(arrays, embodiment)
    for key in ("state/end/orientation", "action/end/orientation", "state/robot/orientation"):
        if key in arrays:
            yield from check_quaternions(key, arrays[key])
    if "state/end/position" in arrays:
        yield from check_end_steps("state/end/position", arrays["state/end/position"])


def check_limits(key: str, values: Array, limits: Limits) -> Iterator[Finding]:
    """`values` (N, D) against lower and upper limits, rad or m."""
    allowed = thresholds()
    lower, upper = np.asarray(limits.lower), np.asarray(limits.upper)
    beyond = np.maximum(values - upper, lower - values)
    for code, least in (
        ("kinematics.joint-limit", allowed.limit_impossible_rad),
        ("kinematics.joint-limit-margin", allowed.limit_margin_rad),
    ):
        bad = beyond > least
        if bad.any():
            frame, joint = np.unravel_index(int(beyond.argmax()), beyond.shape)
            message = (
                f"{key} of dimension {joint} reaches {values[frame, joint]:.3f}, its limits are "
                f"{lower[joint]:.3f} .. {upper[joint]:.3f}; {int(rows(bad).sum())} frames"
            )
            yield finding(code, message, f"{in_file(key)}, dimension {joint}, {frames(rows(bad))}")
            return


def check_velocity(key: str, values: Array, limits: Limits, fps: int) -> Iterator[Finding]:
    """Speed between frames against the velocity limits; `values` (N, D)."""
    share = np.abs(np.diff(values, axis=0)) * fps / np.asarray(limits.velocity)
    for code, most in (
        ("kinematics.velocity-impossible", thresholds().velocity_impossible),
        ("kinematics.velocity-high", 1.0 + 1e-3),
    ):
        bad = share > most
        if bad.any():
            frame, joint = np.unravel_index(int(share.argmax()), share.shape)
            limit = limits.velocity[joint]
            message = (
                f"{key} of dimension {joint} moves at {share[frame, joint] * limit:.2f} per second, its limit is "
                f"{limit:.2f}; {int(rows(bad).sum())} frames"
            )
            mask = np.concatenate([[False], rows(bad)])
            yield finding(code, message, f"{in_file(key)}, dimension {joint}, {frames(mask)}")
            return


def check_grippers(arrays: Arrays, embodiment: Embodiment) -> Iterator[Finding]:
    """States in the raw unit against open..closed, commands against 0..1."""
    allowed = thresholds()
    for key, margin in (
        ("state/effector/position", allowed.gripper_margin),
        ("action/effector/position", allowed.gripper_command_margin),
    ):
        if key not in arrays:
            continue
        share = closed_share(arrays[key], embodiment) if key.startswith("state") else arrays[key]
        beyond = np.maximum(share - 1, -share)
        if not (beyond > margin).any():
            continue
        code = "kinematics.gripper-range"
        if (beyond > allowed.gripper_impossible).any():
            code, margin = "kinematics.gripper-impossible", allowed.gripper_impossible
        span = f"{arrays[key].min():.3g} .. {arrays[key].max():.3g}"
        usual = f"{embodiment.gripper_open:g} .. {embodiment.gripper_closed:g}" if key.startswith("state") else "0 .. 1"
        message = f"{key} spans {span}, usual is {usual}"
        yield finding(code, message, f"{in_file(key)}, {frames(rows(beyond > margin))}")


def check_quaternions(key: str, values: Array) -> Iterator[Finding]:
    """Unit norm of `values` (..., 4); zeros apart, since they are filled in rather than measured."""
    norms = np.linalg.norm(values, axis=-1).reshape(len(values), -1)
    zero = norms < 1e-6
    if zero.any():
        message = f"{key} is all zero at {int(rows(zero).sum())} frames"
        yield finding("kinematics.quaternion-zero", message, f"{in_file(key)}, {frames(rows(zero))}")
    off = (np.abs(norms - 1) > thresholds().quaternion_norm) & ~zero
    if off.any():
        worst = norms[off][np.abs(norms[off] - 1).argmax()]
        message = f"{key} has norms up to {worst:.4f} at {int(rows(off).sum())} frames; a rotation has 1"
        yield finding("kinematics.quaternion-norm", message, f"{in_file(key)}, {frames(rows(off))}")


def check_end_steps(key: str, positions: Array) -> Iterator[Finding]:
    """Steps of the flanges; `positions` (N, 2, 3) m."""
    steps = np.linalg.norm(np.diff(positions, axis=0), axis=-1)
    bad = steps > thresholds().end_step_m
    if bad.any():
        arm = ("left", "right")[int(steps.max(axis=0).argmax())]
        message = f"the {arm} flange steps {100 * steps.max():.1f} cm between frames; {int(rows(bad).sum())} such steps"
        yield finding("kinematics.end-step", message, f"{in_file(key)}, {frames(np.concatenate([[False], rows(bad)]))}")
