"""What a person sees while a run goes on: one line per stage, the running stage's progress, and the time left."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TextIO

from components.telemetry.progress import read_line
from data_contracts.lineage import StageStatus
from pipelines.estimate import Forecast, roughly, spoken

QUIET_SECONDS = 15.0
"""Without a terminal, a running stage is mentioned this often."""


class Display:
    """Prints to `stream` (stderr: results go to stdout). On a terminal the last line lives; elsewhere, plain lines."""

    def __init__(self, forecast: Forecast, titles: Mapping[str, str], stream: TextIO | None = None):
        self._forecast, self._titles, self._stream = forecast, titles, stream or sys.stderr
        self._width = max((len(title) for title in titles.values()), default=0)
        self._quiet = os.environ.get("ORRERY_QUIET", "") not in ("", "0")
        self._live = not self._quiet and self._stream.isatty()
        self._total = len(forecast.tasks)
        self._begun: dict[str, int] = {}
        """how often each task was: a loop's runs again and again"""
        self._task, self._note, self._started = "", "", time.monotonic()
        self._said = time.monotonic()
        self._recent: deque[str] = deque(maxlen=400)
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._ticker = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> Display:
        if not self._quiet:
            self._ticker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._ticker.is_alive():
            self._ticker.join(2)
        self._clear()

    def say(self, text: str) -> None:
        """A line that stays."""
        with self._lock:
            if not self._quiet:
                self._clear()
                self._stream.write(text + "\n")
                self._stream.flush()
                self._said = time.monotonic()

    def begin(self, task: str) -> None:
        with self._lock:
            self._begun[task] = self._begun.get(task, 0) + 1
            self._task, self._note, self._started = task, "", time.monotonic()
            self._recent.clear()
            self._forecast.start(task)
            if not self._live:
                self.say(f"{self._label()}  starts{self._left()}")

    def line(self, text: str) -> None:
        """Something that the running stage printed: progress is shown, warnings stay, the rest is for the log."""
        with self._lock:
            self._recent.append(text)
            told = read_line(text)
            if told:
                self._note, left = told
                self._forecast.tell(left)
            elif text.startswith("warning: "):
                self.say(f"{self._label()}  {text}")

    def finish(self, task: str, status: StageStatus) -> None:
        """The stage ended well, or was there already."""
        with self._lock:
            cached = status.status == "cached"
            self._forecast.end(task, cached)
            what = "already there" if cached else f"done in {spoken(status.seconds)}"
            self.say(f"{self._label()}  {what}  {status.prefix}{self._left()}")
            self._task = ""

    def fail(self) -> None:
        with self._lock:
            self.say(f"{self._label()}  failed after {spoken(self.elapsed())}")
            self._task = ""

    def elapsed(self) -> float:
        """Seconds since the running (or last) stage began."""
        return time.monotonic() - self._started

    def recent(self) -> Sequence[str]:
        """The last lines of the stage that is running or has just failed."""
        return list(self._recent)

    def _label(self) -> str:
        title = self._titles.get(self._task, self._task)
        again = self._begun.get(self._task, 1)
        title = f"{title} {again}" if again > 1 else title
        return f"[{len(self._begun):>2}/{self._total}] {title:<{self._width}}"

    def _left(self) -> str:
        left = self._forecast.left()
        return f"  · about {roughly(left)} left" if left >= 0.5 else ""

    def _clear(self) -> None:
        if self._live:
            self._stream.write("\r\x1b[2K")
            self._stream.flush()

    def _tick(self) -> None:
        while not self._stop.wait(0.5):
            with self._lock:
                if not self._task:
                    continue
                if self._live:
                    self._stream.write("\r\x1b[2K" + _fit(self._status()))
                    self._stream.flush()
                elif time.monotonic() - self._said > QUIET_SECONDS:
                    self.say(self._status())

    def _status(self) -> str:
        return f"{self._label()}  {self._note or 'working'}  · {spoken(self.elapsed())}{self._left()}"


def _fit(text: str) -> str:
    """One terminal line: a longer one would wrap and could not be cleared."""
    width = shutil.get_terminal_size().columns
    return text if len(text) < width else text[: width - 2] + "…"
