"""AgiBot-G1-like: a torso on a lift, a head that pans and tilts, two 7-joint arms with grippers.

Joint limits are the reference's (data_contracts/embodiments/agibot_g1.json); link lengths are ours. The zero pose
stretches the arms out sideways with the elbows bent by `ELBOW`, so that joint 4's symmetric limits (+-1.48) cover a
useful elbow, and joint 2's limits (-2.09 .. 1.48 left, mirrored right) reach from overhead to across the chest.
"""

from __future__ import annotations

import math

from components.robots.shapes.shape import ArmShape, RobotShape, hand_camera, looking

SHOULDER_Y, UPPER, FORE, WRIST = 0.20, 0.38, 0.38, 0.08
ELBOW = 1.35
TOOL = 0.143


def shape() -> RobotShape:
    shoulder, elbow_y = (0.0, SHOULDER_Y, 0.0), SHOULDER_Y + UPPER
    fore = (math.sin(ELBOW), math.cos(ELBOW), 0.0)
    mid = (0.5 * FORE * fore[0], elbow_y + 0.5 * FORE * fore[1], 0.0)
    wrist = (FORE * fore[0], elbow_y + FORE * fore[1], 0.0)
    flange = ((FORE + WRIST) * fore[0], elbow_y + (FORE + WRIST) * fore[1], 0.0)
    left = ArmShape(
        anchors=(shoulder, shoulder, (0.0, SHOULDER_Y + 0.5 * UPPER, 0.0), (0.0, elbow_y, 0.0), mid, wrist, wrist),
        axes=((0, 1, 0), (1, 0, 0), (0, 1, 0), (0, 0, -1), fore, (0, 0, -1), fore),
        radii=(0.055, 0.05, 0.045, 0.045, 0.04, 0.036, 0.034),
        flange=flange,
        flange_x=(0.0, 0.0, 1.0),
        flange_z=fore,
        rest=(0.25, -1.25, 0.0, 0.35, 0.0, -0.75, 0.0),
        mobility=(1.0,) * 7,
    )
    look = (0.53, 0.0, -0.70)
    return RobotShape(
        name="agibot_g1",
        left=left,
        right=left.mirrored(),
        tool_offset=TOOL,
        finger_travel=0.04,
        table_height=-0.42,
        workspace_x=0.54,
        head_waist=True,
        head_rest=(0.0, 0.10),
        waist_rest=(0.0, 0.25),
        cameras=(
            looking("head_color", "head", (0.09, 0.0, 0.08), look, 46.0),
            hand_camera("left", TOOL),
            hand_camera("right", TOOL),
            looking("head_center_fisheye_color", "head", (0.09, 0.0, 0.11), look, 100.0),
            looking("head_left_fisheye_color", "head", (0.06, 0.07, 0.10), (0.30, 0.45, -0.5), 100.0),
            looking("head_right_fisheye_color", "head", (0.06, -0.07, 0.10), (0.30, -0.45, -0.5), 100.0),
        ),
    )
