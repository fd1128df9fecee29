"""A folder of one's own for every test: store, cache, locks, logs and reports."""

from __future__ import annotations

import functools
import inspect
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder; nothing of the machine's own store, cache or settings is seen."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ORRERY_STORE", raising=False)
    monkeypatch.setenv("ORRERY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ORRERY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(HERE))  # KFP's tasks import the toy stages
    monkeypatch.syspath_prepend(str(HERE))
    return tmp_path


@pytest.fixture(autouse=True)
def light_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    """KFP reads the stack for each setting of each task, with source lines that it does not use.

    Beside a test session's deep stack and thousands of modules that takes minutes where a compilation takes seconds.
    """
    monkeypatch.setattr(inspect, "stack", functools.partial(inspect.stack, 0))


@pytest.fixture
def orrery(place: Path) -> Run:
    """The `orrery` command as a user calls it: `orrery("runs", "list")`."""

    def call(*words: str, **extra: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "pipelines.cli", *words], cwd=place, env={**os.environ, **extra},
            capture_output=True, text=True, timeout=280,
        )  # fmt: skip

    return call
