"""Dual-Franka-like: two Panda arms side by side, mounted 6 cm below the table top, the head camera between them.

Link lengths and joint axes are the Panda's (Denavit-Hartenberg table of the Franka Control Interface documentation:
d1 0.333, d3 0.316, a4 0.0825, d5 0.384, a7 0.088, flange 0.107 m). The gripper sits on a wedge of `WEDGE` rad, whose
outer face is the flange of `state/end`: it leans the tool forward while link 7 points straight down, far from joint 6's
singularity at pi. The flange's x and y follow this house's convention, not the Panda's.
"""

from __future__ import annotations

import math

from components.robots.shapes.shape import ArmShape, RobotShape, hand_camera, looking

TOOL = 0.1034
MOUNT_Y = 0.28
WEDGE = 0.70
READY_TURN = math.pi / 4
"""Joint 7 when the flange's x points left: the middle of its range of use."""
HAND_CAMERA = -0.03
"""Metres along the tool from the flange: this gripper is short, and nearer the camera would see little but its load."""


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
        flange_z=(
            math.sin(WEDGE) * math.cos(READY_TURN),
            math.sin(WEDGE) * math.sin(READY_TURN),
            -math.cos(WEDGE),
        ),
        rest=(0.0, -0.30, 0.0, -2.20, 0.0, 1.90, READY_TURN),
        # Joint 3 turns the arm's plane: free, it would run away with joint 1 when joint 2 passes its singularity at 0.
        mobility=(1.0, 1.0, 0.05, 1.0, 1.0, 1.0, 1.0),
    )
    look = (0.56, 0.0, 0.06)
    return RobotShape(
        name="dual_franka",
        left=arm.shifted((0.0, MOUNT_Y, 0.0)),
        right=arm.shifted((0.0, -MOUNT_Y, 0.0)),
        tool_offset=TOOL,
        finger_travel=0.04,
        table_height=0.06,
        workspace_x=0.58,
        head_waist=False,
        cameras=(
            looking("head_color", "head", (0.10, 0.0, 0.84), look, 46.0),
            hand_camera("left", TOOL, HAND_CAMERA),
            hand_camera("right", TOOL, HAND_CAMERA),
        ),
    )
