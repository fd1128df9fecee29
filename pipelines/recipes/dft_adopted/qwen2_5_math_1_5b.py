"""`qwen2_5_math_1_5b`: Qwen2.5-Math-1.5B, whose positions end at 4096."""

from __future__ import annotations

from pipelines.recipes.dft_adopted.types import AdoptedRecipe, paper


def qwen2_5_math_1_5b() -> AdoptedRecipe:
    """The paper's settings (2508.05629, Table 1). Not run here: it takes 8 GPUs, the model and the data."""
    return paper("qwen2_5_math_1_5b", max_tokens=3072)
