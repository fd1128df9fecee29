"""The world that a task plays in: table, floor, lights, the robot, and what the task adds."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np

from components.robots.rendering import MAX_HEIGHT, MAX_WIDTH
from components.robots.robot import add_robot
from components.robots.shapes.shape import RobotShape
from data_contracts.embodiment import Embodiment

CONTROL_HZ = 30
SUBSTEPS = 10

TABLE_HALF_WIDTH = 0.62

TABLE_TONES = np.array([[0.62, 0.58, 0.52], [0.55, 0.56, 0.58], [0.68, 0.66, 0.62], [0.50, 0.47, 0.44]])
"""Muted table colours, drawn by the seed; task objects are vivid against all of them."""

PALETTE: dict[str, tuple[float, float, float]] = {
    "red": (0.90, 0.08, 0.08),
    "green": (0.05, 0.70, 0.15),
    "blue": (0.08, 0.20, 0.90),
    "yellow": (0.98, 0.85, 0.05),
    "magenta": (0.85, 0.10, 0.80),
    "cyan": (0.05, 0.80, 0.85),
}
"""Task colours by the name that instructions use."""


def new_scene(shape: RobotShape, embodiment: Embodiment) -> Any:
    """An MjSpec with floor, table, lights and robot. World frame: x, y as the base frame's; z = 0 is the table top."""
    spec = mujoco.MjSpec()
    spec.compiler.degree = False
    spec.option.timestep = 1.0 / (CONTROL_HZ * SUBSTEPS)
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    spec.option.impratio = 5.0
    quality, glob = spec.visual.quality, spec.visual.global_
    quality.shadowsize, quality.offsamples = 0, 0  # shadows and multisampling cost 20 times the rest in software
    # Stacks along a link show at its round ends only, and cost vertices: three look like six, for 7 % less of a frame.
    quality.numslices, quality.numstacks, quality.numquads = 14, 3, 1
    glob.offwidth, glob.offheight = MAX_WIDTH, MAX_HEIGHT
    spec.visual.map.znear, spec.visual.map.zfar = 0.01, 10.0
    spec.stat.extent = 1.0
    spec.visual.headlight.ambient = (0.35, 0.35, 0.35)
    spec.visual.headlight.diffuse = (0.25, 0.25, 0.25)
    spec.visual.headlight.specular = (0.0, 0.0, 0.0)
    world = spec.worldbody
    world.add_light(
        name="sun", type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL, pos=(0, 0, 3), dir=(0, 0, -1), castshadow=False
    )
    add_robot(spec, shape, embodiment)
    # Last, because what is drawn first hides the rest: the room fills most of every image.
    back = 0.15  # the arms stand behind the table, some below its top
    front = shape.workspace_x + 0.42
    room = world.add_body(name="room")
    room.add_geom(
        name="table",
        type=mujoco.mjtGeom.mjGEOM_BOX,
        pos=((back + front) / 2, 0, -0.02),
        size=((front - back) / 2, TABLE_HALF_WIDTH, 0.02),
        rgba=(0.6, 0.6, 0.6, 1),
        friction=(0.7, 0.01, 0.0005),
    )
    _floor_and_walls(room, back, front)
    return spec


def _floor_and_walls(room: Any, back: float, front: float) -> None:
    """Four slabs around the table's outline: a floor that runs on below the table costs a quarter of the rendering.

    Walls stand 2.5 m away, so that no camera sees an empty background.
    """
    far, side = 2.5, TABLE_HALF_WIDTH - 0.1
    for x0, x1, y0, y1 in (
        (-far, back + 0.3, -far, far),
        (front - 0.1, far, -far, far),
        (back + 0.3, front - 0.1, -far, -side),
        (back + 0.3, front - 0.1, side, far),
    ):
        room.add_geom(
            type=mujoco.mjtGeom.mjGEOM_BOX,
            pos=((x0 + x1) / 2, (y0 + y1) / 2, -0.77),
            size=((x1 - x0) / 2, (y1 - y0) / 2, 0.02),
            rgba=(0.36, 0.37, 0.38, 1),
            contype=0,
            conaffinity=0,
        )
    for x, y, half_x, half_y in ((2.5, 0, 0.02, 2.5), (-2.5, 0, 0.02, 2.5), (0, 2.5, 2.5, 0.02), (0, -2.5, 2.5, 0.02)):
        room.add_geom(
            type=mujoco.mjtGeom.mjGEOM_BOX,
            pos=(x, y, 0.75),
            size=(half_x, half_y, 1.5),
            rgba=(0.55, 0.57, 0.60, 1),
            contype=0,
            conaffinity=0,
        )


def randomise_look(model: Any, rng: np.random.Generator) -> None:
    """Table tone and lighting of one episode."""
    tone = TABLE_TONES[rng.integers(len(TABLE_TONES))] * rng.uniform(0.9, 1.1)
    model.geom("table").rgba[:3] = np.clip(tone, 0, 1)
    sun = model.light("sun")
    direction = np.array([rng.uniform(-0.5, 0.5), rng.uniform(-0.5, 0.5), -1.0])
    sun.dir[:] = direction / np.linalg.norm(direction)
    sun.diffuse[:] = rng.uniform(0.35, 0.55)
    sun.specular[:] = 0.0
    model.vis.headlight.ambient[:] = rng.uniform(0.30, 0.42)
