"""The best iteration is found, a fall ends the run, and scores that can't be compared are not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from components.r_zero.config import SelectStageConfig
from components.r_zero.select import plays_on, select
from components.store.errors import ConfigurationError
from data_contracts.scores import Scores, SetScores, Share

CONFIG = SelectStageConfig(name="best")
NAMES = ("first", "second", "third")


def judged(value: float, file: str = "a", name: str = "test") -> Scores:
    share = Share(value=value, low=value / 2, high=1.0)
    found = SetScores.model_construct(problems=10, samples=2, greedy=share, mean=share)
    return Scores.model_construct(model=f"model-{value}", sets={name: found}, files={name: file})


@pytest.mark.parametrize(("scores", "best"), [((0.2, 0.5, 0.4), 1), ((0.5, 0.5, 0.2), 0), ((0.1, 0.2, 0.3), 2)])
def test_the_highest_score_wins_and_the_first_of_equal_ones(
    scores: tuple[float, ...], best: int, tmp_path: Path
) -> None:
    played = {name: judged(value) for name, value in zip(NAMES, scores, strict=True)}
    found = select(CONFIG, judged(0.3), played, tmp_path)
    assert (found.best, found.iterations[best].model) == (best, f"model-{scores[best]}")
    assert found.stopped == "", "all that were asked for were played"
    assert json.loads((tmp_path / "selection.json").read_text())["best"] == best


def test_other_problems_are_no_comparison(tmp_path: Path) -> None:
    base = judged(0.1)
    with pytest.raises(ConfigurationError, match="different files 'test'; judge all on one"):
        select(CONFIG, base, {"first": judged(0.1), "second": judged(0.2, file="b")}, tmp_path)
    with pytest.raises(ConfigurationError, match=r"model-0\.1 was not judged on 'test' but on harder; set select\.on"):
        select(CONFIG, base, {"first": judged(0.1, name="harder")}, tmp_path)
    with pytest.raises(ConfigurationError, match="judge all on one"):
        plays_on(CONFIG, judged(0.1, file="b"), [judged(0.1)])
    assert not list(tmp_path.iterdir()), "nothing half-written"


@pytest.mark.parametrize(
    ("scores", "stop", "on"),
    [
        ((0.5,), {}, True),
        ((0.49,), {}, True),  # within the drop that is allowed
        ((0.47,), {}, False),  # below the base
        ((0.6, 0.55), {}, False),  # below its best, though above the base
        ((0.6, 0.55), {"drop": 0.1}, True),
        ((0.6, 0.55), {"patience": 2}, True),
        ((0.6, 0.55, 0.59), {"patience": 2}, True),  # it recovered
        ((0.6, 0.55, 0.5), {"patience": 2}, False),
        ((0.5, 0.5, 0.5, 0.5), {}, False),  # as many as were asked for
    ],
)
def test_a_fall_ends_the_run(scores: tuple[float, ...], stop: dict[str, Any], on: bool) -> None:
    """The paper's solver falls after its third or fourth iteration; to play on would cost GPUs and publish nothing."""
    config = SelectStageConfig.model_validate({"name": "best", "iterations": 4, "stop": stop})
    assert plays_on(config, judged(0.5), [judged(value) for value in scores])[0] == on


def test_a_run_that_ended_early_says_why(tmp_path: Path) -> None:
    found = select(CONFIG, judged(0.5), {"first": judged(0.6), "second": judged(0.55)}, tmp_path)
    assert (found.best, found.asked) == (0, 3)
    assert found.stopped == ("avg@2 on test fell to 55.0 %, 5.0 points below iteration 1; stop.drop allows 2.0")
