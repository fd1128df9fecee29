"""Recipes: functions that return the whole typed configuration of the loop. `recipe(name, settings)` finds one."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from components.store.errors import ConfigurationError
from pipelines.recipes.overrides import checked, nearest, override

if TYPE_CHECKING:
    from pipelines.recipes.types import Recipe

RECIPES = {
    "tiny": "a laptop CPU: two cores, minutes",
    "bench": "two cores, up to two hours: two tasks learned well",
}
"""Name and purpose; `pipelines/recipes/<name>.py` holds the function `<name>`."""


def recipe(name: str, settings: Sequence[str] = ()) -> Recipe:
    """The recipe `name` with `--set` settings applied.

    Raises:
        ConfigurationError: no such recipe (the known ones are named), an unknown key, or numbers that contradict.
    """
    known = name.replace("-", "_")
    if known not in RECIPES:
        near = nearest(known, RECIPES)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigurationError(f"there is no recipe {name!r}; there are: {', '.join(RECIPES)}{hint}")
    module = importlib.import_module(f"pipelines.recipes.{known}")
    return override(getattr(module, known)(), settings)


__all__ = ["RECIPES", "checked", "override", "recipe"]
