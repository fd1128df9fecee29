"""`deepseek_math_7b`: DeepSeekMath-7B-Base, whose positions end at 4096."""

from __future__ import annotations

from pipelines.recipes.dft_adopted.types import AdoptedRecipe, paper


def deepseek_math_7b() -> AdoptedRecipe:
    """The paper's settings (2508.05629, Table 1). Not run here: it takes 8 GPUs, the model and the data."""
    return paper("deepseek_math_7b", max_tokens=3072, hours=6.0)
