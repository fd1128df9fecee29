"""What R-Zero's stages say of their work, beside their models and data: for the report, and for people."""

from __future__ import annotations

from pydantic import Field

from data_contracts.base import Contract
from data_contracts.rollouts import Example
from data_contracts.scores import Share


class PoolSummary(Contract):
    """`pool.json`: what became of the challenger's responses."""

    asked: int = Field(ge=1)
    kept: int = Field(ge=0)
    refused: dict[str, int] = Field(description="reason code -> responses, most frequent first")
    clusters: int = Field(ge=0, description="of the kept questions, as the repetition penalty counts them")


class LabelCounts(Contract):
    """What became of every question: asked = kept + too_easy + too_hard + unanswered."""

    asked: int
    kept: int
    too_easy: int = Field(description="more votes for the majority than are kept")
    too_hard: int = Field(description="fewer votes")
    unanswered: int = Field(description="no sample gave an answer")
    tied: int = Field(description="of the kept: another answer had as many votes, and the label is the one found first")
    by_votes: tuple[int, ...] = Field(description="(m + 1,) questions by the votes of their majority")


class Audit(Contract):
    """Majority answers beside true ones, or as a judge finds them."""

    known: int = Field(ge=0, description="questions with a true answer, or with a judge's verdict")
    judged: int = Field(default=0, ge=0, description="of them, those that a judge was asked about")
    unparsable: int = Field(default=0, ge=0, description="of those, without a verdict; they count as wrong")
    right: Share | None = Field(
        default=None, description="share of them labelled right, Wilson interval; None: nobody judged"
    )


class LabelSummary(Contract):
    """`labels.json`: the pseudo-labels of an iteration, audited."""

    counts: LabelCounts
    kept: Audit
    every: Audit = Field(description="of all answered questions, the dropped ones too")
    examples: tuple[Example, ...] = ()


class Iteration(Contract):
    """One solver and its score on held-out problems."""

    name: str
    model: str = Field(description="version of the solver")
    score: Share = Field(description="avg@n")
    greedy: Share


class Selection(Contract):
    """`selection.json`: which iteration is the best, by the mean over samples of a held-out set."""

    iterations: tuple[Iteration, ...] = Field(min_length=1)
    best: int = Field(ge=0, description="index into `iterations`")
    base: Share | None = Field(default=None, description="avg@n of the model that both players started from")
    asked: int = Field(default=0, ge=0, description="iterations that were to be played; 0: not known")
    stopped: str = Field(default="", description="why fewer were played; '' if none was left out")
