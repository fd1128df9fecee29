"""If these fail, a channel names a version that nobody put there, or a rollback does not bring back what was."""

from __future__ import annotations

import itertools
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from components.release import registry
from components.store.errors import ConfigurationError, Conflict, OrreryError
from components.store.open import open_store
from tests.release.conftest import Release, Upstream


@pytest.fixture
def versions(upstream: Any, release: Any) -> list[str]:
    """Three published versions of `press`."""
    return [release.publish(upstream.inputs(18, seed=seed)).version for seed in range(3)]


def test_promote_moves_one_pointer_and_keeps_the_log(store: Any, versions: list[str]) -> None:
    for version in versions[:2]:
        registry.promote(store, "press", version, "production", by="ada", reason="better")
    assert registry.resolve(store, "press", "production").version == versions[1]
    log = registry.history(store, "press", "production")
    assert [(e.action, e.target.version, e.by) for e in log] == [
        ("promote", versions[1], "ada"), ("promote", versions[0], "ada"),
    ]  # fmt: skip
    assert registry.history(store, "press", "canary") == ()


def test_promoting_again_changes_nothing(store: Any, versions: list[str]) -> None:
    first = registry.promote(store, "press", versions[0], "candidate")
    assert registry.promote(store, "press", versions[0], "candidate") == first


def test_rollback_restores_exactly_what_was(store: Any, versions: list[str]) -> None:
    pointers = [registry.promote(store, "press", v, "production") for v in versions]
    for expected in (pointers[1], pointers[0]):
        assert registry.rollback(store, "press", "production").target == expected.target
    with pytest.raises(OrreryError, match="did not name anything before"):
        registry.rollback(store, "press", "production")
    registry.promote(store, "press", versions[2], "production")
    assert registry.rollback(store, "press", "production").target == pointers[0].target


def test_rollback_to_a_named_version(store: Any, versions: list[str]) -> None:
    for version in versions:
        registry.promote(store, "press", version, "production")
    assert registry.rollback(store, "press", "production", to=versions[0][:8]).target.version == versions[0]
    with pytest.raises(OrreryError, match="did not name version"):
        registry.rollback(store, "press", "production", to=versions[1])


def test_two_people_who_roll_back_the_same_version_roll_back_once(store: Any, versions: list[str]) -> None:
    for version in versions:
        registry.promote(store, "press", version, "production")
    registry.rollback(store, "press", "production", expected=versions[2])
    with pytest.raises(Conflict, match="see its history"):
        registry.rollback(store, "press", "production", expected=versions[2])
    assert registry.current(store, "press", "production") == versions[1]


def test_concurrent_promotes_all_count_and_none_is_lost(store_url: str, small: Any) -> None:
    """Compare-and-swap, in a folder and in MinIO: each of many promotes is in the log once, and they have one order."""
    store = open_store(store_url)
    upstream = Upstream(store, small)
    versions = [Release(upstream).publish(upstream.inputs(18, seed=seed)).version for seed in range(3)]
    wanted = [versions[i % 3] for i in range(12)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda i: registry.promote(store, "press", wanted[i], "canary", reason=str(i)), range(12)))
    log = registry.history(store, "press", "canary")
    assert len({e.reason for e in log}) == len(log)
    assert {e.target.version for e in log} == set(versions)
    assert all(a.target != b.target for a, b in itertools.pairwise(log))
    assert registry.current(store, "press", "canary") == log[0].target.version


def test_a_promote_that_loses_the_race_sees_what_won(store: Any, versions: list[str], monkeypatch: Any) -> None:
    registry.promote(store, "press", versions[0], "canary")
    replace, raced = store.replace, []

    def slow(key: str, data: bytes, etag: str | None) -> Any:
        if not raced:
            raced.append(key)
            registry.promote(store, "press", versions[1], "canary")
        return replace(key, data, etag)

    monkeypatch.setattr(store, "replace", slow)
    registry.promote(store, "press", versions[2], "canary")
    assert [e.target.version for e in registry.history(store, "press", "canary")] == versions[::-1]


def test_list_names_versions_and_their_channels(store: Any, versions: list[str]) -> None:
    registry.promote(store, "press", versions[1], "candidate")
    registry.promote(store, "press", versions[1], "production")
    registry.promote(store, "press", versions[2], "canary")
    listed = json.loads(registry.as_json(registry.list_models(store)))["models"]
    assert {m["version"]: (m["name"], m["channels"]) for m in listed} == {
        versions[0]: ("press", []),
        versions[1]: ("press", ["candidate", "production"]),
        versions[2]: ("press", ["canary"]),
    }


def test_without_a_channel_the_most_trusted_one_is_meant(store: Any, versions: list[str]) -> None:
    registry.promote(store, "press", versions[0], "candidate")
    assert registry.resolve(store, "press").version == versions[0]
    registry.promote(store, "press", versions[1], "production")
    assert registry.resolve(store, "press").version == versions[1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s, v: registry.resolve(s, "pres"), "unknown policy 'pres'; published: press"),
        (lambda s, v: registry.resolve(s, "../models"), "not a policy name"),
        (lambda s, v: registry.resolve(s, "press", "prod"), "channels are candidate, canary, production"),
        (lambda s, v: registry.resolve(s, "press", "canary"), "nothing in canary"),
        (lambda s, v: registry.promote(s, "press", "00000000", "canary"), "no published version"),
        (lambda s, v: registry.promote(s, "press", "", "canary"), "more than one published version"),
        (lambda s, v: registry.promote(s, "press", v[0], "live"), "unknown channel 'live'"),
        (lambda s, v: registry.rollback(s, "press", "canary"), "nothing to roll back"),
        (lambda s, v: registry.rollback(s, "nobody", "canary"), "unknown policy 'nobody'"),
        (lambda s, v: registry.history(s, "nobody", "canary"), "unknown policy 'nobody'"),
    ],
)
def test_bad_usage_is_one_clear_message(store: Any, versions: list[str], call: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as error:
        call(store, versions)
    assert error.value.exit_code == 2
