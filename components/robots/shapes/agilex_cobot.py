"""Agilex-Cobot-like: two 6-joint arms at the table's edge, the head camera on a mast between them.

Joint limits are the Piper arm's; links are ours, a quarter longer than the Piper's, so that one arm covers the task
area. The shoulders lie below the table top: the forearm then stays nearly level over the whole area while the tool
points 50 degrees down, which keeps joint 5 away from its singularity at 0.
"""

from __future__ import annotations

from components.robots.shapes.shape import ArmShape, RobotShape, hand_camera, looking

TOOL = 0.135
MOUNT_Y = 0.22
SHOULDER, UPPER, FORE, WRIST = 0.12, 0.36, 0.34, 0.08


def shape() -> RobotShape:
    """The zero pose: upper arm pointing back level, forearm folded forward onto it, tool ahead, as the Piper's."""
    elbow = -UPPER
    wrist = elbow + FORE
    arm = ArmShape(
        anchors=(
            (0.0, 0.0, 0.04),
            (0.0, 0.0, SHOULDER),
            (elbow, 0.0, SHOULDER),
            (elbow + 0.5 * FORE, 0.0, SHOULDER),
            (wrist, 0.0, SHOULDER),
            (wrist, 0.0, SHOULDER),
        ),
        axes=((0, 0, 1), (0, 1, 0), (0, 1, 0), (1, 0, 0), (0, 1, 0), (1, 0, 0)),
        radii=(0.055, 0.050, 0.045, 0.040, 0.036, 0.034),
        flange=(wrist + WRIST, 0.0, SHOULDER),
        flange_x=(0.0, 1.0, 0.0),
        flange_z=(1.0, 0.0, 0.0),
        rest=(0.0, 1.75, -1.55, 0.0, 0.65, 0.0),
        mobility=(1.0,) * 6,
    )
    look = (0.52, 0.0, 0.08)
    return RobotShape(
        name="agilex_cobot",
        left=arm.shifted((0.0, MOUNT_Y, 0.0)),
        right=arm.shifted((0.0, -MOUNT_Y, 0.0)),
        tool_offset=TOOL,
        finger_travel=0.04,
        table_height=0.08,
        workspace_x=0.54,
        head_waist=False,
        cameras=(
            looking("head_color", "head", (0.06, 0.0, 0.86), look, 46.0),
            hand_camera("left", TOOL),
            hand_camera("right", TOOL),
        ),
    )
