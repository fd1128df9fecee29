"""Tasks by name."""

from __future__ import annotations

from components.robots.shapes.shape import RobotShape
from components.robots.tasks.base import Task
from components.robots.tasks.handover import Handover
from components.robots.tasks.pick_place import PickPlace
from components.robots.tasks.press import Press
from components.robots.tasks.push import Push
from components.robots.tasks.wipe import Wipe
from components.store.errors import ConfigurationError

TASKS: dict[str, type[Task]] = {task.name: task for task in (Press, Push, PickPlace, Wipe, Handover)}


def make_task(name: str, shape: RobotShape, level: int) -> Task:
    """The task `name` at `level`. Raises ConfigurationError that lists the known ones."""
    if name not in TASKS:
        raise ConfigurationError(f"unknown task {name!r}; known: {', '.join(TASKS)}")
    return TASKS[name](shape, level)
