"""The small model that the tests of both players share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engines.digits import write_model


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It boxes one of four digits at random, and writes eight questions."""
    path = tmp_path_factory.mktemp("digits")
    write_model(path)
    return path
