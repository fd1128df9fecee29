"""Rewards and advantages are the formulas, and what a challenger could try against them does not pay."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from components.language.grading import Grader, Groups
from components.language.grpo import EPS_TRL, advantages
from components.language.players import answer_rewards
from components.r_zero.config import RewardConfig
from components.r_zero.repetition import shares
from components.r_zero.rewards import challenger_rewards, uncertainty

PAPER, PUBLIC = RewardConfig(), RewardConfig(form="public")
Labels = list[int | None]
samples = st.lists(st.sampled_from([None, 0, 1, 2]), min_size=1, max_size=12)


def groups(*labels: int | None) -> Groups:
    """As the grader makes them; the texts of the answers play no part in the rewards."""
    votes = [label for label in labels if label is not None]
    most = max(map(votes.count, votes), default=0)
    return Groups(labels, "x" if votes else None, most / len(labels) if labels else 0.0)


def split(votes: int) -> Groups:
    """Ten samples, `votes` for the majority, the others all different."""
    return groups(*[0] * votes, *range(1, 11 - votes))


def test_the_sweep_over_p() -> None:
    """p = 0, .1 … 1, all distinct questions in a batch of 20: the paper's form and the public code's, by hand."""
    answers = [groups(*[None] * 10), *(split(votes) for votes in range(1, 11))]
    alone = np.full(11, 0.05)
    paper = [0.0, 0.15, 0.35, 0.55, 0.75, 0.95, 0.75, 0.55, 0.35, 0.15, 0.0]
    public = [-0.05, 0.05, 0.15, 0.25, 0.35, 0.45, 0.35, 0.25, 0.15, 0.05, -0.05]
    np.testing.assert_allclose(challenger_rewards(answers, alone, PAPER), paper, atol=1e-15)
    np.testing.assert_allclose(challenger_rewards(answers, alone, PUBLIC), public, atol=1e-15)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (PAPER, [0.3, 0.0, 0.0]),  # 1 - 0.7; max(0, 0.4 - 0.7); wrong format
        (RewardConfig(repetition_weight=0.5), [0.65, 0.05, 0.0]),
        (RewardConfig(repetition_weight=0.0), [1.0, 0.4, 0.0]),
        (PUBLIC, [-0.2, -0.5, -1.7]),
        (RewardConfig(form="public", repetition_weight=0.0), [0.5, 0.2, -1.0]),
    ],
)
def test_repetition_and_wrong_formats(config: RewardConfig, expected: list[float]) -> None:
    """A repeated question at p = 1/2, one at p = 0.2, and a response without a question."""
    rewards = challenger_rewards([split(5), split(2), None], np.full(3, 0.7), config)
    np.testing.assert_allclose(rewards, expected, atol=1e-15)


def test_a_batch_from_texts_to_rewards() -> None:
    """Half of the batch says the same, and each of those loses one half; what is no question is not paid."""
    same = "What is the sum of all odd numbers below one hundred?"
    batch = [same, same, same, "", "x", "Name the largest prime below 90."]
    answers = [split(5), split(5), split(6), None, split(5), split(10)]
    rewards = challenger_rewards(answers, shares(batch), PAPER)
    np.testing.assert_allclose(rewards, [0.5, 0.5, 0.3, 0, 1 - 1 / 6, 0], atol=1e-15)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([None] * 10, 0.0),
        ([], 0.0),
        ([0] * 5 + [None] * 5, 0.0),  # p = 1/2, but nobody who answers disagrees
        ([0] * 3 + [1] * 2 + [None] * 5, 0.4),  # p in [0.3, 0.8]
        ([0] * 5 + [1] * 4 + [None], 0.8),  # p in [0.5, 0.6]
        ([0] * 5 + [1] * 5, 1.0),  # a tie
        ([0] * 4 + [1] * 4 + [2] * 2, 0.8),
        ([0, 1, 2], 1 - 1 / 3),
    ],
)
def test_unanswered_samples_and_ties(labels: Labels, expected: float) -> None:
    """The challenger could learn to derail half of the solver's samples (the public code pays most for that)."""
    assert uncertainty(groups(*labels)) == pytest.approx(expected, abs=1e-15)


@given(samples, st.data())
def test_to_lose_an_answer_never_pays(labels: Labels, data: st.DataObject) -> None:
    """Whatever the solver answers: a question changed so that one more sample fails to answer earns no more."""
    derailed = labels.copy()
    derailed[data.draw(st.integers(0, len(labels) - 1))] = None
    assert uncertainty(groups(*derailed)) <= uncertainty(groups(*labels))


@given(st.permutations([0, 0, 0, 1, 1, None, 2]), st.permutations([0, 1, 2]))
def test_uncertainty_depends_on_the_votes_alone(labels: Labels, names: list[int]) -> None:
    """Neither on the order of the samples nor on which group has which number."""
    renamed = [None if label is None else names[label] for label in labels]
    assert uncertainty(groups(*renamed)) == uncertainty(groups(0, 0, 0, 1, 1, None, 2))


@given(st.lists(st.none() | samples, max_size=8), st.floats(0, 1), st.floats(0, 5))
def test_rewards_stay_in_their_range(answers: list[Labels | None], share: float, weight: float) -> None:
    """Rewards out of range would dominate a group's advantages."""
    batch = [None if labels is None else groups(*labels) for labels in answers]
    repetition = np.full(len(batch), share)
    paper = challenger_rewards(batch, repetition, RewardConfig(repetition_weight=weight))
    public = challenger_rewards(batch, repetition, RewardConfig(form="public", repetition_weight=weight))
    assert ((paper >= 0) & (paper <= 1)).all()
    assert ((public >= -1 - weight * share) & (public <= 0.5)).all()


def test_a_part_of_the_batch_is_refused() -> None:
    """The shares of one process's responses are not those of the batch."""
    with pytest.raises(ValueError, match=r"2 responses, but repetition has shape \(3,\)"):
        challenger_rewards([split(5), None], np.zeros(3), PAPER)


def test_the_solver_is_paid_for_the_pseudo_label_alone() -> None:
    """The public code pays a tenth for a format that its prompt never asks for."""
    responses = [
        r"so it is \boxed{128}", r"\boxed{8}", "128", r"\boxed{\frac12}", r"<think></think> \boxed{7}",
        r"\boxed{1} or \boxed{2}",
    ]  # fmt: skip
    with Grader() as grader:
        rewards = answer_rewards(responses, ["128", "128", "128", "0.5", "6", "1"], grader)
        assert rewards.tolist() == [1, 0, 0, 1, 0, 0]
        assert answer_rewards([], [], grader).shape == (0,)
        with pytest.raises(ValueError, match="zip"):
            answer_rewards(responses, ["128"], grader)


def test_advantages_by_hand() -> None:
    """Unbiased: of 0, 0, 0, 1 the standard deviation is 1/2, the mean 1/4."""
    rewards = np.array([0.0, 0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 1.0])
    ideal = np.array([-0.5, -0.5, -0.5, 1.5, -1.5, 0.5, 0.5, 0.5])
    np.testing.assert_allclose(advantages(rewards, 4), ideal / (1 + 2e-6), rtol=1e-12)
    np.testing.assert_allclose(advantages(rewards, 4, EPS_TRL), ideal / (1 + 2e-4), rtol=1e-12)


@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3, -1.7, 1e9])
def test_equal_rewards_have_no_advantage(value: float) -> None:
    """A rounding of the mean, divided by a tiny deviation, would train on noise."""
    assert not advantages(np.full(15, value), 5).any()


@given(
    st.lists(st.floats(0, 1).map(lambda x: round(x, 3)), min_size=8, max_size=8),
    st.floats(-2, 2), st.floats(0.5, 2), st.permutations(range(4)),
)  # fmt: skip
def test_what_advantages_do_not_depend_on(rewards: list[float], shift: float, scale: float, order: list[int]) -> None:
    """Neither a shift nor (without eps) a scale of the rewards, nor the other groups of the batch."""
    r = np.array(rewards)
    a = advantages(r, 4, 0.0) if all(np.ptp(r.reshape(2, 4), axis=1)) else advantages(r, 4)
    np.testing.assert_allclose(a.reshape(2, 4).sum(1), 0, atol=1e-9)
    if all(np.ptp(r.reshape(2, 4), axis=1)):
        np.testing.assert_allclose(advantages(scale * r + shift, 4, 0.0), a, atol=1e-9)
    np.testing.assert_allclose(advantages(r, 4)[4:], advantages(r[4:], 4))
    np.testing.assert_allclose(advantages(r[:4][order], 4), advantages(r[:4], 4)[order], atol=1e-12)


@pytest.mark.parametrize(("count", "size"), [(6, 1), (6, 4), (6, 0)])
def test_what_forms_no_groups_is_refused(count: int, size: int) -> None:
    """Rewards shifted by one response would credit every answer to its neighbour."""
    with pytest.raises(ValueError, match="do not form groups"):
        advantages(np.zeros(count), size)


@pytest.mark.parametrize(
    "wrong", [{"form": "code"}, {"repetition_weight": -1}, {"distance_threshold": 0}, {"tau": 0.5}]
)
def test_unknown_settings_are_refused(wrong: dict[str, object]) -> None:
    """A typo must not train with the default in silence."""
    with pytest.raises(ValidationError):
        RewardConfig.model_validate(wrong)
