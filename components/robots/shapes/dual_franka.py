"""Dual-Franka-like: two Panda arms side by side, mounted 10 cm below the table top, the head camera between them.

Link lengths and joint axes are the Panda's (Denavit-Hartenberg table of the Franka Control Interface documentation:
d1 0.333, d3 0.316, a4 0.0825, d5 0.384, a7 0.088, flange 0.107 m). The flange's x and y follow this house's
convention, not the Panda's.
"""

from __future__ import annotations

import math

from components.robots.shapes.shape import ArmShape, RobotShape, hand_camera, looking

TOOL = 0.1034
MOUNT_Y = 0.28
READY_TURN = math.pi / 4
"""Joint 7 when the flange's x points left: the middle of its range of use."""


def shape() -> RobotShape:
    arm = ArmShape(
        anchors=(
            (0.0, 0.0, 0.20),
            (0.0, 0.0, 0.333),
            (0.0, 0.0, 0.50),
            (0.0825, 0.0, 0.649),
            (0.0, 0.0, 0.80),
            (0.0, 0.0, 1.033),
            (0.088, 0.0, 1.033),
        ),
        axes=((0, 0, 1), (0, 1, 0), (0, 0, 1), (0, -1, 0), (0, 0, 1), (0, -1, 0), (0, 0, -1)),
        radii=(0.060, 0.058, 0.055, 0.052, 0.048, 0.045, 0.042),
        flange=(0.088, 0.0, 0.926),
        flange_x=(-math.sin(READY_TURN), math.cos(READY_TURN), 0.0),
        flange_z=(0.0, 0.0, -1.0),
        rest=(0.0, -0.30, 0.0, -2.20, 0.0, 2.60, READY_TURN),
    )
    look = (0.66, 0.0, 0.10)
    return RobotShape(
        name="dual_franka",
        left=arm.shifted((0.0, MOUNT_Y, 0.0)),
        right=arm.shifted((0.0, -MOUNT_Y, 0.0)),
        tool_offset=TOOL,
        finger_travel=0.04,
        table_height=0.10,
        workspace_x=0.68,
        head_waist=False,
        cameras=(
            looking("head_color", "head", (0.20, 0.0, 0.88), look, 46.0),
            hand_camera("left", TOOL),
            hand_camera("right", TOOL),
        ),
    )
