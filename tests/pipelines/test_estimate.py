"""The time left: it falls, it follows what stages say, and it does not count what is already there."""

from __future__ import annotations

import io

import pytest

from pipelines import estimate
from pipelines.display import Display
from pipelines.estimate import Forecast, spoken


class Clock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(estimate, "time", clock)
    return clock


def test_earlier_runs_count_more_than_declared_estimates(clock: Clock) -> None:
    forecast = Forecast(["a", "b"], before={"a": 100}, declared={"a": 900, "b": 50})
    assert forecast.left() == pytest.approx(150)


def test_the_running_stages_own_word_wins(clock: Clock) -> None:
    forecast = Forecast(["a"], before={"a": 100})
    forecast.start("a")
    clock.now = 90.0
    assert forecast.left() == pytest.approx(10)
    forecast.tell(400)
    clock.now = 100.0
    assert forecast.left() == pytest.approx(390)


def test_a_repeated_run_expects_nothing_to_do_until_it_is_wrong(clock: Clock) -> None:
    """A second demo must not announce twenty minutes, nor hide them when the code has changed."""
    forecast = Forecast(["a", "b"], before={"a": 100, "b": 200}, expect_cached=True)
    assert forecast.left() < 5
    forecast.start("a")
    clock.now = 20.0
    assert forecast.left() > 60
    clock.now = 100.0
    forecast.end("a", cached=False)
    assert forecast.left() == pytest.approx(200)


def test_an_overdue_stage_still_has_time_left(clock: Clock) -> None:
    """Zero left for minutes is the mark of a broken estimate."""
    forecast = Forecast(["a"], before={"a": 10})
    forecast.start("a")
    clock.now = 1000.0
    assert forecast.left() >= 50


def test_a_slower_machine_is_noticed(clock: Clock) -> None:
    forecast = Forecast(["a", "b"], before={"a": 300, "b": 300})
    forecast.start("a")
    clock.now = 900.0
    forecast.end("a", cached=False)
    assert 600 < forecast.left() < 900


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (9.97, "10 s"), (45, "45 s"), (99.6, "2 min"), (3600 * 3, "3 h 00 min")]
)
def test_spoken(seconds: float, text: str) -> None:
    assert spoken(seconds) == text


def test_what_the_running_stage_says_of_itself_is_believed() -> None:
    forecast = Forecast(["toy/one"], declared={"toy/one": 500.0})
    with Display(forecast, {"toy/one": "One"}, io.StringIO()) as display:
        display.begin("toy/one")
        display.line("toy: 1/10 turns (10 %), 9 s left, loss 0.5")
        assert forecast.left() <= 9
