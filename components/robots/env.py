"""The simulation: a robot at a table with a task, stepped at 30 Hz, seen through its cameras, judged by physics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, overload

import mujoco
import numpy as np
from numpy.typing import NDArray

from components.robots.kinematics import (
    Array,
    Kinematics,
    Pose,
    euler_to_matrix,
    matrix_to_euler,
    matrix_to_xyzw,
    tool_rotation,
    xyzw_to_matrix,
)
from components.robots.rendering import SceneRenderer
from components.robots.robot import SIDES
from components.robots.scene import CONTROL_HZ, SUBSTEPS, new_scene, randomise_look
from components.robots.shapes.registry import robot_shape
from components.robots.tasks.base import Reach
from components.robots.tasks.registry import make_task
from components.store.errors import ConfigurationError
from data_contracts.embodiment import load_embodiment

OPENCV_AXES = np.array([1.0, -1.0, -1.0])
"""MuJoCo's cameras look along -z with y up, OpenCV's along z with y down."""
HEAD_WAIST = ("head_yaw", "head_pitch", "waist_pitch", "waist_lift")
SETTLE_TICKS = 6
START_JITTER_M = 0.035
START_JITTER_RAD = 0.12
RAMP = np.arange(1, SUBSTEPS + 1) / SUBSTEPS
ELBOW_SPEED = 0.8
"""Share of the joints' velocity limits that motions which leave the tool in place may take."""


@dataclass(frozen=True)
class State:
    """What the robot's sensors say after a tick. Poses are of the flanges, in the base frame."""

    joints: Array
    """(2J,) rad, left arm first."""
    grippers: Array
    """(2,) in the embodiment's raw unit."""
    closed: Array
    """(2,) the same, as a share: 0 open .. 1 closed."""
    end_position: Array
    """(2, 3) m."""
    end_orientation: Array
    """(2, 4) unit quaternions xyzw."""
    head: Array
    """(2,) yaw, pitch (rad)."""
    waist: Array
    """(2,) pitch (rad), lift (m)."""

    def joint(self) -> Array:
        """The state in the layout of `joint` actions: per arm its joints, then the gripper 0..1. (2 (J + 1),)"""
        return np.concatenate([*np.hstack([self.joints.reshape(2, -1), self.closed[:, None]])])

    def eef14(self) -> Array:
        """The state in the layout of `eef14` actions: per arm xyz, extrinsic-xyz Euler, gripper 0..1. (14,)"""
        arms = zip(self.end_position, self.end_orientation, self.closed, strict=True)
        return np.concatenate([[*p, *matrix_to_euler(xyzw_to_matrix(q)), c] for p, q, c in arms])


class Env:
    """One task at one level on one embodiment. Everything random comes from the seed given to `reset`."""

    def __init__(self, embodiment: str, task: str, level: int = 1) -> None:
        self.shape = robot_shape(embodiment)
        self.embodiment = load_embodiment(embodiment)
        self.kinematics = Kinematics(self.shape, self.embodiment)
        self.task = make_task(task, self.shape, level)
        spec = new_scene(self.shape, self.embodiment)
        self.task.build(spec)
        self.model = spec.compile()
        self.data = mujoco.MjData(self.model)
        self.task.bind(self.model, self.data)
        self.max_steps: int = self.task.max_steps[level]
        self.seed = -1
        self.ticks = 0
        n = self.embodiment.joints_per_arm
        self._arms = np.array([self.model.joint(f"{s}_joint{i + 1}").qposadr[0] for s in SIDES for i in range(n)])
        self._fingers = np.array([self.model.joint(f"{s}_finger").qposadr[0] for s in SIDES])
        self._followers = np.array([self.model.joint(f"{s}_follower").qposadr[0] for s in SIDES])
        self._head_waist = [self.model.joint(name).qposadr[0] for name in HEAD_WAIST if self.shape.head_waist]
        self._flanges = [self.model.body(f"{s}_flange").id for s in SIDES]
        self._base = self.model.body("arm_base").id
        self._max_joint_step = np.asarray(self.embodiment.arms.velocity) / CONTROL_HZ
        self._command = np.zeros(2 * (n + 1))

    # Episodes

    @property
    def instruction(self) -> str:
        """What is asked of the robot in this episode."""
        return self.task.instruction

    @property
    def success(self) -> bool:
        """Whether the goal was reached and held for a few ticks in this episode. Judged from physics."""
        return self.task.success

    @property
    def command(self) -> Array:
        """The last command that was executed, (2 (J + 1),)."""
        return self._command.copy()

    def reset(self, seed: int) -> State:
        """Start the episode of `seed`: the same seed gives the same bits."""
        rng = np.random.default_rng(seed)
        self.seed, self.ticks = seed, 0
        mujoco.mj_resetData(self.model, self.data)
        randomise_look(self.model, rng)
        self._place_robot(rng)
        self.task.reset(rng)
        for _ in range(SETTLE_TICKS):
            self._advance(self.data.ctrl.copy())
        return self.state

    def step(self, command: Array) -> State:
        """Execute one joint command (2 (J + 1),) for 1/30 s.

        As a robot's controller would, this clips it to the joint limits and to what the joints' velocity limits allow
        from the last command. Raises ValueError if it has the wrong shape or is not finite.
        """
        command = np.asarray(command, float)
        if command.shape != self._command.shape or not np.isfinite(command).all():
            raise ValueError(f"a command is {self._command.shape[0]} finite numbers; got shape {command.shape}")
        arms, closed = self._split(command)
        before, _ = self._split(self._command)
        arms = before + np.clip(arms - before, -self._max_joint_step, self._max_joint_step)
        arms = np.clip(arms, self.kinematics.lower, self.kinematics.upper)
        closed = np.clip(closed, 0.0, 1.0)
        self._command = self._join(arms, closed)
        ctrl = self.data.ctrl.copy()
        ctrl[: len(arms)] = arms
        ctrl[len(arms) : len(arms) + 2] = (1.0 - closed) * self.shape.finger_travel
        self._advance(ctrl)
        self.ticks += 1
        self.task.tick()
        return self.state

    @property
    def state(self) -> State:
        """The sensors' reading now."""
        flanges = [self._in_base(self.data.xpos[b], self.data.xmat[b].reshape(3, 3)) for b in self._flanges]
        closed = np.clip(1.0 - self.data.qpos[self._fingers] / self.shape.finger_travel, 0.0, 1.0)
        opened, shut = self.embodiment.gripper_open, self.embodiment.gripper_closed
        head, waist = np.zeros(2), np.zeros(2)
        if self.shape.head_waist:
            head[:], waist[:] = self.data.qpos[self._head_waist].reshape(2, 2)
        return State(
            joints=self.data.qpos[self._arms].copy(),
            grippers=opened + closed * (shut - opened),
            closed=closed,
            end_position=np.stack([pose.position for pose in flanges]),
            end_orientation=np.stack([matrix_to_xyzw(pose.rotation) for pose in flanges]),
            head=head,
            waist=waist,
        )

    # Commands

    def eef_to_command(self, eef14: Array) -> Array:
        """Joint command (2 (J + 1),) whose flanges are where `eef14` (14,) says, found from the last command.

        Its elbows swing slowly: where `step` clips one joint's velocity, and the others go on, the tool strays.
        """
        eef14 = np.asarray(eef14, float)
        if eef14.shape != (14,) or not np.isfinite(eef14).all():
            raise ValueError(f"an eef14 action is 14 finite numbers; got shape {eef14.shape}")
        left, right = (Pose(arm[:3], euler_to_matrix(arm[3:6])) for arm in eef14.reshape(2, 7))
        swing = ELBOW_SPEED * self._max_joint_step
        joints = self.kinematics.inverse((left, right), self._split(self._command)[0], drift=swing)
        return self._join(joints, np.clip(eef14[[6, 13]], 0.0, 1.0))

    def command_to_eef(self, command: Array) -> Array:
        """The `eef14` form (14,) of a joint command: forward kinematics of its joints, its grippers."""
        joints, closed = self._split(np.asarray(command, float))
        poses = self.kinematics.forward(joints)
        return np.concatenate(
            [[*pose.position, *matrix_to_euler(pose.rotation), c] for pose, c in zip(poses, closed, strict=True)]
        )

    def command_end(self, command: Array) -> tuple[Array, Array]:
        """Commanded flange positions (2, 3) and orientations (2, 4) xyzw of a joint command, base frame."""
        poses = self.kinematics.forward(self._split(np.asarray(command, float))[0])
        return np.stack([p.position for p in poses]), np.stack([matrix_to_xyzw(p.rotation) for p in poses])

    @property
    def head_command(self) -> Array:
        """(2,) commanded yaw and pitch (rad)."""
        return np.asarray(self.shape.head_rest, float)

    @property
    def waist_command(self) -> Array:
        """(2,) commanded pitch (rad) and lift (m)."""
        return np.asarray(self.shape.waist_rest, float)

    def to_base(self, table_point: Array) -> Array:
        """A point of the table frame (which is the world's) in the base frame."""
        return self._in_base(table_point, np.eye(3)).position

    # Cameras

    @overload
    def render(self, camera: str, width: int, height: int, depth: Literal[False] = False) -> NDArray[np.uint8]: ...
    @overload
    def render(self, camera: str, width: int, height: int, depth: Literal[True]) -> NDArray[np.uint16]: ...
    def render(
        self, camera: str, width: int, height: int, depth: bool = False
    ) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """RGB uint8 (height, width, 3), or with `depth` the distance along the optical axis in mm, uint16 (h, w)."""
        index = self._camera(camera)
        if depth:
            return self._renderer.depth(self.data, index, width, height)
        return self._renderer.color(self.data, index, width, height)

    def rgba(self, camera: str, width: int, height: int) -> NDArray[np.uint8]:
        """What `render` shows, uint8 (height, width, 4), for videos: cheaper. The fourth channel means nothing."""
        return self._renderer.rgba(self.data, self._camera(camera), width, height)

    def segmentation(self, camera: str, width: int, height: int) -> NDArray[np.int32]:
        """Geom id of each pixel (height, width), -1 for none."""
        return self._renderer.segmentation(self.data, self._camera(camera), width, height)

    def camera_to_base(self, camera: str) -> Array:
        """(4, 4) transform from the camera's OpenCV frame (x right, y down, z forward) to the base frame, now."""
        return self.cameras_to_base((camera,))[0]

    def cameras_to_base(self, cameras: Sequence[str]) -> Array:
        """`camera_to_base` of several cameras, (C, 4, 4)."""
        index = [self._camera(camera) for camera in cameras]
        turn = self.data.xmat[self._base].reshape(3, 3).T
        out = np.zeros((len(index), 4, 4))
        out[:, :3, :3] = turn @ (self.data.cam_xmat[index].reshape(-1, 3, 3) * OPENCV_AXES)
        out[:, :3, 3] = (self.data.cam_xpos[index] - self.data.xpos[self._base]) @ turn.T
        out[:, 3, 3] = 1.0
        return out

    def intrinsics(self, camera: str, width: int, height: int) -> Array:
        """(3, 3) pinhole matrix in pixels, the centre of the top left pixel being (0, 0)."""
        fovy = np.deg2rad(self.model.cam_fovy[self._camera(camera)])
        focal = 0.5 * height / np.tan(0.5 * fovy)
        return np.array([[focal, 0, 0.5 * (width - 1)], [0, focal, 0.5 * (height - 1)], [0, 0, 1.0]])

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of the cameras, the policy's views first."""
        return tuple(camera.name for camera in self.embodiment.cameras)

    def close(self) -> None:
        """Free what rendering holds. The environment can go on being used."""
        renderer = self.__dict__.pop("_renderer", None)
        if renderer is not None:
            renderer.close()

    # Parts

    @cached_property
    def _renderer(self) -> SceneRenderer:
        return SceneRenderer(self.model)

    def _camera(self, name: str) -> int:
        index = mujoco.mj_name2id(self.model, mujoco.mjtObj.mjOBJ_CAMERA.value, name)
        if index < 0:
            have = [self.model.camera(i).name for i in range(self.model.ncam)]
            raise ConfigurationError(f"{self.shape.name} has no camera {name!r}; it has: {', '.join(have)}")
        return index

    def _place_robot(self, rng: np.random.Generator) -> None:
        """Both tools at the task's start poses, jittered; head and waist at rest."""
        offset = self.embodiment.tool_offset
        base_height = -self.shape.table_height
        poses, closed = [], []
        for side in SIDES:
            start = self.task.starts()[side]
            position = start.position - [0, 0, base_height] + rng.uniform(-START_JITTER_M, START_JITTER_M, 3)
            yaw, tilt = rng.uniform(-START_JITTER_RAD, START_JITTER_RAD, 2)
            poses.append(Pose(position, tool_rotation(start.yaw + yaw, start.tilt + tilt)).along_z(-offset))
            closed.append(start.gripper)
        joints = self.kinematics.inverse((poses[0], poses[1]), self.kinematics.rest, iterations=100)
        self._command = self._join(joints, np.array(closed))
        command = (1.0 - np.array(closed)) * self.shape.finger_travel
        held = self.task.holding()
        opening = [held.get(side, value) for side, value in zip(SIDES, command, strict=True)]
        data = self.data
        data.qpos[self._arms], data.qpos[self._fingers], data.qpos[self._followers] = joints, opening, opening
        data.ctrl[: len(joints)] = joints
        data.ctrl[len(joints) : len(joints) + 2] = command
        if self.shape.head_waist:
            values = (*self.shape.head_rest, *self.shape.waist_rest)
            for name, value in zip(HEAD_WAIST, values, strict=True):
                data.joint(name).qpos[0] = value
                data.actuator(name).ctrl[0] = value

    def _advance(self, ctrl: Array) -> None:
        """One control tick: the servos' targets move to `ctrl` in a straight line over the substeps."""
        target = self.data.ctrl
        for step in target + np.outer(RAMP, ctrl - target):
            target[:] = step
            mujoco.mj_step(self.model, self.data)
        # mj_step leaves poses one substep behind qpos; sensors and cameras must agree with it.
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_comPos(self.model, self.data)
        mujoco.mj_camlight(self.model, self.data)

    def _in_base(self, position: Array, rotation: Array) -> Pose:
        turn = self.data.xmat[self._base].reshape(3, 3).T
        return Pose(turn @ (position - self.data.xpos[self._base]), turn @ rotation)

    def _split(self, command: Array) -> tuple[Array, Array]:
        arms = command.reshape(2, -1)
        return arms[:, :-1].ravel(), arms[:, -1].copy()

    def _join(self, joints: Array, closed: Array) -> Array:
        return np.hstack([joints.reshape(2, -1), closed[:, None]]).ravel()


__all__ = ["Env", "Reach", "State"]
