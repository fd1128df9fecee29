"""What every backend must do: the same suite on a folder and on a real MinIO server."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.store.api import Store
from components.store.errors import (
    AlreadyExists,
    ConfigurationError,
    Conflict,
    IntegrityError,
    NotFound,
    StoreError,
)
from components.store.open import open_store

SHARED = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
CHARACTERS = st.characters(
    min_codepoint=32, max_codepoint=0x2FFF, exclude_characters="/\\", exclude_categories=("C", "Z")
)
SEGMENTS = st.text(CHARACTERS, min_size=1, max_size=12).filter(
    lambda s: s not in (".", "..", ".store") and s.isprintable()
)


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_created_object_reads_back_with_its_hash(store: Store) -> None:
    made = store.create("datasets/d/a.bin", b"hello")
    assert (made.size, made.sha256) == (5, sha(b"hello"))
    assert store.read("datasets/d/a.bin", sha(b"hello")) == b"hello"
    assert store.stat("datasets/d/a.bin") == made
    assert store.read_with_etag("datasets/d/a.bin") == (b"hello", made.etag)
    assert open_store(store.url).read("datasets/d/a.bin") == b"hello"


def test_empty_object_is_an_object(store: Store) -> None:
    store.create("empty", b"")
    assert store.read("empty") == b""
    assert list(store.stream("empty")) == []
    assert store.fetch("empty", sha(b"")).read_bytes() == b""


@SHARED
@given(segments=st.lists(SEGMENTS, min_size=1, max_size=3), data=st.binary(max_size=64))
def test_any_valid_key_is_kept_exactly(store: Store, segments: list[str], data: bytes) -> None:
    """Percent signs, spaces, quotes and foreign letters must not be re-encoded by a backend."""
    top = os.urandom(6).hex()
    key = "/".join([top, *segments])
    store.create(key, data)
    assert store.read(key) == data
    assert [s.key for s in store.list(top)] == [key]


@pytest.mark.parametrize(
    "key",
    ["", "/a", "a/", "a//b", "..", "a/../b", "./a", "a/.", "a\\b", "a\0b", "a\nb", ".store/x", "a\u2028b", "x" * 300,
     "/".join(["y" * 100] * 12), "\ud800"],
)  # fmt: skip
def test_key_that_could_leave_the_store_is_refused(store: Store, key: str) -> None:
    for action in (
        lambda: store.create(key, b"x"),
        lambda: store.overwrite(key, b"x"),
        lambda: store.replace(key, b"x", None),
        lambda: store.read(key),
        lambda: store.stat(key),
        lambda: store.delete(key),
        lambda: store.fetch(key, sha(b"x")),
    ):
        with pytest.raises(ConfigurationError):
            action()


def test_object_is_immutable_even_for_equal_bytes(store: Store, tmp_path: Path) -> None:
    store.create("k", b"one")
    (tmp_path / "f").write_bytes(b"two")
    for again in (b"one", b"two"):
        with pytest.raises(AlreadyExists):
            store.create("k", again)
    with pytest.raises(AlreadyExists):
        store.create_file("k", tmp_path / "f")
    assert store.read("k") == b"one"


def test_replace_needs_the_current_etag(store: Store) -> None:
    with pytest.raises(Conflict):
        store.replace("channel", b"x", "no-such-etag")
    first = store.replace("channel", b"1", None)
    with pytest.raises(Conflict):
        store.replace("channel", b"2", None)
    second = store.replace("channel", b"2", first.etag)
    assert second.etag != first.etag
    with pytest.raises(Conflict):
        store.replace("channel", b"3", first.etag)
    assert store.read_with_etag("channel") == (b"2", second.etag)


def test_overwrite_and_delete(store: Store) -> None:
    for text in (b"running", b"succeeded"):
        store.overwrite("runs/r/status.json", text)
        assert store.read("runs/r/status.json") == text
    store.delete("runs/r/status.json")
    store.delete("runs/r/status.json")
    assert store.stat("runs/r/status.json") is None
    store.create("runs/r/status.json", b"new")  # a deleted key is free again


def test_absent_object(store: Store) -> None:
    assert store.stat("nothing/here") is None
    assert list(store.list("nothing")) == []
    for action in (
        lambda: store.read("nothing/here"),
        lambda: store.read_with_etag("nothing/here"),
        lambda: store.read_range("nothing/here", 0, 1),
        lambda: list(store.stream("nothing/here")),
        lambda: store.fetch("nothing/here", sha(b"x")),
    ):
        with pytest.raises(NotFound, match="nothing/here"):
            action()


def test_wrong_hash_is_refused_on_write_and_on_read(store: Store, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"data")
    with pytest.raises(IntegrityError):
        store.create_file("k", tmp_path / "f", sha256=sha(b"other"))
    assert store.stat("k") is None
    store.create_file("k", tmp_path / "f", sha256=sha(b"data"))
    with pytest.raises(IntegrityError):
        store.read("k", sha(b"other"))
    with pytest.raises(IntegrityError):
        store.fetch("k", sha(b"other"))


@SHARED
@given(size=st.integers(0, 300), start=st.integers(0, 320), length=st.integers(0, 320))
def test_range_is_a_slice(store: Store, size: int, start: int, length: int) -> None:
    data = bytes(i % 251 for i in range(size))
    store.overwrite(f"ranges/{size}", data)
    assert store.read_range(f"ranges/{size}", start, length) == data[start : start + length]


def test_negative_range_is_refused(store: Store) -> None:
    store.create("k", b"0123")
    for start, length in ((-1, 2), (0, -1)):
        with pytest.raises(ConfigurationError):
            store.read_range("k", start, length)


def test_large_file_goes_through_in_parts(store: Store, tmp_path: Path) -> None:
    """Larger than one upload part, and no multiple of it."""
    data = os.urandom(1 << 20) * 19 + b"tail"
    (tmp_path / "big").write_bytes(data)
    made = store.create_file("big", tmp_path / "big")
    assert made.sha256 == sha(data)
    chunks = list(store.stream("big", chunk_size=700_001))
    assert b"".join(chunks) == data
    assert max(map(len, chunks)) <= 700_001
    assert store.fetch("big", sha(data)).read_bytes() == data
    assert store.read_range("big", 9 << 20, 5) == data[9 << 20 : (9 << 20) + 5]
    with pytest.raises(AlreadyExists):
        store.create_file("big", tmp_path / "big")


def test_list_is_in_key_order_and_stops_at_segments(store: Store) -> None:
    keys = ["a/b", "a-b", "a/b-c/x", "a/bc", "ab/c", "a/b0/é", "a/b0/e", "a/B/z"]
    keys = [k for k in keys if k != "a/b"]  # no object may lie under another's key
    for key in keys:
        store.create(key, key.encode())
    assert [s.key for s in store.list("")] == sorted(keys)
    assert [s.key for s in store.list("a")] == sorted(k for k in keys if k.startswith("a/"))
    assert [s.key for s in store.list("a/b0/")] == ["a/b0/e", "a/b0/é"]
    assert {s.key: s.size for s in store.list("ab")} == {"ab/c": 4}


def test_long_listing_is_complete(store: Store) -> None:
    """More than one page of an S3 listing."""
    keys = [f"many/{i:04d}" for i in range(1100)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda k: store.create(k, b""), keys))
    assert [s.key for s in store.list("many")] == keys


def test_one_of_many_threads_creates(store: Store) -> None:
    def attempt(i: int) -> int | None:
        try:
            store.create("contended", f"writer {i}".encode())
            return i
        except AlreadyExists:
            return None

    for round_ in range(5):
        with ThreadPoolExecutor(16) as pool:
            winners = [w for w in pool.map(attempt, range(16)) if w is not None]
        assert len(winners) == 1, f"round {round_}: {winners} all believe to have created it"
        assert store.read("contended") == f"writer {winners[0]}".encode()
        store.delete("contended")


def test_no_increment_is_lost_under_compare_and_swap(store: Store) -> None:
    store.replace("counter", b"0", None)

    def add(_: int) -> None:
        for _ in range(500):
            value, etag = store.read_with_etag("counter")
            try:
                store.replace("counter", str(int(value) + 1).encode(), etag)
                return
            except Conflict:
                continue
        raise AssertionError("never won")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(40)))
    assert store.read("counter") == b"40"


def test_readers_never_see_a_mixture(store: Store) -> None:
    """While an object is replaced, a reader gets one version whole, with its own hash, and no false alarm."""
    texts = [bytes([65 + i]) * 50_000 for i in range(4)]
    store.overwrite("shared", texts[0])

    def read(_: int) -> bool:
        return store.read("shared") in texts

    with ThreadPoolExecutor(6) as pool:
        readers = [pool.submit(read, i) for i in range(60)]
        for i in range(30):
            store.overwrite("shared", texts[i % 4])
        assert all(r.result() for r in readers)


def test_fetch_gives_a_read_only_file(store: Store) -> None:
    store.create("w", b"weights")
    path = store.fetch("w", sha(b"weights"))
    assert path.stat().st_mode & 0o222 == 0
    assert store.fetch("w", sha(b"weights")) == path


def test_unknown_url_scheme_names_the_alternatives() -> None:
    with pytest.raises(ConfigurationError, match="s3://bucket/prefix"):
        open_store("gs://bucket/x")


def test_a_file_that_vanished_is_a_clear_error(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no-such-file"):
        store.create_file("k", tmp_path / "no-such-file")
    assert store.stat("k") is None
