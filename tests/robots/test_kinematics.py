"""Kinematics of both arms, judged by things that share no code with them: screws, SciPy's rotations, mink."""

from __future__ import annotations

from typing import Any

import mink
import mujoco
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from components.robots.kinematics import (
    Kinematics,
    Pose,
    euler_to_matrix,
    matrix_to_euler,
    matrix_to_xyzw,
    tool_rotation,
    xyzw_to_matrix,
)
from components.robots.robot import SIDES, add_arm
from components.robots.shapes.registry import SHAPES, robot_shape
from components.robots.shapes.shape import ArmShape
from data_contracts.embodiment import load_embodiment

Array = NDArray[np.float64]
NAMES = sorted(SHAPES)
ARMS = {name: Kinematics(robot_shape(name), load_embodiment(name)) for name in NAMES}
FEW = settings(max_examples=25, deadline=None, derandomize=True)

names = st.sampled_from(NAMES)
shares = st.lists(st.floats(0.03, 0.97), min_size=14, max_size=14)
angles = st.tuples(st.floats(-3.1, 3.1), st.floats(-1.5, 1.5), st.floats(-3.1, 3.1)).map(np.array)


def within_limits(name: str, between: list[float]) -> Array:
    arms = ARMS[name]
    return arms.lower + np.array(between[: len(arms.lower)]) * (arms.upper - arms.lower)


def same(a: Pose, b: Pose, metres: float, radians: float) -> bool:
    turn = Rotation.from_matrix(a.rotation @ b.rotation.T).magnitude()
    return bool(np.linalg.norm(a.position - b.position) < metres and turn < radians)


@st.composite
def working_poses(draw: Any, name: st.SearchStrategy[str] = names) -> tuple[str, tuple[Pose, Pose]]:
    """A robot and flange poses as tasks ask for: tools over each hand's part of the task area, leaning forward."""
    robot = draw(name)
    shape = robot_shape(robot)
    poses = []
    for sign in (1.0, -1.0):
        x, y, z = draw(st.floats(-0.12, 0.12)), draw(st.floats(0.05, 0.30)), draw(st.floats(0.02, 0.16))
        yaw, tilt = draw(st.floats(-0.5, 0.5)), draw(st.floats(0.6, 0.9))
        tool = np.array([shape.workspace_x + x, sign * y, shape.table_height + z])
        poses.append(Pose(tool, tool_rotation(yaw, tilt)).along_z(-shape.tool_offset))
    return robot, (poses[0], poses[1])


# Forms of a pose


@given(angles)
@FEW
def test_euler_angles_are_scipys(euler: Array) -> None:
    """Extrinsic x-y-z is what the reference converts quaternions with; another order corrupts every action."""
    matrix = Rotation.from_euler("xyz", euler).as_matrix()
    assert np.allclose(euler_to_matrix(euler), matrix, atol=1e-12)
    assert np.allclose(matrix_to_euler(matrix), euler, atol=1e-9)


@given(angles)
@FEW
def test_quaternions_are_scipys_xyzw(euler: Array) -> None:
    rotation = Rotation.from_euler("xyz", euler)
    quaternion = matrix_to_xyzw(rotation.as_matrix())
    assert np.allclose(quaternion, rotation.as_quat(canonical=True), atol=1e-9)
    assert np.allclose(xyzw_to_matrix(quaternion), rotation.as_matrix(), atol=1e-9)


def test_working_pose_is_far_from_euler_wraps() -> None:
    """Angles that jump by 2 pi between two frames can't be learnt."""
    for yaw in np.linspace(-0.9, 0.9, 7):
        roll, pitch, turn = matrix_to_euler(tool_rotation(yaw))
        assert max(abs(roll), abs(turn)) < np.pi - 0.6
        assert abs(pitch) < 0.1


# Forward


def product_of_exponentials(arm: ArmShape, joints: Array) -> Pose:
    """The flange by screws, from the shape's numbers alone."""
    rotation, position = np.eye(3), np.zeros(3)
    for anchor, axis, angle in zip(arm.anchors, arm.axes, joints, strict=True):
        turn = Rotation.from_rotvec(angle * np.array(axis) / np.linalg.norm(axis)).as_matrix()
        position = position + rotation @ (np.array(anchor) - turn @ np.array(anchor))
        rotation = rotation @ turn
    return Pose(position + rotation @ np.array(arm.flange), rotation @ arm.flange_rotation)


@given(names, shares)
@FEW
def test_forward_is_the_product_of_the_joints_screws(name: str, between: list[float]) -> None:
    joints, shape = within_limits(name, between), robot_shape(name)
    for pose, arm, own in zip(ARMS[name].forward(joints), (shape.left, shape.right), np.split(joints, 2), strict=True):
        assert same(pose, product_of_exponentials(arm, own), 1e-9, 1e-7)


def test_panda_flange_is_where_its_data_sheet_puts_it() -> None:
    """Zero pose of the Denavit-Hartenberg table: the flange 88 mm ahead of the base, 926 mm up."""
    left, right = ARMS["dual_franka"].forward(np.zeros(14))
    assert np.allclose(left.position, (0.088, 0.28, 0.926), atol=1e-12)
    assert np.allclose(right.position, (0.088, -0.28, 0.926), atol=1e-12)


# Inverse


def offsets(radians: float) -> st.SearchStrategy[list[float]]:
    return st.lists(st.floats(-radians, radians), min_size=14, max_size=14)


@given(names, offsets(0.35), offsets(0.05))
@FEW
def test_inverse_finds_the_way_back_from_nearby(name: str, away: list[float], moved: list[float]) -> None:
    """What a control tick asks for: a pose close to the last command's, found in that tick's few iterations."""
    arms = ARMS[name]
    joints = np.clip(arms.rest + away[: len(arms.rest)], arms.lower, arms.upper)
    targets = arms.forward(joints)
    found = arms.inverse(targets, joints + moved[: len(joints)])
    assert (found >= arms.lower).all()
    assert (found <= arms.upper).all()
    for target, pose in zip(targets, arms.forward(found), strict=True):
        assert same(target, pose, 5e-4, 5e-3)


@given(working_poses())
@FEW
def test_inverse_reaches_every_working_pose_from_rest(drawn: tuple[str, tuple[Pose, Pose]]) -> None:
    """As `Env.reset` and far actions need it."""
    name, targets = drawn
    arms = ARMS[name]
    found = arms.inverse(targets, arms.rest, iterations=100)
    for target, pose in zip(targets, arms.forward(found), strict=True):
        assert same(target, pose, 1e-4, 1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_out_of_reach_keeps_the_limits(name: str) -> None:
    """A policy may ask for anything."""
    arms = ARMS[name]
    far = Pose(np.array([5.0, 0.0, 0.0]), tool_rotation())
    found = arms.inverse((far, far), arms.rest, iterations=200)
    assert np.isfinite(found).all()
    assert (found >= arms.lower).all()
    assert (found <= arms.upper).all()


def by_mink(name: str, targets: tuple[Pose, Pose], start: Array) -> Array:
    """The joints that mink's quadratic programs find, on a model of their own."""
    shape, embodiment = robot_shape(name), load_embodiment(name)
    n, limits = embodiment.joints_per_arm, embodiment.arms
    spec = mujoco.MjSpec()
    spec.compiler.degree = False
    for i, (side, arm) in enumerate(zip(SIDES, (shape.left, shape.right), strict=True)):
        own = slice(i * n, (i + 1) * n)
        add_arm(spec.worldbody, side, arm, limits.lower[own], limits.upper[own]).add_geom(size=(0.01, 0, 0))
    configuration = mink.Configuration(spec.compile(), q=start)
    tasks = []
    for side, target in zip(SIDES, targets, strict=True):
        task = mink.FrameTask(f"{side}_flange", "body", position_cost=1.0, orientation_cost=1.0)
        rotation = mink.SO3.from_matrix(target.rotation)
        task.set_target(mink.SE3.from_rotation_and_translation(rotation, target.position))
        tasks.append(task)
    for _ in range(60):
        configuration.integrate_inplace(mink.solve_ik(configuration, tasks, 0.5, "daqp", damping=1e-6), 0.5)
    return configuration.q.copy()


@given(working_poses(st.just("agilex_cobot")))
@settings(max_examples=5, deadline=None, derandomize=True)
def test_without_redundancy_mink_finds_the_same_joints(drawn: tuple[str, tuple[Pose, Pose]]) -> None:
    name, targets = drawn
    arms = ARMS[name]
    ours = arms.inverse(targets, arms.rest, iterations=100)
    assert np.abs(by_mink(name, targets, arms.rest) - ours).max() < 2e-3


@given(working_poses(st.sampled_from(["agibot_g1", "dual_franka"])))
@settings(max_examples=5, deadline=None, derandomize=True)
def test_with_redundancy_mink_reaches_the_same_poses(drawn: tuple[str, tuple[Pose, Pose]]) -> None:
    """Our joints for mink's poses: both solve the same problem, each in its own elbow."""
    name, targets = drawn
    arms = ARMS[name]
    theirs = by_mink(name, targets, arms.rest)
    ours = arms.inverse(arms.forward(theirs), arms.rest, iterations=100)
    for target, their, our in zip(targets, arms.forward(theirs), arms.forward(ours), strict=True):
        assert same(target, their, 1e-3, 1e-2)
        assert same(target, our, 1e-3, 1e-2)
