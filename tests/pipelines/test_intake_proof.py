"""A drop goes through the pipeline from a real MinIO while a shard is killed and MinIO restarts."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from components.store.buckets import ensure_bucket
from tests.engines import minio as engine


@pytest.fixture(scope="module")
def program() -> Path:
    """MinIO's program, found before the test has a cache of its own."""
    return engine.binary()


@pytest.mark.slow
def test_nothing_is_lost_and_nothing_doubled(program: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With six episodes, one of them faulty, in two shards. By hand with 500: see `intake_proof.py`."""
    server = engine.Server(place / "minio", program)
    server.start()
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    try:
        ensure_bucket("s3://orrery")
        done = proof().prove(place, server, episodes=6, shard=3, faults=0.05)
        assert (done["published"], done["refused"], done["shards"]) == (5, 1, 2)
    finally:
        server.stop()


def proof() -> Any:
    spec = importlib.util.spec_from_file_location("intake_proof", Path(__file__).with_name("intake_proof.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
