"""Forward and inverse kinematics of both arms in the base frame, and the forms of a pose.

The inverse kinematics is damped least squares on MuJoCo's Jacobians, warm-started from the last command: one control
tick needs two or three iterations. (`mink` gives the same answers; its quadratic programs cost several times more per
tick, see tests/robots/test_kinematics.py for what both must satisfy.)
"""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

from components.robots.robot import SIDES, add_arm
from components.robots.shapes.shape import TILT, RobotShape
from data_contracts.embodiment import Embodiment

Array = NDArray[np.float64]

TOLERANCE_POSITION, TOLERANCE_ANGLE = 2e-5, 2e-4
DAMPING = 5e-3
POSTURE_GAIN = 0.1
ITERATION_METRES, ITERATION_RADIANS, ITERATION_JOINT = 0.10, 0.40, 0.50
"""Most that one iteration corrects, or moves a joint: far targets must not throw the arm into another branch."""


def tool_rotation(yaw: float = 0.0, tilt: float = TILT) -> Array:
    """Flange rotation (3, 3) of a tool that points down, leans `tilt` rad forward and is turned `yaw` rad left."""
    return euler_to_matrix(np.array([np.pi - tilt, 0.0, np.pi / 2 + yaw]))


def euler_to_matrix(angles: Array) -> Array:
    """Extrinsic x-y-z Euler angles (rad) to a rotation matrix: R = Rz(c) Ry(b) Rx(a)."""
    (ca, cb, cc), (sa, sb, sc) = np.cos(angles), np.sin(angles)
    return np.array(
        [
            [cc * cb, cc * sb * sa - sc * ca, cc * sb * ca + sc * sa],
            [sc * cb, sc * sb * sa + cc * ca, sc * sb * ca - cc * sa],
            [-sb, cb * sa, cb * ca],
        ]
    )


def matrix_to_euler(rotation: Array) -> Array:
    """Rotation matrix to extrinsic x-y-z Euler angles (rad), each in (-pi, pi], the middle one within +-pi/2."""
    r = rotation
    return np.array(
        [np.arctan2(r[2, 1], r[2, 2]), np.arctan2(-r[2, 0], np.hypot(r[0, 0], r[1, 0])), np.arctan2(r[1, 0], r[0, 0])]
    )


def matrix_to_xyzw(rotation: Array) -> Array:
    """Rotation matrix to a unit quaternion, xyzw, with w >= 0."""
    wxyz = np.empty(4)
    mujoco.mju_mat2Quat(wxyz, np.ascontiguousarray(rotation).reshape(9))
    return (wxyz if wxyz[0] >= 0 else -wxyz)[[1, 2, 3, 0]]


def xyzw_to_matrix(quaternion: Array) -> Array:
    """Unit quaternion xyzw to a rotation matrix."""
    out = np.empty(9)
    mujoco.mju_quat2Mat(out, np.asarray(quaternion, float)[[3, 0, 1, 2]])
    return out.reshape(3, 3)


@dataclass(frozen=True)
class Pose:
    """Position (3,) in metres and rotation (3, 3), in the base frame."""

    position: Array
    rotation: Array

    def along_z(self, distance: float) -> Pose:
        """This pose moved along its own z axis (flange to tool: `tool_offset`; tool to flange: its negative)."""
        return Pose(self.position + distance * self.rotation[:, 2], self.rotation)


class Kinematics:
    """Both arms of a robot, without physics. Joint vectors are (2J,), left arm first; poses are flanges'."""

    def __init__(self, shape: RobotShape, embodiment: Embodiment) -> None:
        self.joints = embodiment.joints_per_arm
        self.lower = np.asarray(embodiment.arms.lower)
        self.upper = np.asarray(embodiment.arms.upper)
        self.rest = np.array([*shape.left.rest, *shape.right.rest])
        self.mobility = np.array([*shape.left.mobility, *shape.right.mobility])
        spec = mujoco.MjSpec()
        spec.compiler.degree = False
        for index, (side, arm) in enumerate(zip(SIDES, (shape.left, shape.right), strict=True)):
            limits = slice(index * self.joints, (index + 1) * self.joints)
            add_arm(spec.worldbody, side, arm, embodiment.arms.lower[limits], embodiment.arms.upper[limits]).add_geom(
                size=(0.01, 0, 0)
            )
        self._model = spec.compile()
        self._data = mujoco.MjData(self._model)
        self._flanges = [self._model.body(f"{side}_flange").id for side in SIDES]
        self._jacobian = np.zeros((6, self._model.nv))

    def forward(self, joints: Array) -> tuple[Pose, Pose]:
        """Flange poses, left and right, of joint angles (2J,)."""
        self._move(joints)
        return self._pose(0), self._pose(1)

    def inverse(
        self, targets: tuple[Pose, Pose], start: Array, iterations: int = 8, drift: Array | float = np.inf
    ) -> Array:
        """Joint angles (2J,) within limits whose flanges are at `targets`, found from `start`.

        The pull to the rest posture moves no joint more than `drift` rad (2J,) from `start`. An unreachable target
        gives the nearest pose that the damped steps reach; it never raises.
        """
        q = begin = np.clip(start, self.lower, self.upper)
        for i in range(iterations):
            self._move(q)
            errors = [self._error(arm, target) for arm, target in enumerate(targets)]
            if all(_small(e) for e in errors):
                break
            q = q.copy()
            for arm, error in enumerate(errors):
                if not _small(error):
                    part = slice(arm * self.joints, (arm + 1) * self.joints)
                    # The pull to rest leaks into the task where damping acts: the last iterations do without.
                    gain = POSTURE_GAIN if i < iterations // 2 else 0.0
                    room = np.broadcast_to(drift, q.shape)[part] - np.abs(q - begin)[part]
                    q[part] = self._step(arm, part, q[part], error, gain, room)
        return q

    def _step(self, arm: int, part: slice, q: Array, error: Array, posture: float, room: Array) -> Array:
        mujoco.mj_jacBody(self._model, self._data, self._jacobian[:3], self._jacobian[3:], self._flanges[arm])
        jacobian = self._jacobian[:, part]
        low, high = self.lower[part] - q, self.upper[part] - q
        error = error * min(1.0, ITERATION_METRES / max(float(np.abs(error[:3]).max()), 1e-9))
        error = error * min(1.0, ITERATION_RADIANS / max(float(np.abs(error[3:]).max()), 1e-9))
        step, free = np.zeros(self.joints), np.ones(self.joints, bool)
        for _ in range(2):  # joints that the first solution drives past a limit go to it; the others make up for that
            j = jacobian[:, free]
            weighted = self.mobility[part][free, None] * j.T
            inverse = weighted @ np.linalg.inv(j @ weighted + DAMPING**2 * np.eye(6))
            pull = posture * (self.rest[part] - q)[free]
            leak = inverse @ (j @ pull)
            share = np.clip(np.min(room[free] / np.maximum(np.abs(pull - leak), 1e-9)), 0.0, 1.0)
            step[free] = inverse @ (error - jacobian[:, ~free] @ step[~free]) + share * pull - share * leak
            blocked = free & ((step > high) | (step < low))
            step = np.clip(step, low, high)
            if not blocked.any():
                break
            free &= ~blocked
        return q + step * min(1.0, ITERATION_JOINT / max(float(np.abs(step).max()), 1e-9))

    def _move(self, joints: Array) -> None:
        self._data.qpos[:] = joints
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_comPos(self._model, self._data)

    def _pose(self, arm: int) -> Pose:
        body = self._flanges[arm]
        return Pose(self._data.xpos[body].copy(), self._data.xmat[body].reshape(3, 3).copy())

    def _error(self, arm: int, target: Pose) -> Array:
        body = self._flanges[arm]
        turn = target.rotation @ self._data.xmat[body].reshape(3, 3).T
        quat, vector = np.empty(4), np.empty(3)
        mujoco.mju_mat2Quat(quat, turn.reshape(9))
        mujoco.mju_quat2Vel(vector, quat, 1.0)
        return np.concatenate([target.position - self._data.xpos[body], vector])


def _small(error: Array) -> bool:
    x, y, z, a, b, c = map(abs, error.tolist())  # far cheaper than NumPy on six numbers
    return max(x, y, z) < TOLERANCE_POSITION and max(a, b, c) < TOLERANCE_ANGLE
