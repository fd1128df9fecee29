"""Progress must tell the time left, read well in a log, and stay silent where it is not wanted."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from components.telemetry import progress as module
from components.telemetry.progress import Progress, clock, progress, read_line


class Clock:
    """Time that only moves when the test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(module.time, "monotonic", lambda: self.now)


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> Clock:
    monkeypatch.delenv("RANK", raising=False)
    return Clock(monkeypatch)


def run(p: Progress, ticking: Clock, steps: int, seconds: float, **metrics: float) -> None:
    for _ in range(steps):
        ticking.now += seconds
        p.advance(1, **metrics)


def test_lines_come_every_few_seconds_with_time_left_and_metrics(ticking: Clock) -> None:
    log = io.StringIO()
    with progress(100, "GE-Base stage 1", "steps", stream=log) as p:
        run(p, ticking, 40, 1.0, loss=0.12345)
    lines = log.getvalue().splitlines()
    assert lines[0] == "GE-Base stage 1: 100 steps to do"
    assert lines[1] == "GE-Base stage 1: 5/100 steps (5 %), 1 min 35 s left, loss 0.1235"
    assert len(lines) == 1 + 8 + 1, "one line every five seconds, a first and a last one"
    assert lines[-1] == "GE-Base stage 1: done, 40/100 steps (40 %) in 40 s, loss 0.1235"


def test_a_runner_can_read_the_lines(ticking: Clock) -> None:
    log = io.StringIO()
    with progress(100, "GE-Base: stage 1", "steps", stream=log) as p:
        run(p, ticking, 5, 1.0, loss=0.5)
    line = log.getvalue().splitlines()[1]
    assert read_line(line) == ("GE-Base: stage 1: 5/100 steps (5 %), loss 0.5", 95.0)
    assert read_line("x: 1/7200 steps (0 %), 2 h 5 min left") == ("x: 1/7200 steps (0 %)", 7500.0)
    assert read_line("x: 1/7 steps (14 %), loss 0.5") == ("x: 1/7 steps (14 %), loss 0.5", None)
    assert read_line("warning: nothing of that kind") is None


def test_time_left_follows_a_change_of_speed(ticking: Clock) -> None:
    """A slow first step (compilation) must not spoil the forecast for the whole run."""
    with progress(1000, "x", stream=io.StringIO()) as p:
        run(p, ticking, 1, 60.0)
        run(p, ticking, 100, 0.5)
        assert p.seconds_left is not None
        assert 0.5 * 899 * 0.8 < p.seconds_left < 0.5 * 899 * 1.6


def test_what_was_done_before_a_restart_does_not_count_for_the_rate(ticking: Clock) -> None:
    with progress(100, "x", initial=90, stream=io.StringIO()) as p:
        run(p, ticking, 2, 2.0)
        assert p.done == 92
        assert p.seconds_left == pytest.approx(16.0)


def test_unknown_total_shows_no_time_left(ticking: Clock) -> None:
    log = io.StringIO()
    with progress(None, "reading", "episodes", stream=log) as p:
        run(p, ticking, 6, 1.0)
        assert p.seconds_left is None
    assert "left" not in log.getvalue()
    assert "5 episodes" in log.getvalue()


def test_nothing_to_do_is_no_division_by_zero(ticking: Clock) -> None:
    log = io.StringIO()
    with progress(0, "x", stream=log) as p:
        run(p, ticking, 0, 0)
        assert p.seconds_left == 0
    assert "done" in log.getvalue()


def test_failure_does_not_read_as_done(ticking: Clock) -> None:
    log = io.StringIO()
    with pytest.raises(ValueError, match="x"), progress(10, "work", stream=log):
        raise ValueError("x")
    assert "stopped" in log.getvalue()
    assert "done," not in log.getvalue()


@pytest.mark.parametrize(("name", "value"), [("ORRERY_QUIET", "1"), ("RANK", "1")])
def test_silence(ticking: Clock, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """A script's --json output and the other workers of a gang must not be written over."""
    monkeypatch.setenv(name, value)
    log = io.StringIO()
    with progress(10, "x", stream=log) as p:
        run(p, ticking, 10, 10.0)
    assert log.getvalue() == ""
    assert p.done == 10


def test_closed_log_does_not_stop_the_work(ticking: Clock) -> None:
    log = io.StringIO()
    with progress(10, "x", stream=log) as p:
        log.close()
        run(p, ticking, 10, 10.0)
    assert p.done == 10


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")]
)
def test_durations_read_as_people_say_them(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_terminal_gets_a_bar_and_a_pipe_gets_lines() -> None:
    """Run as a process of its own on a real pseudo-terminal, then on a pipe; stdout stays free for results."""
    code = (
        "from components.telemetry.progress import progress\n"
        "with progress(3, 'work', 'episodes') as p:\n"
        "    for i in range(3): p.advance(1, loss=0.5)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "TERM": "xterm", "COLUMNS": "120"}
    environment.pop("RANK", None)
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-c", code], stderr=theirs, stdout=subprocess.PIPE, env=environment, timeout=60, check=True
    )
    os.close(theirs)
    shown = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert done.stdout == b""
    assert "\x1b[" in shown
    assert "3/3 episodes" in shown
    assert "loss 0.5" in shown

    piped = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment, timeout=60, check=True)
    assert piped.stdout == b""
    assert b"\x1b" not in piped.stderr
    assert piped.stderr.decode().splitlines()[-1].startswith("work: done, 3/3 episodes (100 %)")
