"""The table over repetitions: its intervals count problems and trainings, and differences are paired."""

from __future__ import annotations

import math

import numpy as np
import pytest

from components.dft.arms import student, table
from components.store.errors import ConfigurationError
from data_contracts.arms import Judged, Trained
from data_contracts.scores import SetScores, Share

ANY = Share(value=0.5, low=0.0, high=1.0)


def trained(*right: int, samples: int = 4, greedy: tuple[bool, ...] = ()) -> Trained:
    mean = sum(right) / samples / len(right)
    scores = SetScores(
        problems=len(right), samples=samples, greedy=ANY, mean=Share(value=mean, low=0, high=1), pass_at={1: mean},
        unboxed=0, cut=0, tokens=9, right=right, greedy_right=greedy,
    )  # fmt: skip
    return Trained(model="m", sets={"test": scores})


def judged(seed: int, problems: str = "p", **arms: Trained) -> Judged:
    return Judged(seed=seed, arms=arms, files={"test": problems})


def test_differences_are_paired_by_problem() -> None:
    """Breaks if arms were compared as independent samples: a small gain everywhere would drown in their spread."""
    base, better = (0, 0, 4, 3, 0, 3), (1, 1, 4, 4, 1, 4)
    found = table([judged(s, base=trained(*base), sft=trained(*better)) for s in (0, 1)])
    gain = (np.array(better) - np.array(base)) / 4
    difference = found.rows["sft"].sets["test"].against["base"]
    assert difference.value == pytest.approx(gain.mean(), abs=1e-6)
    half = 1.96 * gain.std(ddof=1) / math.sqrt(len(gain))
    assert (difference.low, difference.high) == pytest.approx((gain.mean() - half, gain.mean() + half), abs=1e-3)
    assert difference.low > 0
    mean = found.rows["sft"].sets["test"].mean
    assert mean.low < found.rows["base"].sets["test"].mean.high, "unpaired, the intervals overlap"


def test_a_problems_samples_of_all_repetitions_make_one_mean() -> None:
    """Breaks if the repetitions of a problem counted as so many problems: the interval would be too narrow."""
    one = table([judged(0, base=trained(4, 4, 0, 0))]).rows["base"].sets["test"]
    three = table([judged(s, base=trained(4, 4, 0, 0)) for s in range(3)]).rows["base"].sets["test"]
    assert one.mean == three.mean
    assert (one.over_seeds, one.against) == (None, {})
    assert three.by_seed == (0.5, 0.5, 0.5)


def test_three_trainings_say_little_of_a_fourth() -> None:
    """Breaks if the normal quantile were taken: with two degrees of freedom Student's is more than twice as large."""
    share = student([0.4, 0.5, 0.6])
    assert (share.low, share.high) == pytest.approx((0.5 - 0.2484, 0.5 + 0.2484), abs=1e-3)


def test_what_the_base_could_do_and_an_arm_can_not_is_forgotten() -> None:
    """Breaks if a gain elsewhere hid a loss: an arm may rise on average and still unlearn what its base could do."""
    base = trained(4, 4, 4, 0, 0, greedy=(True, True, True, False, False))
    arms = [trained(4, 4, 0, 4, 4, greedy=(True, True, solved, True, True)) for solved in (False, True)]
    found = table([judged(s, base=base, sft=arm) for s, arm in enumerate(arms)])
    kept = found.rows["sft"].sets["test"].kept
    assert kept is not None
    assert kept.value == pytest.approx((1 + 1 + 0.5) / 3)
    assert kept.low < kept.value < kept.high
    assert found.rows["base"].sets["test"].kept is None
    assert found.files == {"test": "p"}
    nothing = trained(0, greedy=(False,))
    assert table([judged(0, base=nothing, sft=nothing)]).rows["sft"].sets["test"].kept is None


def test_repetitions_judged_by_other_problems_are_no_repetitions() -> None:
    with pytest.raises(ConfigurationError, match="differ in their arms or problems"):
        table([judged(0, base=trained(1)), judged(1, problems="q", base=trained(1))])
