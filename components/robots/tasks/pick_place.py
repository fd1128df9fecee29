"""Pick the named block up and put it on the named plate with the right hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import mujoco
import numpy as np

from components.robots.tasks.base import (
    Phase,
    Reach,
    Task,
    colors,
    free_box,
    pads,
    raised,
    scatter,
    tool_axis,
)

HALF = 0.020
PLATE_HEIGHT = 0.010
CARRY = 0.13
"""Height of the arc on the way to the plate (m)."""


class PickPlace(Task):
    """Level 1: one block, a big plate. Level 2: two blocks, turned, smaller plate. Level 3: three blocks, two plates.

    Done when the block has rested on the plate, let go, for three ticks.
    """

    name = "pick_place"
    max_steps: ClassVar = {1: 230, 2: 250, 3: 270}

    BLOCKS: ClassVar = {1: 1, 2: 2, 3: 3}
    PLATES: ClassVar = {1: 1, 2: 1, 3: 2}
    RADIUS: ClassVar = {1: 0.070, 2: 0.055, 3: 0.045}
    TURN: ClassVar = {1: 0.1, 2: 0.5, 3: 0.5}

    def build(self, spec: Any) -> None:
        for i in range(self.PLATES[self.level]):
            plate = spec.worldbody.add_body(name=f"plate{i}")
            plate.add_geom(
                name=f"plate{i}",
                type=mujoco.mjtGeom.mjGEOM_CYLINDER,
                size=(self.RADIUS[self.level], PLATE_HEIGHT / 2, 0),
                pos=(0, 0, PLATE_HEIGHT / 2),
            )
        for i in range(self.BLOCKS[self.level]):
            free_box(spec, f"block{i}", (HALF, HALF, HALF), mass=0.06)

    def starts(self) -> dict[str, Reach]:
        return {
            "left": Reach(self.at(-0.18, 0.28, 0.18), 0.0),
            "right": Reach(self.at(-0.20, -0.26, 0.18), 0.0),
        }

    def place(self, rng: np.random.Generator) -> None:
        blocks, plates = self.BLOCKS[self.level], self.PLATES[self.level]
        points = scatter(rng, blocks + plates, (-0.14, -0.34), (0.16, 0.06), apart=self.RADIUS[self.level] + 0.065)
        names = colors(rng, blocks + plates)
        for i in range(plates):
            self.put(f"plate{i}", self.at(points[i, 0], points[i, 1]))
            self.paint(f"plate{i}", names[i])
        self._turn = rng.uniform(-1, 1, blocks) * self.TURN[self.level]
        for i in range(blocks):
            self.put(f"block{i}", self.at(points[plates + i, 0], points[plates + i, 1], HALF), self._turn[i])
            self.paint(f"block{i}", names[plates + i])
        self._plate, self._block = names[0], names[plates]
        self.instruction = f"put the {self._block} block on the {self._plate} plate"

    def done(self) -> bool:
        block, plate = self.position("block0"), self.position("plate0")
        on = np.linalg.norm((block - plate)[:2]) < self.RADIUS[self.level] and block[2] < PLATE_HEIGHT + HALF + 0.008
        held = self.touches(pads("right"), "block0") or self.touches(pads("left"), "block0")
        return bool(on) and not held and self.touches(("plate0",), "block0") > 0 and self.speed("block0") < 0.03

    def phases(self) -> Iterator[Phase]:
        yaw = float(self._turn[0])
        axis = tool_axis(yaw)
        grasp = self.position("block0") + 0.010 * axis
        plate = self.position("plate0")
        drop = plate + (0, 0, PLATE_HEIGHT + HALF + 0.004) + 0.010 * axis
        pick, put = f"Pick up the {self._block} block", f"Place it on the {self._plate} plate"
        yield Phase(pick, "Pick", {"right": Reach(grasp - 0.08 * axis, 0.0, yaw)})
        yield Phase(pick, "Pick", {"right": Reach(grasp, 0.0, yaw)}, seconds=0.5, noise_scale=0.25)
        yield Phase(pick, "Pick", {"right": Reach(grasp, 1.0, yaw)}, seconds=0.3, noise_scale=0.1)
        yield Phase(pick, "Pick", {"right": Reach(raised(grasp, 0.06), 1.0, yaw)}, seconds=0.4, noise_scale=0.3)
        yield Phase(put, "Place", {"right": Reach(drop, 1.0, yaw, via=raised(drop, CARRY))}, noise_scale=0.5)
        yield Phase(put, "Place", {"right": Reach(drop, 0.0, yaw)}, seconds=0.25, noise_scale=0.2)
        yield Phase(put, "Place", {"right": Reach(drop - 0.07 * axis, 0.0, yaw)}, seconds=0.45, noise_scale=0.3)
