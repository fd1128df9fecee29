"""Recipes: functions that return the whole typed configuration of a track; `recipe(track, name)` finds one."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from components.store.errors import ConfigurationError
from pipelines.recipes.base import Recipe
from pipelines.recipes.overrides import checked, nearest, override

RECIPES = {
    "robots": {
        "tiny": "a laptop CPU: two cores, minutes",
        "bench": "two cores, up to two hours: two tasks learned well",
    },
    "dft": {
        "tiny": "two cores, minutes: a small language model and generated arithmetic",
    },
    "r_zero": {
        "tiny": "two cores, minutes: a small language model teaches itself arithmetic",
    },
}
"""Track, name and purpose; `pipelines/recipes/<track>/<name>.py` holds the function `<name>`."""


def recipe(track: str, name: str, settings: Sequence[str] = ()) -> Recipe:
    """The recipe `name` of a track with `--set` settings applied.

    Raises:
        ConfigurationError: no such recipe (the known ones are named), an unknown key, or numbers that contradict.
    """
    known = name.replace("-", "_")
    if known not in RECIPES[track]:
        near = nearest(known, RECIPES[track])
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigurationError(f"there is no recipe {name!r}; there are: {', '.join(RECIPES[track])}{hint}")
    module = importlib.import_module(f"pipelines.recipes.{track}.{known}")
    built: Recipe = getattr(module, known)()
    return override(built, settings)


__all__ = ["RECIPES", "Recipe", "checked", "override", "recipe"]
