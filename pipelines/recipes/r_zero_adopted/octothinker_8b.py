"""`octothinker_8b`: OctoThinker-8B, a base model of the Llama 3 family, asked in plain text."""

from __future__ import annotations

from pipelines.recipes.dft_adopted.types import PLAIN_CHAT
from pipelines.recipes.r_zero_adopted.types import RZeroAdoptedRecipe, paper


def octothinker_8b() -> RZeroAdoptedRecipe:
    """The paper's settings (2508.05004, Sec. 4.1). Not run here: it takes 8 GPUs and the model."""
    return paper("octothinker_8b", chat_template=PLAIN_CHAT, pad_token="<|finetune_right_pad_id|>")
