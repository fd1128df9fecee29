"""Builds a robot of a RobotShape into an MjSpec: links, grippers, head, waist, cameras and actuators.

Torques are not modelled: position actuators are stiff enough to follow a 30 Hz command stream with about one tick of
lag, and gravity is compensated on the robot, as on the real arms' controllers.
"""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from components.robots.shapes.shape import ArmShape, CameraShape, RobotShape
from data_contracts.embodiment import Embodiment

SIDES = ("left", "right")

OBJECT_BITS, ROBOT_BITS = 1, 2
"""Collision groups: objects meet objects and robots; a robot's geoms do not meet each other."""

ARMATURE, STIFFNESS, DAMPING = 0.5, 1000.0, 42.0
FINGER_ARMATURE, FINGER_STIFFNESS, FINGER_DAMPING, FINGER_FORCE = 0.15, 1200.0, 27.0, 30.0
FINGER_HALF_THICKNESS, FINGER_HALF_WIDTH = 0.006, 0.011

SHELL = (0.78, 0.79, 0.80, 1.0)
JOINT = (0.45, 0.46, 0.48, 1.0)
RUBBER = (0.13, 0.13, 0.14, 1.0)


def add_robot(spec: Any, shape: RobotShape, embodiment: Embodiment) -> None:
    """Add the robot to `spec`, whose world frame is the table frame: z = 0 is the table top below the base's origin."""
    base = _torso(spec, shape, embodiment) if shape.head_waist else _mount(spec, shape)
    n = embodiment.joints_per_arm
    for index, (side, arm) in enumerate(zip(SIDES, (shape.left, shape.right), strict=True)):
        limits = slice(index * n, (index + 1) * n)
        add_arm(base, side, arm, embodiment.arms.lower[limits], embodiment.arms.upper[limits])
        _gripper(spec, side, shape.finger_travel, embodiment.tool_offset)
    for side in SIDES:
        for i in range(n):
            _servo(spec, f"{side}_joint{i + 1}", STIFFNESS, DAMPING)
    for side in SIDES:
        _servo(spec, f"{side}_finger", FINGER_STIFFNESS, FINGER_DAMPING, FINGER_FORCE)
    if shape.head_waist:
        for joint in ("head_yaw", "head_pitch"):
            _servo(spec, joint, 200.0, 12.0)
        _servo(spec, "waist_pitch", 60_000.0, 3_000.0)
        _servo(spec, "waist_lift", 400_000.0, 20_000.0)
    for camera in shape.cameras:
        _camera(spec.body(camera.body), camera)


def add_arm(base: Any, side: str, arm: ArmShape, lower: tuple[float, ...], upper: tuple[float, ...]) -> Any:
    """Add one arm's links and joints below the body `base`; returns the flange's body, `<side>_flange`."""
    body, origin = base, np.zeros(3)
    ends = [*arm.anchors[1:], arm.flange]
    for i, (anchor, axis, radius, end) in enumerate(zip(arm.anchors, arm.axes, arm.radii, ends, strict=True)):
        body = body.add_body(name=f"{side}_link{i + 1}", pos=np.asarray(anchor) - origin, gravcomp=1.0)
        origin = np.asarray(anchor, float)
        body.add_joint(
            name=f"{side}_joint{i + 1}",
            type=mujoco.mjtJoint.mjJNT_HINGE,
            axis=axis,
            range=(lower[i], upper[i]),
            limited=True,
            armature=ARMATURE,
        )
        half = 0.6 * radius * np.asarray(axis, float) / np.linalg.norm(axis)
        _shell(body, mujoco.mjtGeom.mjGEOM_CYLINDER, radius, -half, half, JOINT)
        reach = np.asarray(end, float) - origin
        if np.linalg.norm(reach) > 0.02:
            _shell(body, mujoco.mjtGeom.mjGEOM_CAPSULE, 0.8 * radius, np.zeros(3), reach, SHELL)
    return body.add_body(
        name=f"{side}_flange",
        pos=np.asarray(arm.flange) - origin,
        quat=_quaternion(arm.flange_rotation),
        gravcomp=1.0,
    )


def _shell(body: Any, kind: Any, radius: float, start: Any, end: Any, color: tuple[float, ...]) -> None:
    body.add_geom(
        type=kind,
        size=(radius, 0, 0),
        fromto=(*start, *end),
        rgba=color,
        density=600.0,
        contype=ROBOT_BITS,
        conaffinity=OBJECT_BITS,
    )


def _mount(spec: Any, shape: RobotShape) -> Any:
    """The base body of arms that stand on a table, and the mast that carries the head camera."""
    base = spec.worldbody.add_body(name="arm_base", pos=(0.0, 0.0, -shape.table_height))
    for arm in (shape.left, shape.right):
        x, y, z = arm.anchors[0]
        _shell(base, mujoco.mjtGeom.mjGEOM_CYLINDER, 0.07, (x, y, -0.02), (x, y, max(z - 0.02, 0.02)), JOINT)
    base.add_body(name="head", pos=(0.0, 0.0, 0.0))
    return base


def _torso(spec: Any, shape: RobotShape, embodiment: Embodiment) -> Any:
    """Lift, waist, chest (`arm_base`) and head. At `waist_rest` the base is level, at its place over the table."""
    pitch, lift = shape.waist_rest
    height = -shape.table_height
    column = spec.worldbody.add_body(name="lift", pos=(-0.06, 0.0, height - 0.45 - lift), gravcomp=1.0)
    waist, head = embodiment.waist, embodiment.head
    slide, hinge = mujoco.mjtJoint.mjJNT_SLIDE, mujoco.mjtJoint.mjJNT_HINGE
    column.add_joint(
        name="waist_lift", type=slide, axis=(0, 0, 1), range=(waist.lower[1], waist.upper[1]), armature=100.0
    )
    _shell(column, mujoco.mjtGeom.mjGEOM_CYLINDER, 0.08, (0, 0, -0.25), (0, 0, 0.0), JOINT)
    torso = column.add_body(name="arm_base", pos=(0.06, 0.0, 0.45), gravcomp=1.0)
    torso.add_joint(
        name="waist_pitch",
        type=hinge,
        pos=(-0.06, 0.0, -0.45),
        axis=(0, 1, 0),
        ref=pitch,
        range=(waist.lower[0], waist.upper[0]),
        armature=40.0,
    )
    _shell(torso, mujoco.mjtGeom.mjGEOM_CAPSULE, 0.09, (-0.06, 0, -0.40), (-0.06, 0, 0.02), SHELL)
    _shell(torso, mujoco.mjtGeom.mjGEOM_CAPSULE, 0.06, (-0.02, -0.16, 0), (-0.02, 0.16, 0), SHELL)
    neck = torso.add_body(name="neck", pos=(-0.02, 0.0, 0.20), gravcomp=1.0)
    _axis_joint(neck, "head_yaw", (0, 0, 1), head.lower[0], head.upper[0])
    _shell(neck, mujoco.mjtGeom.mjGEOM_CYLINDER, 0.035, (0, 0, -0.06), (0, 0, 0.06), JOINT)
    skull = neck.add_body(name="head", pos=(0.0, 0.0, 0.06), gravcomp=1.0)
    _axis_joint(skull, "head_pitch", (0, 1, 0), head.lower[1], head.upper[1])
    _shell(skull, mujoco.mjtGeom.mjGEOM_CAPSULE, 0.06, (0, -0.03, 0.08), (0, 0.03, 0.08), SHELL)
    return torso


def _axis_joint(body: Any, name: str, axis: tuple[int, int, int], lower: float, upper: float) -> None:
    body.add_joint(
        name=name, type=mujoco.mjtJoint.mjJNT_HINGE, axis=axis, range=(lower, upper), limited=True, armature=0.2
    )


def _gripper(spec: Any, side: str, travel: float, reach: float) -> None:
    """A parallel gripper whose finger ends lie `reach` (m) along the flange's z; fingers close along x.

    The second finger follows the first by an equality constraint, so a grasped object stays centred.
    """
    flange = spec.body(f"{side}_flange")
    palm = 0.45 * reach
    _box(flange, (0.030, 0.022, palm / 2), (0, 0, palm / 2), JOINT)
    _box(flange, (travel + 0.016, 0.014, 0.009), (0, 0, palm), RUBBER)
    length = reach - palm
    for sign, name in ((1.0, "finger"), (-1.0, "follower")):
        finger = flange.add_body(name=f"{side}_{name}", pos=(sign * FINGER_HALF_THICKNESS, 0, palm), gravcomp=1.0)
        finger.add_joint(
            name=f"{side}_{name}",
            type=mujoco.mjtJoint.mjJNT_SLIDE,
            axis=(sign, 0, 0),
            range=(0.0, travel),
            limited=True,
            armature=FINGER_ARMATURE,
        )
        geom = _box(finger, (FINGER_HALF_THICKNESS, FINGER_HALF_WIDTH, length / 2), (0, 0, length / 2), RUBBER)
        geom.name = f"{side}_{name}_pad"
        geom.friction = (1.6, 0.02, 0.001)
        geom.condim = 4
    spec.add_equality(
        type=mujoco.mjtEq.mjEQ_JOINT,
        objtype=mujoco.mjtObj.mjOBJ_JOINT,
        name1=f"{side}_follower",
        name2=f"{side}_finger",
        data=[0, 1, *[0] * 10],
        solref=(0.01, 1.0),
    )


def _box(body: Any, half: tuple[float, float, float], position: tuple[float, ...], color: tuple[float, ...]) -> Any:
    return body.add_geom(
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=half,
        pos=position,
        rgba=color,
        density=600.0,
        contype=ROBOT_BITS,
        conaffinity=OBJECT_BITS,
    )


def _servo(spec: Any, joint: str, kp: float, kv: float, force: float | None = None) -> None:
    actuator = spec.add_actuator(name=joint, target=joint, trntype=mujoco.mjtTrn.mjTRN_JOINT)
    actuator.set_to_position(kp=kp, kv=kv)
    if force is not None:
        actuator.forcelimited = True
        actuator.forcerange = (-force, force)


def _camera(body: Any, camera: CameraShape) -> None:
    right, up = np.asarray(camera.right), np.asarray(camera.up)
    rotation = np.stack([right, up, np.cross(right, up)], axis=1)  # MuJoCo cameras look along -z
    body.add_camera(name=camera.name, pos=camera.position, quat=_quaternion(rotation), fovy=camera.fovy_degrees)


def _quaternion(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    quat = np.empty(4)
    mujoco.mju_mat2Quat(quat, np.ascontiguousarray(rotation).reshape(9))
    return quat
