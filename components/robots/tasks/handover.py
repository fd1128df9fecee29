"""Take the named stick with the right hand and hand it over to the left."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from components.robots.tasks.base import Phase, Reach, Task, colors, free_box, pads, raised, scatter, tool_axis

HALF, HALF_HEIGHT = 0.014, 0.090
LEAN = 1.00
"""Tilt of both tools (rad): nearly level, to take an upright stick by its side."""
TURN = np.pi / 4
"""The stick stands turned by 45 degrees, so that the right hand (turned left by as much) holds one pair of its faces
and the left hand (turned right) the other."""
LOW, HIGH = -0.035, 0.045
"""Where right and left take it, from its middle (m)."""


class Handover(Task):
    """Level 1: the stick stands within 10 cm. Level 2: within 18 x 22 cm. Level 3: two sticks, the colour is named.

    Done when the left fingers have held the stick clear of table and right hand for five ticks.
    """

    name = "handover"
    hold_ticks = 5
    max_steps: ClassVar = {1: 250, 2: 260, 3: 270}

    AREA: ClassVar = {
        1: ((-0.02, -0.23), (0.08, -0.13)),
        2: ((-0.02, -0.28), (0.16, -0.06)),
        3: ((-0.02, -0.30), (0.16, -0.06)),
    }

    def build(self, spec: Any) -> None:
        for i in range(self._sticks):
            free_box(spec, f"stick{i}", (HALF, HALF, HALF_HEIGHT), mass=0.08)

    @property
    def _sticks(self) -> int:
        return 2 if self.level == 3 else 1

    def starts(self) -> dict[str, Reach]:
        return {
            "left": Reach(self.at(-0.18, 0.24, 0.20), 0.0, -TURN / 2, LEAN - 0.2),
            "right": Reach(self.at(-0.20, -0.26, 0.18), 0.0, TURN / 2, LEAN - 0.2),
        }

    def place(self, rng: np.random.Generator) -> None:
        names = colors(rng, self._sticks)
        while True:
            points = scatter(rng, self._sticks, *self.AREA[self.level], apart=0.12)
            if self._sticks == 1 or not _in_the_way(points[1], points[0]):
                break
        for i in range(self._sticks):
            self.put(f"stick{i}", self.at(points[i, 0], points[i, 1], HALF_HEIGHT), TURN + rng.uniform(-0.08, 0.08))
            self.paint(f"stick{i}", names[i])
        self._color = names[0]
        self.instruction = f"hand the {self._color} stick over to the left hand"

    def done(self) -> bool:
        left = self.touches(pads("left"), "stick0") == 2
        others = self.touches((*pads("right"), "table"), "stick0")
        return left and not others and self.position("stick0")[2] > HALF_HEIGHT + 0.02

    def phases(self) -> Iterator[Phase]:
        right, left = tool_axis(TURN, LEAN), tool_axis(-TURN, LEAN)
        take = raised(self.position("stick0"), LOW) + 0.012 * right
        meet = self.at(-0.02, 0.0, HALF_HEIGHT + 0.09)
        give, get = raised(meet, LOW) + 0.012 * right, raised(meet, HIGH) + 0.012 * left
        wait = get - 0.11 * left
        pick, hand = f"Pick up the {self._color} stick", "Hand it over to the left hand"
        yield Phase(pick, "Pick", {"right": Reach(take - 0.09 * right, 0.0, TURN, LEAN)}, noise_scale=0.8)
        yield Phase(pick, "Pick", {"right": Reach(take, 0.0, TURN, LEAN)}, seconds=0.5, noise_scale=0.25)
        yield Phase(pick, "Pick", {"right": Reach(take, 1.0, TURN, LEAN)}, seconds=0.3, noise_scale=0.1)
        yield Phase(
            hand,
            "Handover",
            {
                "right": Reach(give, 1.0, TURN, LEAN, via=raised(take, 0.10)),
                "left": Reach(wait, 0.0, -TURN, LEAN),
            },
            noise_scale=0.4,
        )
        still = Reach(give, 1.0, TURN, LEAN)
        yield Phase(
            hand, "Handover", {"right": still, "left": Reach(get, 0.0, -TURN, LEAN)}, seconds=0.6, noise_scale=0.25
        )
        yield Phase(
            hand, "Handover", {"right": still, "left": Reach(get, 1.0, -TURN, LEAN)}, seconds=0.35, noise_scale=0.1
        )
        taken = Reach(get, 1.0, -TURN, LEAN)
        yield Phase(
            hand, "Handover", {"right": Reach(give, 0.0, TURN, LEAN), "left": taken}, seconds=0.25, noise_scale=0.1
        )
        yield Phase(
            hand,
            "Handover",
            {"right": Reach(give - 0.08 * right, 0.0, TURN, LEAN), "left": taken},
            seconds=0.5,
            noise_scale=0.3,
        )


def _in_the_way(other: np.ndarray, target: np.ndarray) -> bool:
    """Whether the hand on its way to `target` would meet `other`: it comes from the near right."""
    gap = other - target
    forward, right = gap @ np.array([1, 1]) / np.sqrt(2), gap @ np.array([1, -1]) / np.sqrt(2)
    return bool(forward < 0.07 and abs(right) < 0.09) or bool(np.linalg.norm(gap) < 0.12)
