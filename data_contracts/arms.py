"""Arms side by side: `arms.json`, one repetition's trainings as they were judged, and `table.json`, a row per arm."""

from __future__ import annotations

from pydantic import Field

from data_contracts.base import Contract
from data_contracts.scores import ClassChange, SetScores, Share, TokenAnalysis


class Trained(Contract):
    """One training, judged: how it does on each set, and what it did to the tokens of the training chats."""

    model: str = Field(description="version of the model")
    sets: dict[str, SetScores] = Field(min_length=1)
    tokens: TokenAnalysis | None = Field(default=None, description="against the base; None for it, or if not analysed")


class Judged(Contract):
    """The arms of one repetition; `files` are the hashes of the sets, so that repetitions compare like with like."""

    seed: int
    arms: dict[str, Trained] = Field(min_length=1, description="`base` among them")
    files: dict[str, str] = Field(description="set -> SHA-256 of its problems")


class Difference(Contract):
    """A mean difference of shares with its 95 % interval."""

    value: float = Field(ge=-1, le=1)
    low: float
    high: float


class ArmOnSet(Contract):
    """An arm on one set. Of each problem, all samples of all repetitions make one mean."""

    problems: int = Field(ge=1)
    mean: Share = Field(description="avg@n over all repetitions; interval over problems")
    by_seed: tuple[float, ...] = Field(min_length=1, description="avg@n of each repetition")
    over_seeds: Share | None = Field(description="the same mean; Student's interval over repetitions; None for one")
    greedy: float = Field(ge=0, le=1, description="right at temperature 0, mean over repetitions")
    kept: Share | None = Field(
        default=None,
        description="what is not forgotten: of the problems that the base solves greedily, those that the arm solves; "
        "mean over repetitions; interval over problems. None for the base, and where it solves none",
    )
    against: dict[str, Difference] = Field(
        description="avg@n less that of another arm in the same repetitions; interval over problems, paired"
    )


class ArmRow(Contract):
    """An arm over its repetitions; what follows `tokens` are means, None or nothing where nothing was analysed."""

    sets: dict[str, ArmOnSet]
    unboxed: float = Field(ge=0, le=1, description="share of the samples on the first set without a boxed answer")
    tokens: float = Field(ge=0, description="mean length of a sample on the first set")
    bimodality: float | None
    entropy: float | None = Field(description="nats, mean over tokens of the training chats")
    distance: float | None = Field(description="L2 norm of the weights' change over that of the start")
    classes: dict[str, ClassChange] = Field(default_factory=dict, description="by kind of token, ends averaged, too")


class ArmTable(Contract):
    """The comparison: a row per arm."""

    seeds: tuple[int, ...]
    files: dict[str, str] = Field(default_factory=dict, description="set -> SHA-256 of its problems")
    bimodality_before: float | None = Field(description="of the base, on the same training chats")
    entropy_before: float | None
    rows: dict[str, ArmRow]
