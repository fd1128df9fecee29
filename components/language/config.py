"""What the problems, the tokenizer and the small model are asked to be. Cheap to import: without torch."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field, model_validator

from data_contracts.base import Contract

Style = Literal["terse", "steps", "rewriting", "equation", "verbose"]
Noise = Literal["wrong-step", "muddled", "filler"]
Split = Literal["train", "held-out"]

LEVELS = (1, 2, 3, 4, 5)


class ProblemsConfig(Contract):
    """Generated problems of one split.

    A problem belongs to one split whatever its level, so any two configurations with different splits share none:
    `levels` of training in the held-out split measure the distribution itself, levels above it measure harder problems.
    """

    split: Split = "train"
    levels: tuple[int, ...] = Field(default=(1, 2), min_length=1, description="drawn equally; see problems.LEVELS")
    word_share: float = Field(default=0.5, ge=0, le=1, description="share of word problems; the rest are expressions")
    sums_only: bool = Field(
        default=False,
        description="expressions of additions, however large: every one that can be written is good",
    )
    styles: tuple[Style, ...] = Field(default=get_args(Style), min_length=1, description="of solutions, drawn equally")
    noise_share: float = Field(default=0.1, ge=0, le=1, description="share of noisy solutions")
    noise_kinds: tuple[Noise, ...] = Field(default=get_args(Noise), description="of noise, drawn equally")
    noise_levels: tuple[int, ...] = Field(default=LEVELS, description="of problems whose solutions may be noisy")
    asked_share: float = Field(
        default=0.0, ge=0, le=1, description="share of examples that write a problem instead of solving one (R-Zero)"
    )
    asked_levels: tuple[int, ...] = Field(
        default=(),
        description="of the problems that are written, drawn equally, named twice twice as often; or `levels`",
    )

    @model_validator(mode="after")
    def _drawable(self) -> ProblemsConfig:
        unknown = sorted({*self.levels, *self.noise_levels, *self.asked_levels} - set(LEVELS))
        if unknown:
            raise ValueError(f"levels {unknown} do not exist; choose levels from {list(LEVELS)}")
        if self.sums_only and self.word_share:
            raise ValueError(f"word_share {self.word_share} with sums_only, but stories are no sums; set word_share=0")
        if self.noise_share and not self.noise_kinds:
            raise ValueError(f"noise_share {self.noise_share} of no kind; name noise_kinds or set noise_share=0")
        return self


class TokenizerConfig(Contract):
    """An own tokenizer: single characters and the commonest pieces of words."""

    vocabulary: int = Field(default=320, ge=128, le=4096, description="entries, special tokens included")
    examples: int = Field(default=4000, ge=100, description="generated problems that the word pieces are learned from")


class ModelConfig(Contract):
    """A small Qwen3 with tied embeddings, in fp32."""

    layers: int = Field(default=3, ge=1)
    width: int = Field(default=128, ge=32)
    heads: int = Field(default=4, ge=1, description="query heads")
    key_value_heads: int = Field(default=2, ge=1)
    head_dim: Literal[32, 64, 128] = Field(default=32, description="sizes that vLLM's CPU attention has")
    feed_forward: int = Field(default=384, ge=32, description="width of the gated feed-forward layer")
    context: int = Field(default=512, ge=64, description="longest sequence, tokens")

    @model_validator(mode="after")
    def _heads_group(self) -> ModelConfig:
        if self.heads % self.key_value_heads:
            raise ValueError(
                f"{self.heads} heads cannot share {self.key_value_heads} key_value_heads equally; "
                "make heads a multiple of key_value_heads"
            )
        return self
