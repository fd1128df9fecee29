"""The best iteration is found, and scores that can't be compared are not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from components.r_zero.config import SelectStageConfig
from components.r_zero.select import select
from components.store.errors import ConfigurationError
from data_contracts.scores import Scores, SetScores, Share

CONFIG = SelectStageConfig(name="best")


def judged(value: float, file: str = "a", name: str = "test") -> Scores:
    share = Share(value=value, low=value / 2, high=1.0)
    found = SetScores.model_construct(problems=10, samples=2, greedy=share, mean=share)
    return Scores.model_construct(model=f"model-{value}", sets={name: found}, files={name: file})


@pytest.mark.parametrize(("scores", "best"), [((0.2, 0.5, 0.4), 1), ((0.5, 0.5, 0.2), 0), ((0.1, 0.2, 0.3), 2)])
def test_the_highest_score_wins_and_the_first_of_equal_ones(
    scores: tuple[float, ...], best: int, tmp_path: Path
) -> None:
    names = ("first", "second", "third")
    found = select(CONFIG, {name: judged(value) for name, value in zip(names, scores, strict=True)}, tmp_path)
    assert (found.best, found.iterations[best].model) == (best, f"model-{scores[best]}")
    assert json.loads((tmp_path / "selection.json").read_text())["best"] == best


def test_other_problems_are_no_comparison(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="different files 'test'; judge all on one"):
        select(CONFIG, {"first": judged(0.1), "second": judged(0.2, file="b")}, tmp_path)
    with pytest.raises(ConfigurationError, match=r"first was not judged on 'test' but on harder; set select\.on"):
        select(CONFIG, {"first": judged(0.1, name="harder")}, tmp_path)
    assert not list(tmp_path.iterdir()), "nothing half-written"
