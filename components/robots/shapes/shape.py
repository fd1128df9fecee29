"""What a simulated robot looks like, in its zero pose and in its base frame.

**Base frame**: x forward over the table, y left, z up; its origin lies midway between the two arm mounts. On a robot
with a waist it moves with the torso. `state/end`, `eef14` actions and camera poses are all in this frame.

**Flange frame**: z points from the flange to the fingertips (the tool point is `tool_offset` along it), the fingers
close along x. In the working pose the tool points forward and down, `TILT` from the vertical, and x points left. Its
extrinsic-xyz Euler angles are then (pi - TILT, 0, pi/2): 0.7 rad and more from the wrap at +-pi and 1.57 rad from
gimbal lock. A tool that points straight down along +z has a roll of exactly pi under every choice of x and y, which is
why none of the scripted experts holds it so.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Vector = tuple[float, float, float]

TILT = 0.70
"""Radians between the vertical and the tool in the working pose."""


@dataclass(frozen=True)
class CameraShape:
    """A camera: its body, its pose there (OpenCV axes as rows of the body frame) and its vertical field of view."""

    name: str
    body: str
    position: Vector
    right: Vector
    up: Vector
    fovy_degrees: float


@dataclass(frozen=True)
class ArmShape:
    """A serial arm as screws: anchors (m) and axes of its joints in the zero pose, for the left arm.

    All bodies are aligned with the base frame in the zero pose, so no joint needs a rotation of its own.
    """

    anchors: tuple[Vector, ...]
    axes: tuple[Vector, ...]
    radii: tuple[float, ...]
    flange: Vector
    flange_x: Vector
    flange_z: Vector
    rest: tuple[float, ...]
    """Joint angles (rad) that the redundant degree of freedom is drawn to."""
    mobility: tuple[float, ...]
    """How readily inverse kinematics moves each joint: 1, or less for one that should stay near its rest."""

    def mirrored(self) -> ArmShape:
        """The right arm as the left's reflection in the plane y = 0, with the same sense of each axis reflected.

        Angles then change sign: q_right = -q_left, and limits become (-upper, -lower). `flange_x` is flipped back so
        that both arms have the same Euler angles for the same pose.
        """
        return ArmShape(
            anchors=tuple(_reflect(a) for a in self.anchors),
            axes=tuple(_reflect(a) for a in self.axes),
            radii=self.radii,
            flange=_reflect(self.flange),
            flange_x=_negate(_reflect(self.flange_x)),
            flange_z=_reflect(self.flange_z),
            rest=tuple(-q for q in self.rest),
            mobility=self.mobility,
        )

    def shifted(self, offset: Vector) -> ArmShape:
        """The same arm mounted `offset` (m) away."""
        move = np.asarray(offset)
        return ArmShape(
            anchors=tuple(_vector(np.asarray(a) + move) for a in self.anchors),
            axes=self.axes,
            radii=self.radii,
            flange=_vector(np.asarray(self.flange) + move),
            flange_x=self.flange_x,
            flange_z=self.flange_z,
            rest=self.rest,
            mobility=self.mobility,
        )

    @property
    def flange_rotation(self) -> NDArray[np.float64]:
        """(3, 3) flange axes as columns, zero pose."""
        x, z = np.asarray(self.flange_x, float), np.asarray(self.flange_z, float)
        return np.stack([x, np.cross(z, x), z], axis=1)


@dataclass(frozen=True)
class RobotShape:
    """Both arms, the torso that carries them and the cameras."""

    name: str
    left: ArmShape
    right: ArmShape
    tool_offset: float
    """Flange to fingertips along the flange's z (m): the embodiment file's."""
    finger_travel: float
    """Metres that each finger moves from open to closed."""
    table_height: float
    """Table top in the base frame (m)."""
    workspace_x: float
    """Where the middle of the task area lies, metres before the base (table frame)."""
    head_waist: bool
    """Whether the head (yaw, pitch) and the waist (pitch, lift) move."""
    head_rest: tuple[float, float] = (0.0, 0.0)
    waist_rest: tuple[float, float] = (0.0, 0.0)
    cameras: tuple[CameraShape, ...] = field(default=())


def _vector(v: NDArray[np.float64]) -> Vector:
    return float(v[0]), float(v[1]), float(v[2])


def _reflect(v: Vector) -> Vector:
    return v[0], -v[1], v[2]


def _negate(v: Vector) -> Vector:
    return -v[0], -v[1], -v[2]


def looking(name: str, body: str, position: Vector, target: Vector, fovy_degrees: float) -> CameraShape:
    """A camera at `position` that looks at `target`, upright (both in `body`'s frame, z up)."""
    forward = np.asarray(target, float) - np.asarray(position, float)
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    return CameraShape(name, body, position, _vector(right), _vector(np.cross(right, forward)), fovy_degrees)


def hand_camera(side: str, reach: float, height: float = 0.010) -> CameraShape:
    """The camera on a wrist: above the hand (flange +y), leaning so that the fingertips are low in the image.

    `reach` is the tool offset (m), `height` where along it the camera sits. The optical axis meets the tool's axis
    about 9 cm beyond the fingertips.
    """
    position = np.array([0.0, 0.085, height])
    forward = np.array([0.0, 0.0, reach + 0.09]) - position
    forward /= np.linalg.norm(forward)
    right = np.array([-1.0, 0.0, 0.0])
    up = np.cross(right, forward)
    return CameraShape(
        f"hand_{side}_color", f"{side}_flange", _vector(position), _vector(right), _vector(up), fovy_degrees=62.0
    )
