"""Flanges: orientations, jumps, and whether the recorded poses are those that the joint angles give."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from components.agibot.checks.evidence import Evidence
from components.agibot.checks.places import after, count, frames, in_file, rows
from components.agibot.proprio import Array
from data_contracts.catalogue import Thresholds, finding
from data_contracts.profile import Chain
from data_contracts.reasons import Finding

SIDES = ("left", "right")
POSITION, ORIENTATION, ODOMETRY = "state/end/position", "state/end/orientation", "state/robot/position"


def check_flanges(evidence: Evidence) -> Iterator[Finding]:
    """All checks of this file, over arrays that have N rows each."""
    arrays, allowed = evidence.arrays, evidence.allowed
    for key in (ORIENTATION, "action/end/orientation", "state/robot/orientation"):
        if key in arrays:
            yield from check_quaternions(key, arrays[key], allowed)
    if ORIENTATION in arrays:
        yield from check_turns(arrays[ORIENTATION], allowed)
    if POSITION in arrays:
        yield from check_steps(arrays[POSITION], allowed)
        joints = evidence.arm_joints()
        if joints is not None and evidence.chains is not None:
            yield from check_residual(joints, arrays[POSITION], evidence.chains, allowed)
    if ODOMETRY not in arrays and "action/robot/velocity" in arrays:
        yield from check_odometry(arrays["action/robot/velocity"], allowed)


def check_quaternions(key: str, values: Array, allowed: Thresholds) -> Iterator[Finding]:
    """Unit norm of `values` (..., 4); zeros apart, since they are filled in rather than measured."""
    norms = np.linalg.norm(values, axis=-1).reshape(len(values), -1)
    zero = norms < 1e-6
    if zero.any():
        message = f"{key} is all zero at {count(rows(zero), 'frame')}"
        yield finding("kinematics.quaternion-zero", message, f"{in_file(key)}, {frames(rows(zero))}")
    off = (np.abs(norms - 1) > allowed.quaternion_norm) & ~zero
    if off.any():
        worst = norms[off][np.abs(norms[off] - 1).argmax()]
        message = f"{key} has norms up to {worst:.4f} at {count(rows(off), 'frame')}; a rotation has 1"
        yield finding("kinematics.quaternion-norm", message, f"{in_file(key)}, {frames(rows(off))}")


def check_turns(orientations: Array, allowed: Thresholds) -> Iterator[Finding]:
    """Angles between frames of `orientations` (N, 2, 4); q and -q are the same rotation."""
    norms = np.linalg.norm(orientations, axis=-1)
    products = norms[1:] * norms[:-1]
    dots = np.abs((orientations[1:] * orientations[:-1]).sum(axis=-1))
    turns = 2 * np.arccos(np.clip(np.divide(dots, products, out=np.ones_like(dots), where=products > 1e-6), 0, 1))
    bad = turns > allowed.end_turn_rad
    if bad.any():
        arm = SIDES[int(turns.max(axis=0).argmax())]
        message = f"the {arm} flange turns by {turns.max():.2f} rad between frames; {count(rows(bad), 'such turn')}"
        yield finding("kinematics.end-turn", message, f"{in_file(ORIENTATION)}, {frames(after(rows(bad)))}")


def check_steps(positions: Array, allowed: Thresholds) -> Iterator[Finding]:
    """Steps of the flanges; `positions` (N, 2, 3) m."""
    steps = np.linalg.norm(np.diff(positions, axis=0), axis=-1)
    bad = steps > allowed.end_step_m
    if bad.any():
        arm = SIDES[int(steps.max(axis=0).argmax())]
        message = f"the {arm} flange steps {100 * steps.max():.1f} cm between frames; {count(rows(bad), 'such step')}"
        yield finding("kinematics.end-step", message, f"{in_file(POSITION)}, {frames(after(rows(bad)))}")


def check_residual(
    joints: Array, positions: Array, chains: tuple[Chain, Chain], allowed: Thresholds
) -> Iterator[Finding]:
    """Each arm's recorded flange, `positions` (N, 2, 3) m, against the one that `joints` (N, 2, J) rad put there."""
    for arm, (side, chain) in enumerate(zip(SIDES, chains, strict=True)):
        if joints.shape[2] != len(chain.axes):
            continue
        residual = np.linalg.norm(forward(chain, joints[:, arm]) - positions[:, arm], axis=-1)
        bad = residual > allowed.flange_residual_m
        if bad.any():
            message = (
                f"the {side} flange is recorded up to {100 * residual.max():.1f} cm from where its joints put it, "
                f"{100 * np.median(residual):.1f} cm in the median; {count(bad, 'frame')}"
            )
            yield finding("kinematics.flange-residual", message, f"{in_file(POSITION)}, {side}, {frames(bad)}")


def forward(chain: Chain, joints: Array) -> Array:
    """Flange positions (N, 3) m of joint angles (N, J) rad: the product of exponentials, applied to one point.

    Source: Lynch and Park, Modern Robotics, section 4.1; each joint turns what is beyond it about its own axis.
    """
    points = np.broadcast_to(np.asarray(chain.flange), (len(joints), 3))
    for anchor, axis, angle in zip(chain.anchors[::-1], chain.axes[::-1], joints.T[::-1], strict=True):
        arm, k = points - np.asarray(anchor), np.asarray(axis)
        cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
        points = np.asarray(anchor) + cos * arm + sin * np.cross(k, arm) + (1 - cos) * (arm @ k)[:, None] * k
    return points


def check_odometry(velocity: Array, allowed: Thresholds) -> Iterator[Finding]:
    """Commands (N, 2) m/s and rad/s to a base whose place was not recorded."""
    bad = rows(np.abs(velocity) > allowed.base_still)
    if bad.any():
        message = (
            f"the base is told to move at up to {np.abs(velocity).max():.2f} (m/s or rad/s), but {ODOMETRY} is empty"
        )
        yield finding("kinematics.odometry-missing", message, f"{in_file('action/robot/velocity')}, {frames(bad)}")
