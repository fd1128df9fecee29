"""Push the named block to the marked place with the right hand's two fingers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from components.robots.tasks.base import Array, Phase, Reach, Task, colors, decal, free_box, raised

HALF = 0.030
MARK_RADIUS = 0.05
FINGER_FRONT = 0.009
"""How far a finger's front face lies before the tool point, with the working tilt (m)."""
SPREAD = 0.55
"""Gripper command that spreads the fingers to two contact points on the block."""
TIP_HEIGHT = 0.020


class Push(Task):
    """Level 1: straight ahead, 10-16 cm. Level 2: up to 40 degrees to either side. Level 3: two blocks, finer mark.

    Done when the block's centre has rested within the tolerance of the mark's centre for five ticks.
    """

    name = "push"
    hold_ticks = 5
    max_steps: ClassVar = {1: 160, 2: 180, 3: 200}

    TOLERANCE: ClassVar = {1: 0.035, 2: 0.030, 3: 0.025}
    DIRECTION: ClassVar = {1: 0.10, 2: 0.70, 3: 0.70}
    WAY: ClassVar = {1: (0.10, 0.16), 2: (0.10, 0.18), 3: (0.10, 0.18)}

    def build(self, spec: Any) -> None:
        decal(spec, "mark", (MARK_RADIUS, MARK_RADIUS, 0.0015), round_=True)
        for i in range(self._blocks):
            free_box(spec, f"block{i}", (HALF, HALF, HALF), mass=0.15, friction=0.6)

    @property
    def _blocks(self) -> int:
        return 2 if self.level == 3 else 1

    def starts(self) -> dict[str, Reach]:
        return {
            "left": Reach(self.at(-0.18, 0.28, 0.18), SPREAD),
            "right": Reach(self.at(-0.20, -0.26, 0.16), SPREAD),
        }

    def place(self, rng: np.random.Generator) -> None:
        names = colors(rng, self._blocks + 1)
        while True:
            block = self.at(rng.uniform(-0.08, 0.04), rng.uniform(-0.25, -0.07), HALF)
            self._heading = rng.uniform(-1, 1) * self.DIRECTION[self.level]
            way = rng.uniform(*self.WAY[self.level])
            goal = block + way * np.array([np.cos(self._heading), np.sin(self._heading), 0.0])
            other = self.at(rng.uniform(-0.06, 0.20), rng.uniform(-0.36, 0.08), HALF)
            if _clearance(other, block - 0.1 * (goal - block) / way, goal) > 0.12:
                break
        self._goal = goal
        self.put("block0", block, self._heading + rng.uniform(-0.1, 0.1))
        if self._blocks > 1:
            self.put("block1", other, rng.uniform(-0.5, 0.5))
        self.put("mark", (goal[0], goal[1], 0.0))
        for i in range(self._blocks):
            self.paint(f"block{i}", names[i])
        self.paint("mark", names[-1])
        self._color, self._mark = names[0], names[-1]
        self.instruction = f"push the {self._color} block to the {self._mark} mark"

    def done(self) -> bool:
        gap = np.linalg.norm((self.position("block0") - self._goal)[:2])
        return bool(gap < self.TOLERANCE[self.level]) and self.speed("block0") < 0.02

    def phases(self) -> Iterator[Phase]:
        block = self.position("block0")
        way = (self._goal - block)[:2]
        yaw = float(np.arctan2(way[1], way[0]))
        ahead = np.array([np.cos(yaw), np.sin(yaw), 0.0])
        behind = block - (HALF + FINGER_FRONT + 0.035) * ahead
        behind[2] = TIP_HEIGHT
        final = self._goal - (HALF + FINGER_FRONT) * ahead
        final[2] = TIP_HEIGHT
        reach = f"Reach behind the {self._color} block"
        push = f"Push the {self._color} block to the {self._mark} mark"
        yield Phase(reach, "Reach", {"right": Reach(behind, SPREAD, yaw, via=raised(behind, 0.10))}, noise_scale=0.8)
        yield Phase(push, "Push", {"right": Reach(final, SPREAD, yaw)}, noise_scale=0.35)
        yield Phase("Retract the hand", "Retract", {"right": Reach(final - 0.05 * ahead, SPREAD, yaw)}, seconds=0.4)


def _clearance(point: Array, start: Array, end: Array) -> float:
    """Distance (m) of a point from a segment, in the plane."""
    a, b, p = start[:2], end[:2], point[:2]
    share = np.clip((p - a) @ (b - a) / ((b - a) @ (b - a)), 0.0, 1.0)
    return float(np.linalg.norm(p - a - share * (b - a)))
