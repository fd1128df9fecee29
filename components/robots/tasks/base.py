"""What every task shares: seeding, held success, and the phases that a scripted expert goes through.

Positions are in the **table frame**: x forward, y left as in the base frame, z = 0 on the table top.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import mujoco
import numpy as np
from numpy.typing import NDArray

from components.robots.scene import PALETTE
from components.robots.shapes.shape import TILT, RobotShape
from components.store.errors import ConfigurationError

Array = NDArray[np.float64]
LEVELS = (1, 2, 3)


@dataclass(frozen=True)
class Reach:
    """Where one arm's tool point goes. `via` bends the path: the control point of a quadratic Bezier curve."""

    position: Array
    gripper: float
    yaw: float = 0.0
    tilt: float = TILT
    via: Array | None = None


@dataclass(frozen=True)
class Phase:
    """One span of an episode. Arms not in `moves` hold their command. `seconds` defaults to what the distance takes."""

    label: str
    skill: str
    moves: dict[str, Reach] = field(default_factory=dict)
    seconds: float | None = None
    noise_scale: float = 1.0
    """How much of the injected action noise this phase bears: contact-rich phases take less."""


class Task(ABC):
    """One task at one level. `build` shapes the world once; `reset` draws an episode from a generator."""

    name: ClassVar[str]
    hold_ticks: ClassVar[int] = 3
    max_steps: ClassVar[dict[int, int]]
    """Control ticks until an episode counts as failed, by level: about twice what the expert takes."""

    def __init__(self, shape: RobotShape, level: int) -> None:
        if level not in LEVELS:
            raise ConfigurationError(f"task {self.name!r} has levels 1, 2 and 3, not {level!r}")
        self.shape, self.level = shape, level
        self.instruction = ""
        self.failed = False
        """Latched when the episode can no longer succeed, such as a wrong button pressed."""
        self.model: Any = None
        self.data: Any = None
        self.success = False
        """The goal has held for `hold_ticks` ticks; stays true to the end of the episode."""
        self._held = 0

    @abstractmethod
    def build(self, spec: Any) -> None:
        """Add the task's objects to the scene's spec."""

    @abstractmethod
    def place(self, rng: np.random.Generator) -> None:
        """Draw this episode's places and colours into `self.model` and `self.data`, and set `instruction`."""

    @abstractmethod
    def done(self) -> bool:
        """Whether physics meets the goal at this tick."""

    @abstractmethod
    def phases(self) -> Iterator[Phase]:
        """The expert's phases. Each is made when it starts, so it may look at where things are by then."""

    def starts(self) -> dict[str, Reach]:
        """Where the tools are at the start, before the seed's jitter."""
        return {side: Reach(self.at(-0.08, sign * 0.22, 0.20), 0.0) for side, sign in (("left", 1), ("right", -1))}

    def holding(self) -> dict[str, float]:
        """Metres that the fingers start open when something keeps them from their command, by side."""
        return {}

    def bind(self, model: Any, data: Any) -> None:
        """Called once with the compiled model."""
        self.model, self.data = model, data

    def reset(self, rng: np.random.Generator) -> None:
        """Start an episode."""
        self.failed, self.success, self._held = False, False, 0
        self.place(rng)

    def tick(self) -> None:
        """Called after each control tick: counts how long the goal has held."""
        self._held = self._held + 1 if self.done() and not self.failed else 0
        self.success = self.success or self._held >= self.hold_ticks

    # What subclasses build from.

    def at(self, x: float, y: float, z: float = 0.0) -> Array:
        """A point of the table frame, x and y counted from the middle of the task area."""
        return np.array([self.shape.workspace_x + x, y, z])

    def paint(self, geom: str, color: str, alpha: float = 1.0) -> None:
        """Give a geom one of the palette's colours."""
        self.model.geom(geom).rgba[:] = (*PALETTE[color], alpha)

    def position(self, body: str) -> Array:
        """A body's position (3,), table frame."""
        return self.data.body(body).xpos.copy()

    def speed(self, body: str) -> float:
        """Of a free body: its fastest coordinate, in m/s and (scaled by 5 cm) rad/s."""
        start = self.model.jnt_dofadr[self.model.body(body).jntadr[0]]
        velocity = self.data.qvel[start : start + 6]
        return float(max(np.abs(velocity[:3]).max(), 0.05 * np.abs(velocity[3:]).max()))

    def touches(self, first: Sequence[str], second: str) -> int:
        """How many of the geoms `first` are in contact with the geom `second`."""
        pairs = self.data.contact.geom
        other = self.model.geom(second).id
        near = set(pairs[pairs[:, 0] == other, 1]) | set(pairs[pairs[:, 1] == other, 0])
        return sum(self.model.geom(name).id in near for name in first)

    def put(self, body: str, position: Sequence[float] | Array, yaw: float = 0.0) -> None:
        """Place a free body, or a fixed one, at rest; `yaw` in radians about the vertical."""
        joints = self.model.body(body)
        quat = np.array([np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)])
        if joints.jntnum[0] and self.model.jnt_type[joints.jntadr[0]] == mujoco.mjtJoint.mjJNT_FREE:
            start = self.model.jnt_qposadr[joints.jntadr[0]]
            self.data.qpos[start : start + 7] = (*position, *quat)
        else:
            joints.pos[:] = position
            joints.quat[:] = quat


def scatter(
    rng: np.random.Generator, count: int, low: tuple[float, float], high: tuple[float, float], apart: float
) -> Array:
    """`count` points (count, 2) drawn in a rectangle, at least `apart` metres from each other."""
    while True:
        points = rng.uniform(low, high, size=(count, 2))
        gaps = np.linalg.norm(points[:, None] - points[None], axis=-1) + np.eye(count)
        if gaps.min() >= apart or count == 1:
            return points


def pads(side: str) -> tuple[str, str]:
    """The geoms of a gripper's two fingers."""
    return f"{side}_finger_pad", f"{side}_follower_pad"


def tool_axis(yaw: float = 0.0, tilt: float = TILT) -> Array:
    """Where a tool of this yaw and tilt points (3,), table frame."""
    return np.array([np.sin(tilt) * np.cos(yaw), np.sin(tilt) * np.sin(yaw), -np.cos(tilt)])


def raised(point: Array, height: float) -> Array:
    """`point` (3,) moved `height` metres up."""
    return point + np.array([0.0, 0.0, height])


def colors(rng: np.random.Generator, count: int, among: Sequence[str] | None = None) -> list[str]:
    """`count` different colour names of the palette."""
    names = list(among or PALETTE)
    return [names[i] for i in rng.permutation(len(names))[:count]]


def free_box(spec: Any, name: str, half: tuple[float, float, float], mass: float, friction: float = 1.0) -> Any:
    """Add a movable box whose geom bears the body's name."""
    body = spec.worldbody.add_body(name=name)
    body.add_freejoint()
    body.add_geom(
        name=name,
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=half,
        mass=mass,
        friction=(friction, 0.01, 0.0005),
        condim=4,
        rgba=(1, 1, 1, 1),
    )
    return body


def decal(spec: Any, name: str, half: tuple[float, float, float], round_: bool = False) -> Any:
    """Add a mark on the table: seen, never felt."""
    body = spec.worldbody.add_body(name=name)
    body.add_geom(
        name=name,
        type=mujoco.mjtGeom.mjGEOM_CYLINDER if round_ else mujoco.mjtGeom.mjGEOM_BOX,
        size=(half[0], half[2], 0) if round_ else half,
        contype=0,
        conaffinity=0,
        rgba=(1, 1, 1, 1),
    )
    return body
