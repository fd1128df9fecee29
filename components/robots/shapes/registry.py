"""Shapes by embodiment name."""

from __future__ import annotations

from collections.abc import Callable

from components.robots.shapes import agibot_g1, agilex_cobot, dual_franka
from components.robots.shapes.shape import RobotShape
from components.store.errors import ConfigurationError

SHAPES: dict[str, Callable[[], RobotShape]] = {
    "agibot_g1": agibot_g1.shape,
    "dual_franka": dual_franka.shape,
    "agilex_cobot": agilex_cobot.shape,
}


def robot_shape(name: str) -> RobotShape:
    """The shape of the embodiment `name`. Raises ConfigurationError that lists the known ones."""
    if name not in SHAPES:
        raise ConfigurationError(f"unknown embodiment {name!r}; the simulation has: {', '.join(sorted(SHAPES))}")
    return SHAPES[name]()
