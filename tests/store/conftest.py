"""The toy stage, as a module and as a process."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOY = Path(__file__).with_name("toy.py")


@pytest.fixture(scope="session")
def toy_module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("orrery_test_toy", TOY)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def start_toy() -> Callable[..., subprocess.Popen[str]]:
    """Start `toy.py` with arguments; its stdout is a pipe."""

    def start(*arguments: object) -> subprocess.Popen[str]:
        return run_python(str(TOY), *map(str, arguments))

    return start


def run_python(*arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.fixture
def start_python() -> Callable[..., subprocess.Popen[str]]:
    """Start a Python process that can import the project."""
    return run_python
