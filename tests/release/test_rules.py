"""If these fail, the gate lets bad policies through, or refuses good ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from components.release import rules
from components.release.config import GateConfig
from components.release.rules import Count

CONFIG = GateConfig(policy="press", min_success=0.3, min_margin=0.1, worse_alpha=0.05, max_drop=0.15)

counts = st.integers(1, 120).flatmap(lambda n: st.builds(Count, st.integers(0, n), st.just(n)))


@given(counts)
def test_wilson_is_the_published_interval(count: Count) -> None:
    expected = stats.binomtest(count.successes, count.episodes).proportion_ci(method="wilson")
    assert rules.interval(count) == pytest.approx((expected.low, expected.high), abs=1e-4)


@given(counts, counts)
def test_worse_p_is_fishers_exact_test(candidate: Count, production: Count) -> None:
    table = [
        [candidate.successes, candidate.episodes - candidate.successes],
        [production.successes, production.episodes - production.successes],
    ]
    expected = stats.fisher_exact(table, alternative="less").pvalue
    assert rules.worse_p(candidate, production) == pytest.approx(expected, abs=1e-9)


def test_margin_matches_newcombes_published_example() -> None:
    """Newcombe 1998, table II, (a): 56/70 - 48/80, method 10: 0.0524 to 0.3339."""
    assert rules.margin_lower(Count(56, 70), Count(48, 80)) == pytest.approx(0.0524, abs=2e-4)


@pytest.mark.parametrize(
    ("policy", "mean", "passed"),
    [
        ({"a": Count(40, 50)}, {"a": Count(0, 50)}, (True, True)),
        ({"a": Count(2, 3)}, {"a": Count(0, 3)}, (False, False)),  # too few episodes to be sure of anything
        ({"a": Count(10, 50)}, {"a": Count(0, 50)}, (False, False)),
        ({"a": Count(40, 50)}, {"a": Count(38, 50)}, (True, False)),  # a task that needs no looking
        (
            {"a": Count(0, 50), "b": Count(40, 50)},
            {"a": Count(0, 50), "b": Count(1, 50)},
            (True, True),
        ),  # one is enough
    ],
)
def test_success_rules(policy: dict[str, Count], mean: dict[str, Count], passed: tuple[bool, bool]) -> None:
    assert tuple(rule.passed for rule in rules.success_rules(CONFIG, policy, mean)) == passed


def test_more_tasks_can_be_demanded() -> None:
    policy, mean = {"a": Count(0, 50), "b": Count(40, 50)}, {"a": Count(0, 50), "b": Count(1, 50)}
    two = CONFIG.model_copy(update={"tasks_needed": 2})
    assert [rule.passed for rule in rules.success_rules(two, policy, mean)] == [False, False]
    three = CONFIG.model_copy(update={"tasks_needed": 3})
    refused = rules.success_rules(three, policy, mean)[0]
    assert not refused.passed
    assert "only 2 were evaluated" in refused.sentence


def test_equal_to_the_mean_action_is_not_better_than_it() -> None:
    """With the default margin of 0, a policy that never succeeds must not pass beside one that never does."""
    plain = GateConfig(policy="press")
    assert not rules.success_rules(plain, {"a": Count(0, 50)}, {"a": Count(0, 50)})[1].passed


@pytest.mark.parametrize(
    ("candidate", "production", "passed"),
    [
        (Count(25, 50), None, (True,)),
        (Count(25, 50), Count(25, 50), (True, True)),
        (Count(40, 50), Count(25, 50), (True, True)),
        (Count(22, 50), Count(25, 50), (True, True)),
        (Count(10, 50), Count(25, 50), (False, False)),
        (Count(7, 10), Count(9, 10), (True, False)),  # no proof with ten episodes, but too large a fall
        (Count(440, 500), Count(480, 500), (False, True)),  # a small fall, proven
    ],
)
def test_production_rules(candidate: Count, production: Count | None, passed: tuple[bool, ...]) -> None:
    assert tuple(rule.passed for rule in rules.production_rules(CONFIG, candidate, production)) == passed


@pytest.mark.parametrize(("p95", "passed"), [(0.2, True), (1.0, True), (1.01, False)])
def test_latency_rule(p95: float, passed: bool) -> None:
    """A refusal for latency names the way out: the decision is kept, the machine may only have been busy."""
    rule = rules.latency_rule(CONFIG, p95)
    assert rule.passed is passed
    assert ("gate.attempt=1" in rule.sentence) is not passed


@given(counts, counts, st.data())
def test_another_success_never_turns_a_pass_into_a_refusal(policy: Count, other: Count, data: st.DataObject) -> None:
    more = Count(data.draw(st.integers(policy.successes, policy.episodes)), policy.episodes)
    for before, after in zip(_all(policy, other), _all(more, other), strict=True):
        assert after or not before


def _all(policy: Count, other: Count) -> list[bool]:
    judged = rules.success_rules(CONFIG, {"a": policy}, {"a": other}) + rules.production_rules(CONFIG, policy, other)
    return [rule.passed for rule in judged]


def test_margin_rises_with_every_success() -> None:
    """The property above, exhaustively for the interval that is not obviously monotone."""
    for n in (1, 5, 20, 50):
        for worse in (Count(0, n), Count(n // 2, n), Count(n, n)):
            lows = [rules.margin_lower(Count(k, n), worse) for k in range(n + 1)]
            assert lows == sorted(lows)


@pytest.mark.parametrize(("share", "expected"), [(0.5, 2.0), (0.95, 4.0), (0.25, 1.0)])
def test_percentile_is_a_value_that_was_measured(share: float, expected: float) -> None:
    assert rules.percentile([4.0, 1.0, 3.0, 2.0], share) == expected
