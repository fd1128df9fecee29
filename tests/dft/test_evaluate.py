"""Scores: unbiased, over every sample, with intervals that count problems and not samples."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.dft.config import EvaluateStageConfig
from components.dft.evaluate import _mean, _told, pass_at
from data_contracts.chat import ChatExample, Message
from data_contracts.interval import wilson


@given(st.integers(1, 8).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_is_the_mean_over_all_choices_of_k_samples(drawn: tuple[int, int, int]) -> None:
    """Breaks if the estimate were 1 - (1 - p)^k, which is biased where few samples are drawn."""
    samples, right, k = drawn
    outcomes = [i < right for i in range(samples)]
    chosen = [any(choice) for choice in combinations(outcomes, k)]
    assert pass_at(k, samples, right) == pytest.approx(np.mean(chosen))


def test_samples_of_one_problem_are_no_independent_trials() -> None:
    """Breaks if 16 samples of each of 25 problems counted as 400 trials: the interval would be 4 times too narrow."""
    of_problems = np.array([1.0] * 10 + [0.0] * 15)  # every problem always or never solved
    share = _mean(of_problems)
    assert share.value == pytest.approx(0.4)
    assert (share.low, share.high) == wilson(10, 25)


def test_samples_that_differ_narrow_the_interval() -> None:
    """Breaks if 16 samples of a problem said no more of the mean than one."""
    share = _mean(np.full(25, 0.4))
    low, high = wilson(10, 25)
    assert low < share.low < 0.4 < share.high < high


def test_nothing_solved_is_no_proof_of_zero() -> None:
    """Breaks if the interval of a share of 0 were a point."""
    share = _mean(np.zeros(20))
    assert share.low == 0.0
    assert 0.1 < share.high < 0.2


def test_more_samples_than_are_drawn_are_refused_with_the_mend() -> None:
    with pytest.raises(ValueError, match="pass_at 16 needs as many samples, but samples is 8; lower pass_at"):
        EvaluateStageConfig(name="x", samples=8)


def test_a_model_is_told_what_it_was_trained_with_unless_the_problem_tells_it_something() -> None:
    """Breaks if outside problems were asked without the instruction to box, and every answer then counted as wrong."""
    user, own = Message(role="user", content="1 + 1?"), Message(role="system", content="Be brief.")
    assert [m.content for m in _told(ChatExample(messages=(user,)), "Box it.").prompt] == ["Box it.", "1 + 1?"]
    for problem in (ChatExample(messages=(own, user)), ChatExample(messages=(user,))):
        assert _told(problem, "" if problem.messages[0] is user else "Box it.") == problem
