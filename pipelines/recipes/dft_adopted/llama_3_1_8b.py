"""`llama_3_1_8b`: LLaMA-3.1-8B, published without a chat template and a padding token; its rate is lower."""

from __future__ import annotations

from pipelines.recipes.dft_adopted.types import AdoptedRecipe, paper


def llama_3_1_8b() -> AdoptedRecipe:
    """The paper's settings (2508.05629, Table 1). Not run here: it takes 8 GPUs, the model and the data."""
    return paper("llama_3_1_8b", learning_rate=2e-5, pad_token="<|finetune_right_pad_id|>", hours=6.0)
