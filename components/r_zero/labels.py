"""Pseudo-labels: the answer that most of the solver's samples agree on, for questions neither too easy nor too hard.

R-Zero (arXiv 2508.05004), solver data: a question is kept where |p - 1/2| <= 0.25, p the majority's share of m samples.
Samples without an answer have no vote and count in m.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field, ValidationError

from components.language.grading import Groups
from components.r_zero.config import LabelConfig
from components.store.errors import ConfigurationError, IntegrityError, OrreryError
from components.store.records import first_problem
from data_contracts.base import Contract
from data_contracts.r_zero import LabelCounts


class PseudoLabel(Contract):
    """A question to train the solver on, and the answer that it is rewarded for."""

    question: str
    answer: str
    votes: int = Field(ge=1, description="samples that gave this answer")
    samples: int = Field(ge=1, description="m")


def pseudo_labels(
    questions: Sequence[str], groups: Sequence[Groups], config: LabelConfig
) -> tuple[list[PseudoLabel], LabelCounts]:
    """The questions that are kept, in their order, and the counts of all. `groups[i]` are the answers to question i.

    Raises ConfigurationError if a question has another number of samples than the configuration says.
    """
    low, high = config.kept_votes
    kept = []
    fates: Counter[str] = Counter()
    by_votes = [0] * (config.samples + 1)
    for question, answers in zip(questions, groups, strict=True):
        if len(answers.labels) != config.samples:
            raise ConfigurationError(
                f"a question has {len(answers.labels)} samples, but label.samples is {config.samples}; "
                "sample as many answers as the labels are made from"
            )
        votes = Counter(label for label in answers.labels if label is not None)
        most = max(votes.values(), default=0)
        by_votes[most] += 1
        if answers.majority is None:
            fates["unanswered"] += 1
        elif most > high:
            fates["too_easy"] += 1
        elif most < low:
            fates["too_hard"] += 1
        else:
            fates["tied"] += list(votes.values()).count(most) > 1
            kept.append(PseudoLabel(question=question, answer=answers.majority, votes=most, samples=config.samples))
    return kept, LabelCounts(
        asked=len(questions), kept=len(kept), too_easy=fates["too_easy"], too_hard=fates["too_hard"],
        unanswered=fates["unanswered"], tied=fates["tied"], by_votes=tuple(by_votes),
    )  # fmt: skip


def read_labels(path: Path) -> list[PseudoLabel]:
    """JSON lines of labels, as the stage `r_zero.labels` writes them. Raises IntegrityError."""
    try:
        return [PseudoLabel.model_validate_json(line) for line in path.read_text().splitlines()]
    except ValidationError as error:
        raise IntegrityError(f"{path.name} holds no pseudo-labels: {first_problem(error)}") from error


def require_batch(counts: LabelCounts, batch_size: int, config: LabelConfig) -> None:
    """Raise OrreryError if what was kept does not fill one batch: with it the solver can't take a single step."""
    if counts.kept < batch_size:
        low, high = config.kept_votes
        raise OrreryError(
            f"{counts.kept} of {counts.asked} questions are fit to train on (a majority of {low} to {high} of "
            f"{config.samples}; too easy {counts.too_easy}, too hard {counts.too_hard}, unanswered "
            f"{counts.unanswered}), fewer than one batch of {batch_size}; generate more questions, raise "
            "label.half_width, or train the solver with smaller batches"
        )
