"""The one progress display: time left, rate and the latest metrics of a piece of work.

On a terminal it is a live bar. Elsewhere (a component's log, a torchrun worker) it is one plain line every few seconds,
so that a streamed log stays readable. It is silent under `ORRERY_QUIET` and in torchrun workers other than rank 0. It
writes to stderr: stdout belongs to results.
"""

from __future__ import annotations

import os
import re
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

_LINE_SECONDS = 5.0
_RATE_MEMORY_SECONDS = 60.0


def progress(
    total: float | None,
    what: str,
    unit: str = "steps",
    *,
    initial: float = 0,
    quiet: bool = False,
    stream: TextIO | None = None,
) -> Progress:
    """`with progress(1200, "GE-Base stage 1", "steps") as p: p.advance(1, loss=0.3)`.

    `total` is None when it is not known; then no time left is shown. `initial` units were done before this process
    started and do not count for the rate. Cheap enough to advance at every step.
    """
    return Progress(total, what, unit, initial, quiet or _silenced(), stream if stream is not None else sys.stderr)


def _silenced() -> bool:
    """Whether people asked for silence, or another process of the same gang already speaks."""
    return os.environ.get("ORRERY_QUIET", "") not in ("", "0") or os.environ.get("RANK", "0") != "0"


class Progress:
    """See `progress`. Threads may advance it; the last metrics win."""

    def __init__(self, total: float | None, what: str, unit: str, initial: float, silent: bool, stream: TextIO) -> None:
        self.total, self.what, self.unit = total, what, unit
        self.done = initial
        self.metrics: dict[str, float | int | str] = {}
        self._stream = stream
        self._mode = "silent" if silent else "bar" if stream.isatty() else "lines"
        self._started = self._last_line = time.monotonic()
        self._rate: float | None = None
        self._rate_at = (self._started, initial)
        self._bar: tuple[RichProgress, TaskID] | None = None

    def __enter__(self) -> Progress:
        self._started = self._last_line = time.monotonic()
        self._rate_at = (self._started, self.done)
        if self._mode == "bar":
            self._bar = _rich_bar(self.what, self.total, self._stream)
        elif self._mode == "lines":
            amount = "" if self.total is None else f" {_number(self.total)} {self.unit}"
            self._print(f"{self.what}:{amount} to do" if amount else f"{self.what}: started")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        took = clock(time.monotonic() - self._started)
        if self._bar:
            self._show_bar()
            self._bar[0].stop()
        elif self._mode == "lines":
            ending = "done" if kind is None else "stopped"
            self._print(f"{self.what}: {ending}, {self._amount()} in {took}{self._metrics_text()}")

    def advance(self, n: float = 1, **metrics: float | int | str) -> None:
        """`n` more units are done; `metrics` are shown beside."""
        self.done += n
        self.metrics.update(metrics)
        if self._mode == "silent":
            return
        now = time.monotonic()
        self._measure(now)
        if self._bar:
            self._show_bar()
        elif now - self._last_line >= _LINE_SECONDS:
            self._last_line = now
            self._print(f"{self.what}: {self._amount()}{self._left_text()}{self._metrics_text()}")

    @property
    def seconds_left(self) -> float | None:
        """None while it can't be known."""
        if self.total is None or not self._rate or self.done >= self.total:
            return None if self.total is None or self.done < self.total else 0.0
        return (self.total - self.done) / self._rate

    def _measure(self, now: float) -> None:
        """A rate that follows the last minute or so: a slow first step (compilation, caches) is soon forgotten."""
        since, done = self._rate_at
        elapsed = now - since
        if elapsed < 0.5 and self._rate is not None:
            return
        if elapsed <= 0 or self.done <= done:
            return
        latest = (self.done - done) / elapsed
        weight = min(1.0, max(0.05, elapsed / _RATE_MEMORY_SECONDS * 4)) if self._rate is not None else 1.0
        self._rate = latest if self._rate is None else weight * latest + (1 - weight) * self._rate
        self._rate_at = (now, self.done)

    def _amount(self) -> str:
        if self.total is None:
            return f"{_number(self.done)} {self.unit}"
        percent = 100 * self.done / self.total if self.total else 100
        return f"{_number(self.done)}/{_number(self.total)} {self.unit} ({percent:.0f} %)"

    def _left_text(self) -> str:
        left = self.seconds_left
        return "" if left is None else f", {clock(left)} left"

    def _metrics_text(self) -> str:
        shown = [
            f"{name} {_number(value) if not isinstance(value, str) else value}" for name, value in self.metrics.items()
        ]
        return ", " + ", ".join(shown) if shown else ""

    def _show_bar(self) -> None:
        assert self._bar is not None
        bar, task = self._bar
        left = self.seconds_left
        bar.update(
            task,
            completed=self.done,
            amount=self._amount().rpartition(" (")[0] or self._amount(),
            left="" if left is None else f"{clock(left)} left",
            metrics=self._metrics_text().removeprefix(", "),
        )

    def _print(self, text: str) -> None:
        try:
            print(text, file=self._stream, flush=True)
        except (BrokenPipeError, ValueError):  # whoever read the log is gone; the work goes on
            self._mode = "silent"


def _rich_bar(what: str, total: float | None, stream: TextIO) -> tuple[RichProgress, TaskID]:
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn
    from rich.progress import Progress as RichProgress

    bar = RichProgress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TextColumn("{task.fields[amount]}", markup=False),
        TextColumn("{task.fields[left]}", markup=False),
        TextColumn("{task.fields[metrics]}", markup=False),
        console=Console(file=stream),
        refresh_per_second=4,
    )
    bar.start()
    return bar, bar.add_task(what, total=total, amount="", left="", metrics="")


_LINE = re.compile(r"(?P<what>.+?): (?P<amount>\S+/\S+ .+? \(\d+ %\))(?:, (?P<left>[\d hmins]+) left)?(?P<more>, .*)?$")
_SECONDS = {"h": 3600, "min": 60, "s": 1}


def read_line(text: str) -> tuple[str, float | None] | None:
    """What a plain line says: work, amount and metrics, and the seconds left; None for a line of something else.

    For a runner that shows the progress of the processes it started.
    """
    match = _LINE.match(text)
    if match is None:
        return None
    left = re.findall(r"(\d+) (h|min|s)", match["left"] or "")
    note = f"{match['what']}: {match['amount']}{match['more'] or ''}"
    return note, sum(int(n) * _SECONDS[u] for n, u in left) if left else None


def clock(seconds: float) -> str:
    """A duration as people say it: `8 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _number(value: float) -> str:
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value)}"
    return f"{value:.4g}"
