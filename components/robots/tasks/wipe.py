"""Wipe the stain off the table with the sponge that the right hand holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import mujoco
import numpy as np

from components.robots.tasks.base import Array, Phase, Reach, Task, colors, decal, pads, raised

CELLS = 6
"""Spots that make up one stain, in a row."""
CELL_RADIUS = 0.018
SPONGE = (0.030, 0.018, 0.020)
"""Half sizes (m), along the table frame's x, y, z at no yaw; the fingers hold the sides at +-y."""
ON_TABLE = 0.0015
"""Height (m) of its lowest corner at which the sponge still wipes: a dragged box rattles by less than this."""
STROKES = 3
"""Most strokes that the expert makes: one, and more over what a disturbed one has left."""
PRESS_ON = 0.006
"""How far below the table top the stroke is commanded (m), so that lag in the arms does not lift the sponge."""


class Wipe(Task):
    """Level 1: a short stain across. Level 2: longer, any direction. Level 3: two stains, the colour is named.

    A spot is gone once the sponge has been over it on the table. Done when all spots of the named stain
    are gone.
    """

    name = "wipe"
    hold_ticks = 2
    max_steps: ClassVar = {1: 170, 2: 200, 3: 220}

    LENGTH: ClassVar = {1: 0.08, 2: 0.14, 3: 0.16}
    SLOPE: ClassVar = {1: 0.15, 2: 1.5, 3: 1.5}

    def build(self, spec: Any) -> None:
        for i in range(self._stains * CELLS):
            decal(spec, f"cell{i}", (CELL_RADIUS, CELL_RADIUS, 0.001 + 0.0001 * (i % 2)), round_=True)
        sponge = spec.worldbody.add_body(name="sponge")
        sponge.add_freejoint()
        sponge.add_geom(
            name="sponge",
            type=mujoco.mjtGeom.mjGEOM_BOX,
            size=SPONGE,
            mass=0.03,
            friction=(0.5, 0.02, 0.001),
            condim=4,
            solref=(0.03, 1.0),
            rgba=(0.95, 0.55, 0.10, 1),
        )

    @property
    def _stains(self) -> int:
        return 2 if self.level == 3 else 1

    def starts(self) -> dict[str, Reach]:
        return {
            "left": Reach(self.at(-0.18, 0.28, 0.18), 1.0),
            "right": Reach(self.at(-0.16, -0.24, 0.16), 1.0),
        }

    def holding(self) -> dict[str, float]:
        return {"right": SPONGE[1]}

    def place(self, rng: np.random.Generator) -> None:
        names = colors(rng, self._stains, ("red", "green", "blue", "magenta", "cyan"))
        length = self.LENGTH[self.level]
        while True:
            middles = rng.uniform((-0.08, -0.27), (0.12, 0.0), size=(self._stains, 2))
            slopes = np.pi / 2 + rng.uniform(-1, 1, self._stains) * self.SLOPE[self.level]
            offsets = np.linspace(-0.5, 0.5, CELLS)[None, :, None] * length
            spots = middles[:, None] + offsets * np.stack([np.cos(slopes), np.sin(slopes)], -1)[:, None]
            if self._stains == 1 or np.linalg.norm(spots[0][:, None] - spots[1][None], axis=-1).min() > 0.075:
                break
        self._spots = spots + np.array([self.shape.workspace_x, 0.0])
        self._dirty = np.ones((self._stains, CELLS), bool)
        for i, spot in enumerate(self._spots.reshape(-1, 2)):
            self.put(f"cell{i}", (spot[0], spot[1], 0.0))
            self.paint(f"cell{i}", names[i // CELLS])
        self._color = names[0]
        self.instruction = f"wipe the {self._color} stain off the table"
        self._hold_sponge()

    def _hold_sponge(self) -> None:
        """Put the sponge level between the right fingers, which close on it while the scene settles."""
        mujoco.mj_kinematics(self.model, self.data)
        flange = self.data.body("right_flange")
        reach = self.shape.tool_offset
        tip = flange.xpos + (reach - 0.002) * flange.xmat.reshape(3, 3)[:, 2]
        side = flange.xmat.reshape(3, 3)[:, 0]
        self.put("sponge", tip, float(np.arctan2(side[1], side[0]) - np.pi / 2))

    def done(self) -> bool:
        sponge = self.data.body("sponge")
        low = sponge.xpos[2] - np.abs(sponge.xmat.reshape(3, 3)[2]) @ np.array(SPONGE)
        if low < ON_TABLE and self.touches(pads("right"), "sponge"):
            local = (self._spots - sponge.xpos[:2]) @ sponge.xmat.reshape(3, 3)[:2, :2]
            under = (np.abs(local[..., 0]) < SPONGE[0]) & (np.abs(local[..., 1]) < SPONGE[1] + 0.006)
            for stain, cell in zip(*np.nonzero(under & self._dirty), strict=True):
                self._dirty[stain, cell] = False
                self.model.geom(f"cell{stain * CELLS + cell}").rgba[3] = 0.0
        return not self._dirty[0].any()

    def phases(self) -> Iterator[Phase]:
        spots, cells = self._spots[0], list(range(CELLS))
        hand = self.position("right_flange")[:2]
        if np.linalg.norm(spots[-1] - hand) < np.linalg.norm(spots[0] - hand):
            cells.reverse()
        along = (spots[cells[-1]] - spots[cells[0]]) / np.linalg.norm(spots[-1] - spots[0])
        reach, wipe = f"Reach for the {self._color} stain", f"Wipe the {self._color} stain"
        for stroke in range(STROKES):
            first, last = self._tool(spots[cells[0]] - 0.012 * along), self._tool(spots[cells[-1]] + 0.012 * along)
            if stroke == 0:
                yield Phase(reach, "Reach", {"right": Reach(raised(first, 0.05), 1.0)})
            yield Phase(wipe, "Wipe", {"right": Reach(first, 1.0)}, seconds=0.45, noise_scale=0.5)
            yield Phase(wipe, "Wipe", {"right": Reach(last, 1.0)}, noise_scale=0.3)
            cells, along = [cell for cell in reversed(cells) if self._dirty[0, cell]], -along
            if not cells:
                break
        yield Phase("Lift the sponge", "Lift", {"right": Reach(raised(last, 0.05), 1.0)}, seconds=0.4)

    def _tool(self, spot: Array) -> Array:
        """Tool point that puts the sponge over `spot` (2,), pressed on a little, as the sponge now sits in the hand."""
        flange, sponge = self.data.body("right_flange"), self.data.body("sponge")
        tip = flange.xpos + self.shape.tool_offset * flange.xmat.reshape(3, 3)[:, 2]
        offset = tip - sponge.xpos
        return np.array([spot[0] + offset[0], spot[1] + offset[1], SPONGE[2] + offset[2] - PRESS_ON])
