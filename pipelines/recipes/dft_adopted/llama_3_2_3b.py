"""`llama_3_2_3b`: LLaMA-3.2-3B, which was published without a chat template and without a padding token."""

from __future__ import annotations

from pipelines.recipes.dft_adopted.types import AdoptedRecipe, paper


def llama_3_2_3b() -> AdoptedRecipe:
    """The paper's settings (2508.05629, Table 1). Not run here: it takes 8 GPUs, the model and the data."""
    return paper("llama_3_2_3b", pad_token="<|finetune_right_pad_id|>", hours=4.0)
