"""Press the named button with the right hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import mujoco
import numpy as np

from components.robots.tasks.base import Phase, Reach, Task, colors, raised, scatter

TRAVEL = 0.014
PRESSED = 0.6
"""Share of the travel that counts as pressed."""
TOP = 0.042
"""Height of an unpressed cap over the table (m)."""
PRESSES = 8
"""How often the expert goes on pressing for 0.15 s while the button is not down: disturbed, it may be late."""


class Press(Task):
    """Level 1: one big button in 24 x 24 cm. Level 2: two, named by colour. Level 3: three, smaller, on 40 x 50 cm.

    Done when the named button has been down for three ticks. Pressing another one fails the episode.
    """

    name = "press"
    max_steps: ClassVar = {1: 140, 2: 150, 3: 170}

    RADIUS: ClassVar = {1: 0.045, 2: 0.036, 3: 0.030}
    AREA: ClassVar = {
        1: ((-0.12, -0.27), (0.12, -0.03)),
        2: ((-0.15, -0.32), (0.15, 0.03)),
        3: ((-0.20, -0.40), (0.20, 0.10)),
    }

    def build(self, spec: Any) -> None:
        radius = self.RADIUS[self.level]
        for i in range(self.level):
            base = spec.worldbody.add_body(name=f"base{i}")
            base.add_geom(
                type=mujoco.mjtGeom.mjGEOM_CYLINDER,
                size=(radius + 0.012, 0.010, 0),
                pos=(0, 0, 0.010),
                rgba=(0.20, 0.20, 0.21, 1),
                contype=0,
                conaffinity=0,
            )
            cap = base.add_body(name=f"cap{i}", pos=(0, 0, TOP - 0.012))
            cap.add_joint(
                name=f"cap{i}",
                type=mujoco.mjtJoint.mjJNT_SLIDE,
                axis=(0, 0, 1),
                range=(-TRAVEL, 0.0),
                limited=True,
                stiffness=350.0,
                damping=6.0,
                springref=0.004,
                armature=0.05,
            )
            cap.add_geom(
                name=f"cap{i}",
                type=mujoco.mjtGeom.mjGEOM_CYLINDER,
                size=(radius, 0.012, 0),
                mass=0.05,
                friction=(1.2, 0.01, 0.0005),
            )

    def starts(self) -> dict[str, Reach]:
        return {
            "left": Reach(self.at(-0.18, 0.28, 0.18), 1.0),
            "right": Reach(self.at(-0.18, -0.28, 0.18), 1.0),
        }

    def place(self, rng: np.random.Generator) -> None:
        radius = self.RADIUS[self.level]
        points = scatter(rng, self.level, *self.AREA[self.level], apart=2 * radius + 0.06)
        names = colors(rng, self.level, ("red", "green", "blue", "yellow") if self.level == 1 else None)
        for i, ((x, y), color) in enumerate(zip(points, names, strict=True)):
            self.put(f"base{i}", self.at(x, y))
            self.paint(f"cap{i}", color)
        self._targets = names
        self.instruction = f"press the {names[0]} button"
        self._wrong = np.zeros(self.level, int)

    def done(self) -> bool:
        for i in range(1, self.level):
            self._wrong[i] = self._wrong[i] + 1 if self._down(i) else 0
            self.failed = self.failed or bool(self._wrong[i] >= self.hold_ticks)
        return not self.failed and self._down(0)

    def _down(self, button: int) -> bool:
        return bool(self.data.joint(f"cap{button}").qpos[0] < -PRESSED * TRAVEL)

    def phases(self) -> Iterator[Phase]:
        color = self._targets[0]
        spot = self.position("base0")
        above, bottom = raised(spot, TOP + 0.05), raised(spot, TOP - TRAVEL)
        yield Phase(f"Reach for the {color} button", "Reach", {"right": Reach(above, 1.0)})
        yield Phase(f"Press the {color} button", "Press", {"right": Reach(bottom, 1.0)}, seconds=0.5, noise_scale=0.6)
        for _ in range(PRESSES):
            press = {"right": Reach(bottom, 1.0)}
            yield Phase(f"Press the {color} button", "Press", press, seconds=0.15, noise_scale=0.6)
            if self.success:
                break
        # No retreat: on the way up the scene looks as on the way down, and a small policy would learn to hover.
        hold = {"right": Reach(bottom, 1.0)}
        yield Phase(f"Hold the {color} button down", "Hold", hold, seconds=0.3, noise_scale=0.6)
