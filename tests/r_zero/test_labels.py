"""Pseudo-labels: what is kept, what is not and why, in whole votes."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from components.language.grading import Grader, Groups
from components.r_zero.config import LabelConfig
from components.r_zero.labels import PseudoLabel, pseudo_labels, require_batch
from components.store.errors import ConfigurationError, OrreryError


def groups(*sizes: int, unanswered: int = 0) -> Groups:
    """One group of each size, and samples without an answer."""
    labels = [label for label, size in enumerate(sizes) for _ in range(size)]
    most = max(sizes, default=0)
    return Groups(
        labels=(*labels, *[None] * unanswered),
        majority=f"answer {sizes.index(most)}" if sizes else None,
        share=most / (len(labels) + unanswered),
    )


@pytest.mark.parametrize(
    ("samples", "half_width", "bounds"),
    [
        (10, 0.25, (3, 7)), (9, 0.25, (3, 6)), (8, 0.25, (2, 6)), (4, 0.25, (1, 3)), (10, 0.3, (2, 8)),
        (10, 0.1, (4, 6)), (10, 0.0, (5, 5)), (10, 0.5, (0, 10)), (1000, 0.2, (300, 700)), (10, 0.2999999, (3, 7)),
    ],
)  # fmt: skip
def test_the_bounds_are_inclusive_and_exact(samples: int, half_width: float, bounds: tuple[int, int]) -> None:
    """With floats |8/10 - 1/2| <= 0.3 is false: one rounding would throw away a tenth of the pool."""
    assert LabelConfig(samples=samples, half_width=half_width).kept_votes == bounds


@given(st.integers(2, 40), st.integers(0, 50))
def test_the_bounds_are_the_inequality(samples: int, hundredths: int) -> None:
    """The definition, in fractions."""
    width = Fraction(hundredths, 100)
    kept = [k for k in range(samples + 1) if abs(Fraction(k, samples) - Fraction(1, 2)) <= width]
    if not kept:
        with pytest.raises(ValidationError, match=r"raise label.half_width or label.samples"):
            LabelConfig(samples=samples, half_width=hundredths / 100)
        return
    assert LabelConfig(samples=samples, half_width=hundredths / 100).kept_votes == (kept[0], kept[-1])


def test_what_becomes_of_every_question() -> None:
    """A question that vanishes uncounted makes the pool look better than it is."""
    pool = {
        "easy": groups(8, 2), "seven": groups(7, 3), "three": groups(1, 3, 2, 2, 2), "hard": groups(*[2] * 5),
        "silent": groups(unanswered=10), "tie": groups(5, 5), "half silent": groups(5, unanswered=5),
        "mostly silent": groups(2, unanswered=8), "all": groups(10),
    }  # fmt: skip
    kept, counts = pseudo_labels(list(pool), list(pool.values()), LabelConfig())
    assert kept == [
        PseudoLabel(question="seven", answer="answer 0", votes=7, samples=10),
        PseudoLabel(question="three", answer="answer 1", votes=3, samples=10),
        PseudoLabel(question="tie", answer="answer 0", votes=5, samples=10),
        PseudoLabel(question="half silent", answer="answer 0", votes=5, samples=10),
    ]
    assert counts.model_dump() == {
        "asked": 9, "kept": 4, "too_easy": 2, "too_hard": 2, "unanswered": 1, "tied": 1,
        "by_votes": (1, 0, 2, 1, 0, 2, 0, 1, 1, 0, 1),
    }  # fmt: skip


@given(st.lists(st.lists(st.sampled_from([None, 0, 1, 2]), min_size=5, max_size=5), max_size=12))
def test_the_counts_add_up(answers: list[list[int | None]]) -> None:
    """Whatever the samples, every question has one fate."""
    pool = [Groups(tuple(labels), next((str(x) for x in labels if x is not None), None), 0.0) for labels in answers]
    kept, counts = pseudo_labels(["q"] * len(pool), pool, LabelConfig(samples=5))
    assert counts.kept == len(kept)
    assert counts.asked == counts.kept + counts.too_easy + counts.too_hard + counts.unanswered == sum(counts.by_votes)
    assert counts.unanswered == sum(groups.majority is None for groups in pool)
    assert counts.tied <= counts.kept


def test_labels_from_the_graders_groups() -> None:
    """Answers written differently are one; the label is the majority's first text, and one without a box no voter."""
    with Grader() as grader:
        answers = grader.groups([["1/2", "3", "0.5", None, r"\frac{1}{2}", "no solution", "", "7"]])
    [label], counts = pseudo_labels(["q"], answers, LabelConfig(samples=8))
    assert label == PseudoLabel(question="q", answer="1/2", votes=3, samples=8)
    assert counts.by_votes == (0, 0, 0, 1, 0, 0, 0, 0, 0)


def test_another_number_of_samples_is_an_error() -> None:
    """3 to 7 votes of nine are not 3 to 7 of ten."""
    with pytest.raises(ConfigurationError, match=r"has 9 samples, but label\.samples is 10"):
        pseudo_labels(["q"], [groups(5, 4)], LabelConfig())


def test_a_pool_smaller_than_a_batch_is_a_finding() -> None:
    """The public code ends in an assertion deep in its data loader, after the GPUs were taken."""
    config = LabelConfig()
    _, counts = pseudo_labels(["a", "b", "c"], [groups(5, 5), groups(10), groups(unanswered=10)], config)
    require_batch(counts, 1, config)
    with pytest.raises(OrreryError) as error:
        require_batch(counts, 512, config)
    assert str(error.value) == (
        "1 of 3 questions are fit to train on (a majority of 3 to 7 of 10; too easy 1, too hard 0, unanswered 1), "
        "fewer than one batch of 512; generate more questions, raise label.half_width, or train the solver with "
        "smaller batches"
    )
