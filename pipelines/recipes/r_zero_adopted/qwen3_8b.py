"""`qwen3_8b`: Qwen3-8B-Base, asked through its own chat template."""

from __future__ import annotations

from pipelines.recipes.r_zero_adopted.types import RZeroAdoptedRecipe, paper


def qwen3_8b() -> RZeroAdoptedRecipe:
    """The paper's settings (2508.05004, Sec. 4.1). Not run here: it takes 8 GPUs and the model."""
    return paper("qwen3_8b")
