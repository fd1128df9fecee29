"""Fixtures for every room: no test touches a person's store or cache; the store's suite runs on folder and MinIO."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for `tests.engines`
# Triton's client brings gRPC, whose threads have a hand in every later fork of a worker: a child was once aborted so.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

from components.store.api import Store
from components.store.files import cache_root
from components.store.open import open_store
from tests.engines import minio as minio_engine

OURS = (
    "ORRERY_STORE", "ORRERY_PIPELINE", "ORRERY_RUN", "ORRERY_QUIET", "ORRERY_STORE_PATIENCE", "MINIO_ENDPOINT",
    "AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_CA_BUNDLE",
)  # fmt: skip

# A loaded machine is slow, not wrong; and a suite that draws other examples every time passes by luck.
hypothesis.settings.register_profile("orrery", deadline=None, derandomize=True)
hypothesis.settings.load_profile("orrery")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of this test session: what it downloads and builds is gone with it. Built engines are shared."""
    real, cache = cache_root(), tmp_path_factory.mktemp("cache")
    for kept in ("bin", "go"):
        (real / kept).mkdir(parents=True, exist_ok=True)
        (cache / kept).symlink_to(real / kept)
    patch = pytest.MonkeyPatch()
    for name in OURS:
        patch.delenv(name, raising=False)
    patch.setenv("ORRERY_CACHE", str(cache))
    yield cache
    patch.undo()


@pytest.fixture(scope="session")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[minio_engine.Server]:
    """A running MinIO server with a bucket `orrery`; each test worker has its own."""
    server = minio_engine.Server(tmp_path_factory.mktemp("minio") / "data", minio_engine.binary())
    server.start()
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in server.environment.items():
                patch.setenv(name, value)
            from components.store.buckets import ensure_bucket

            ensure_bucket("s3://orrery")
        yield server
    finally:
        server.stop()


@pytest.fixture
def minio_environment(minio: minio_engine.Server, monkeypatch: pytest.MonkeyPatch) -> minio_engine.Server:
    """The environment in which `s3://…` reaches the test server."""
    for name, value in minio.environment.items():
        monkeypatch.setenv(name, value)
    return minio


@pytest.fixture(params=["folder", "minio"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty store, once in a folder and once in MinIO."""
    if request.param == "folder":
        return os.fspath(tmp_path / "store")
    request.getfixturevalue("minio_environment")
    return f"s3://orrery/{uuid.uuid4().hex}"


@pytest.fixture
def store(store_url: str) -> Store:
    """An empty store, once in a folder and once in MinIO: both must behave alike."""
    return open_store(store_url)


@pytest.fixture
def folder_store(tmp_path: Path) -> Store:
    """An empty store in a folder, for tests that are not about the store."""
    return open_store(os.fspath(tmp_path / "store"))
