"""Adopting a drop: what lies somewhere becomes an immutable version, named by what is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.agibot.config import AdoptConfig
from components.agibot.stages import adopt
from components.store.api import Store
from components.store.errors import ConfigurationError
from components.store.open import open_store

FILES = {"task_info/task_1.json": b"[]", "observations/1/2/videos/head_color.mp4": b"video", "empty.txt": b""}


@pytest.fixture
def upload(tmp_path: Path) -> Path:
    """A folder with some files; adopting reads no layout."""
    for name, data in FILES.items():
        path = tmp_path / "upload" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "upload"


def contents(store: Store, prefix: str) -> dict[str, bytes]:
    found = {s.key.removeprefix(f"{prefix}/"): store.read(s.key) for s in store.list(prefix)}
    found.pop("record.json")
    return found


def test_a_folder_becomes_a_version(folder_store: Store, upload: Path) -> None:
    record = adopt(folder_store, AdoptConfig(name="mine", source=str(upload)), 0)
    assert (record.kind, record.name, record.stage) == ("raw", "mine", "agibot.adopt")
    assert contents(folder_store, record.prefix) == FILES
    assert record.metrics == {"files": 3, "bytes": 7}
    assert record.config["fingerprint"] == record.fingerprint, "the version says what it was made from"


def test_the_same_drop_is_the_same_version_and_a_grown_one_another(folder_store: Store, upload: Path) -> None:
    """A robot adds episodes to a folder over night: the next run must see them."""
    config = AdoptConfig(source=str(upload))
    first = adopt(folder_store, config, 0)
    assert adopt(folder_store, config, 0) == first
    (upload / "more.txt").write_bytes(b"more")
    second = adopt(folder_store, config, 0)
    assert second.version != first.version
    assert contents(folder_store, first.prefix) == FILES, "the first version is untouched"


def test_a_prefix_in_the_store(store: Store) -> None:
    for name, data in FILES.items():
        store.create(f"inbox/monday/{name}", data)
    store.create("inbox/monday2/other.txt", b"?")
    record = adopt(store, AdoptConfig(source="inbox/monday"), 0)
    assert contents(store, record.prefix) == FILES


def test_what_robots_upload_into_the_store_is_not_copied(store: Store) -> None:
    """A tar of fifty gigabytes below `raw/` stays where it is: the version refers to it. By prefix, or by URL."""
    for name, data in FILES.items():
        store.create(f"raw/inbox/monday/{name}", data)
    record = adopt(store, AdoptConfig(source="raw/inbox/monday"), 0)
    assert {o.path: store.read(record.key_of(o), o.sha256) for o in record.objects} == FILES
    assert [s.key for s in store.list(record.prefix)] == [f"{record.prefix}/record.json"]
    by_url = adopt(store, AdoptConfig(source=f"{store.url}/raw/inbox/monday"), 0)
    assert by_url.fingerprint == record.fingerprint


def test_another_store(folder_store: Store, upload: Path, tmp_path: Path) -> None:
    other = open_store(str(tmp_path / "other"))
    for name, data in FILES.items():
        other.create(name, data)
    record = adopt(folder_store, AdoptConfig(source=f"file://{other.url}"), 0)
    assert contents(folder_store, record.prefix) == FILES
    laid_by_hand = adopt(folder_store, AdoptConfig(source=f"file://{upload}"), 0)
    assert laid_by_hand.fingerprint == record.fingerprint


def test_the_fingerprint_may_be_asked_for(folder_store: Store, upload: Path) -> None:
    record = adopt(folder_store, AdoptConfig(source=str(upload)), 0)
    asked = AdoptConfig(source=str(upload), fingerprint=record.fingerprint)
    assert adopt(folder_store, asked, 0) == record
    (upload / "empty.txt").write_bytes(b"no longer")
    with pytest.raises(ConfigurationError, match="was changed or is not complete"):
        adopt(folder_store, asked, 0)


@pytest.mark.parametrize("source", ["{tmp}/absent", "{tmp}/empty", "no/such/prefix", "file://{tmp}/empty"])
def test_nothing_at_the_source(folder_store: Store, tmp_path: Path, source: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigurationError, match="holds no file"):
        adopt(folder_store, AdoptConfig(source=source.format(tmp=tmp_path)), 0)
    assert list(folder_store.list("raw")) == []


def test_a_name_that_can_be_no_key_is_named(folder_store: Store, upload: Path) -> None:
    (upload / "a\nb").write_bytes(b"")
    with pytest.raises(ConfigurationError, match=r"a\\nb"):
        adopt(folder_store, AdoptConfig(source=str(upload)), 0)


def test_a_single_tar(folder_store: Store, tmp_path: Path) -> None:
    (tmp_path / "drop.tar").write_bytes(b"tar")
    record = adopt(folder_store, AdoptConfig(source=str(tmp_path / "drop.tar")), 0)
    assert contents(folder_store, record.prefix) == {"drop.tar": b"tar"}


def test_a_single_tar_in_the_store(folder_store: Store) -> None:
    folder_store.create("raw/inbox/drop.tar", b"tar")
    record = adopt(folder_store, AdoptConfig(source="raw/inbox/drop.tar"), 0)
    assert [(o.path, o.key) for o in record.objects] == [("drop.tar", "raw/inbox/drop.tar")]
