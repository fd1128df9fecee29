"""How a language model does on a set of problems: `scores.json` of an `evaluations/…` version."""

from __future__ import annotations

from pydantic import Field

from data_contracts.base import Contract


class Share(Contract):
    """A share with its 95 % interval."""

    value: float = Field(ge=0, le=1)
    low: float = Field(ge=0, le=1)
    high: float = Field(ge=0, le=1)


class SetScores(Contract):
    """One set of problems. Every sample counts; an answer without a box is wrong, never guessed."""

    problems: int = Field(ge=1)
    samples: int = Field(ge=1, description="of each problem at temperature 1")
    greedy: Share = Field(description="right at temperature 0; Wilson interval")
    mean: Share = Field(description="avg@n: the mean over all samples; interval over problems")
    pass_at: dict[int, float] = Field(description="k -> chance that one of k samples is right (unbiased estimate)")
    unboxed: float = Field(ge=0, le=1, description="share of the samples without a boxed answer")
    cut: float = Field(ge=0, le=1, description="share of the samples that did not end within max_tokens")
    tokens: float = Field(ge=0, description="mean length of a sample")
    right: tuple[int, ...] = Field(default=(), description="right samples of each problem; () if they were not kept")
    greedy_right: tuple[bool, ...] = Field(default=(), description="of each problem; () if they were not kept")


class Scores(Contract):
    """One model on every set; `problems` are the hashes of the sets' files, so that scores compare like with like."""

    model: str = Field(description="version of the model")
    sets: dict[str, SetScores] = Field(min_length=1)
    files: dict[str, str] = Field(description="set -> SHA-256 of its problems")


class Mean(Contract):
    """A mean with its 95 % interval."""

    value: float
    low: float
    high: float


class ClassChange(Contract):
    """What a training did to the tokens of one class (function words, punctuation, ...); intervals over chats."""

    tokens: int = Field(ge=1, description="trained tokens of the class in the analysed chats")
    change: Mean = Field(description="of log p, nats")
    fell: Mean = Field(description="share of the tokens that are less probable than before")
    low_before: float = Field(ge=0, le=1, description="share of the tokens below p = 0.1")
    low_after: Mean
    of_low: float = Field(ge=0, le=1, description="of all tokens that are below p = 0.1 after, those of this class")


class TokenAnalysis(Contract):
    """What a training did to the probabilities of the tokens it was trained on (paper DFT, Sec. 4.3 and Fig. 4)."""

    model: str
    tokens: int = Field(ge=1)
    bins: tuple[float, ...] = Field(description="edges of the histogram of token probabilities, 0 .. 1")
    before: tuple[int, ...]
    after: tuple[int, ...]
    bimodality_before: float = Field(description="Sarle's coefficient of the token probabilities: 1 is two points")
    bimodality_after: float
    low_after: float = Field(ge=0, le=1, description="share of tokens below 0.1")
    high_after: float = Field(ge=0, le=1, description="share of tokens above 0.9")
    entropy_before: float = Field(description="nats, mean over tokens")
    entropy_after: float
    distance: float = Field(ge=0, description="L2 norm of the weights' change over that of the start")
    falling: tuple[tuple[str, float, int], ...] = Field(description="(token, mean change of log p, count), most first")
    classes: dict[str, ClassChange] = Field(default_factory=dict, description="by kind of token")
