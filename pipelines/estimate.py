"""How long a run still takes: from what its stages took before, or else from what its recipe says they take."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

CACHED_SECONDS = 1.5
UNKNOWN_SECONDS = 60.0


@dataclass(slots=True)
class Forecast:
    """The time left of a run of `tasks`, corrected as its stages end.

    `before` holds seconds per task of an earlier run, `declared` the recipe's own estimates. As long as every stage was
    found in the store, and an earlier run of the same configuration had ended well (`expect_cached`), the rest is
    expected there too.
    """

    tasks: Sequence[str]
    before: Mapping[str, float] = field(default_factory=dict)
    declared: Mapping[str, float] = field(default_factory=dict)
    expect_cached: bool = False
    _done: set[str] = field(default_factory=set)
    _started: dict[str, float] = field(default_factory=dict)
    _told: float | None = None
    _told_at: float = 0.0
    _planned: float = 0.0
    _taken: float = 0.0

    def start(self, task: str) -> None:
        self._started[task] = time.monotonic()
        self._told = None

    def tell(self, seconds_left: float | None) -> None:
        """The running stage's own opinion of how long it still takes; better than any estimate."""
        if seconds_left is not None:
            self._told, self._told_at = seconds_left, time.monotonic()

    def end(self, task: str, cached: bool) -> None:
        taken = time.monotonic() - self._started.get(task, time.monotonic())
        self._done.add(task)
        self._told = None
        if not cached:
            self.expect_cached = False
            self._planned += self._base(task)
            self._taken += taken

    def left(self) -> float:
        """Seconds until the last task ends."""
        return sum(self._left_of(task) for task in self.tasks if task not in self._done)

    def _left_of(self, task: str) -> float:
        expected = self._expected(task)
        started = self._started.get(task)
        if started is None:
            return expected
        elapsed = time.monotonic() - started
        if self._told is not None:
            return max(0.0, self._told - (time.monotonic() - self._told_at))
        if elapsed > 2 * CACHED_SECONDS:  # it is working, so it was not there
            expected = max(expected, self._base(task) * self._pace())
        return max(expected - elapsed, 0.1 * elapsed)

    def _expected(self, task: str) -> float:
        return CACHED_SECONDS if self.expect_cached else self._base(task) * self._pace()

    def _base(self, task: str) -> float:
        return self.before.get(task) or self.declared.get(task) or UNKNOWN_SECONDS

    def _pace(self) -> float:
        """How much slower than planned this machine is, as far as this run has shown; trusted slowly."""
        return min(4.0, max(0.3, (self._taken + 60.0) / (self._planned + 60.0)))


def roughly(seconds: float) -> str:
    """An estimate as people say it; more digits would only pretend to know."""
    return f"{max(1, round(seconds))} s" if seconds < 99.5 else spoken(seconds)


def spoken(seconds: float) -> str:
    """A duration as people say it: 45 s, 3 min, 1 h 20 min."""
    if seconds < 10:
        return f"{seconds:.1f} s" if seconds < 9.95 else "10 s"
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"
