"""Speed and memory as ratios: both sides are measured in the same run, on the same machine, taking turns.

CPU seconds are counted where the work is the processor's, so that what else runs here matters little; elsewhere the
best of many turns counts, and a machine that is busy all the time shows less than it can. `make bench` runs these;
`make test` does not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from components.robots.config import RecordConfig, TaskPlan
from data_contracts.lineage import Metric

RECORDING = RecordConfig(name="bench", tasks=(TaskPlan(task="press"),), episodes=6)
_TABLES = pytest.StashKey[list[str]]()

Rows = Sequence[tuple[str, str]]
Table = Callable[[str, Rows], None]
Race = Callable[..., list[float]]


@pytest.fixture
def table(request: pytest.FixtureRequest) -> Table:
    """`table(title, [(what, value), ...])` prints a small table at the end of the run, whether a test passes or not."""

    def add(title: str, rows: Rows) -> None:
        width = max(len(what) for what, _ in rows)
        lines = [title, *(f"  {what:<{width}}  {value:>14}" for what, value in rows)]
        request.config.stash.setdefault(_TABLES, []).append("\n".join(lines))

    return add


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for text in config.stash.get(_TABLES, []):
        terminalreporter.write_line(f"\n{text}")


@pytest.fixture
def race() -> Race:
    """`race(call, ..., turns=n)`: the least seconds of each call. They take turns, so that a busy moment hits all."""

    def best(*calls: Callable[[], object], turns: int) -> list[float]:
        least = [float("inf")] * len(calls)
        for _ in range(turns):
            for number, call in enumerate(calls):
                started = time.perf_counter()
                call()
                least[number] = min(least[number], time.perf_counter() - started)
        return least

    return best


@pytest.fixture(scope="session")
def drop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Metric]]:
    """A drop of three 640x480 cameras, recorded by one process, and the recorder's own figures."""
    from components.robots.record import record_drop

    folder = tmp_path_factory.mktemp("drop")
    metrics = record_drop(RECORDING, 3, folder / "out", folder / "scratch", workers=1)
    return folder / "out", metrics
