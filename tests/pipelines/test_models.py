"""`orrery models`: which version is meant."""

from __future__ import annotations

from components.release import registry
from components.store.api import Store
from pipelines.commands import models
from tests.engines import triton
from tests.release.conftest import Release, Upstream


def test_promote_means_the_candidate(folder_store: Store) -> None:
    """With a version in production already, `promote POLICY` must not put the same one there again and say `done`."""
    upstream = Upstream(folder_store, triton)
    old, new = (Release(upstream).publish(upstream.inputs(18, seed=seed)).version for seed in range(2))
    registry.promote(folder_store, "press", old, "production")
    registry.promote(folder_store, "press", new, "candidate")
    for channel in ("canary", "production"):
        models.promote("press", to=channel, store=folder_store.url)
        assert registry.current(folder_store, "press", registry.check_channel(channel)) == new
    models.promote(f"press@{old[:8]}", to="canary", store=folder_store.url)
    assert registry.current(folder_store, "press", "canary") == old
    assert models.resolve(folder_store, "press").version == new
