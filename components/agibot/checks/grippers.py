"""Grippers: states in the raw unit against open .. closed, commands against 0 .. 1, and both against each other."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from components.agibot.checks.arrays import closed_share
from components.agibot.checks.evidence import Evidence
from components.agibot.checks.places import frames, in_file, rows
from components.agibot.proprio import Array
from data_contracts.catalogue import Thresholds, finding
from data_contracts.embodiment import Embodiment
from data_contracts.reasons import Finding

STATE, ACTION = "state/effector/position", "action/effector/position"


def check_grippers(evidence: Evidence) -> Iterator[Finding]:
    """All checks of this file."""
    arrays, robot, allowed = evidence.arrays, evidence.robot, evidence.allowed
    for key, margin in ((STATE, allowed.gripper_margin), (ACTION, allowed.gripper_command_margin)):
        if key in arrays:
            yield from check_range(key, arrays[key], robot, margin, allowed)
    if STATE in arrays and ACTION in arrays:
        yield from check_following(closed_share(arrays[STATE], robot), arrays[ACTION], allowed)


def check_range(key: str, values: Array, robot: Embodiment, margin: float, allowed: Thresholds) -> Iterator[Finding]:
    """`values` (N, 2); `margin` is a share of the way from open to closed."""
    state = key == STATE
    share = closed_share(values, robot) if state else values
    beyond = np.maximum(share - 1, -share)
    if not (beyond > margin).any():
        return
    code = "kinematics.gripper-range"
    if (beyond > allowed.gripper_impossible).any():
        code, margin = "kinematics.gripper-impossible", allowed.gripper_impossible
    span = f"{values.min():.3g} .. {values.max():.3g}"
    usual = f"{robot.gripper_open:g} .. {robot.gripper_closed:g}" if state else "0 .. 1"
    yield finding(code, f"{key} spans {span}, usual is {usual}", f"{in_file(key)}, {frames(rows(beyond > margin))}")


def check_following(shares: Array, commands: Array, allowed: Thresholds) -> Iterator[Finding]:
    """Polarity and unit: where a command moves well, the measured share of closing should follow it about one to one.

    Both (N, 2), 0 open .. 1 closed. A gripper that holds an object follows less far, so only a very small slope says
    that the unit is another one.
    """
    for side, share, command in zip(("left", "right"), shares.T, commands.T, strict=True):
        if np.ptp(command) < allowed.gripper_moves:
            continue
        together = float(np.corrcoef(share, command)[0, 1]) if np.ptp(share) else 0.0
        slope = together * float(share.std() / command.std())
        if together <= 0:
            message = f"the {side} gripper does not close when it is told to: both correlate by {together:.2f}"
            yield finding("kinematics.gripper-not-following", message, f"{in_file(STATE)}, {side}")
        elif slope < allowed.gripper_slope:
            message = (
                f"the {side} gripper goes {slope:.1%} of the way that it is told to, and correlates with the command "
                f"by {together:.2f}: it is in another unit"
            )
            yield finding("kinematics.gripper-unit", message, f"{in_file(STATE)}, {side}")
