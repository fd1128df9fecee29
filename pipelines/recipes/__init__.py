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
        "bench": "two cores, up to two hours: the arms of dft_paper, told apart",
    },
    "dft_adopted": {
        "qwen2_5_math_1_5b": "8 GPUs: Qwen2.5-Math-1.5B with the paper's settings",
        "qwen2_5_math_7b": "8 GPUs: Qwen2.5-Math-7B with the paper's settings",
        "llama_3_2_3b": "8 GPUs: LLaMA-3.2-3B with the paper's settings",
        "llama_3_1_8b": "8 GPUs: LLaMA-3.1-8B with the paper's settings",
        "deepseek_math_7b": "8 GPUs: DeepSeekMath-7B-Base with the paper's settings",
    },
    "r_zero": {
        "tiny": "two cores, minutes: a small language model teaches itself arithmetic",
        "bench": "two cores, up to two hours: the comparisons of r_zero_paper, told apart",
    },
    "r_zero_adopted": {
        "qwen3_4b": "8 GPUs: Qwen3-4B-Base with the paper's settings",
        "qwen3_8b": "8 GPUs: Qwen3-8B-Base with the paper's settings",
        "octothinker_3b": "8 GPUs: OctoThinker-3B with the paper's settings",
        "octothinker_8b": "8 GPUs: OctoThinker-8B with the paper's settings",
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
