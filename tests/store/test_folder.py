"""What only a folder can suffer: damaged files, links, files laid by hand, a disk that fills up."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from components.store.api import Store
from components.store.errors import AlreadyExists, ConfigurationError, Conflict, IntegrityError, StoreError
from components.store.open import open_store


@pytest.fixture
def root(folder_store: Store) -> Path:
    return Path(folder_store.url)


def damage(path: Path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)


def test_damaged_object_is_never_given_out(folder_store: Store, root: Path) -> None:
    made = folder_store.create("models/w", b"weights")
    assert made.sha256
    damage(root / "models/w", b"wEights")
    for action in (
        lambda: folder_store.read("models/w"),
        lambda: list(folder_store.stream("models/w")),
        lambda: folder_store.fetch("models/w", made.sha256 or ""),
        lambda: folder_store.read_with_etag("models/w"),
    ):
        with pytest.raises(IntegrityError, match="models/w"):
            action()


def test_damage_after_a_first_fetch_is_seen(folder_store: Store, root: Path) -> None:
    made = folder_store.create("w", b"weights")
    assert made.sha256
    folder_store.fetch("w", made.sha256)
    damage(root / "w", b"wEights")
    with pytest.raises(IntegrityError):
        folder_store.fetch("w", made.sha256)


def test_symbolic_links_are_not_followed(folder_store: Store, root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    root.mkdir()
    (root / "link").symlink_to(outside)
    (root / "file").symlink_to(outside / "secret")
    for action in (
        lambda: folder_store.read("link/secret"),
        lambda: folder_store.read("file"),
        lambda: folder_store.create("link/new", b"x"),
        lambda: folder_store.overwrite("file", b"x"),
        lambda: folder_store.delete("link/secret"),
    ):
        with pytest.raises(StoreError, match="symbolic link"):
            action()
    assert list(folder_store.list("")) == []
    assert sorted(p.name for p in outside.iterdir()) == ["secret"]
    assert (outside / "secret").read_bytes() == b"secret"


def test_store_behind_a_link_works(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "store").symlink_to(tmp_path / "disk")
    store = open_store(str(tmp_path / "store"))
    store.create("a/b", b"x")
    assert store.read("a/b") == b"x"


def test_file_laid_by_hand_is_an_object(folder_store: Store, root: Path) -> None:
    """A robot's drop is copied into `raw/` with cp, not through this interface."""
    (root / "raw" / "drop").mkdir(parents=True)
    (root / "raw" / "drop" / "a.h5").write_bytes(b"episode")
    stat = folder_store.stat("raw/drop/a.h5")
    assert stat is not None
    assert stat.sha256 is None
    assert folder_store.read("raw/drop/a.h5") == b"episode"
    assert [s.key for s in folder_store.list("raw")] == ["raw/drop/a.h5"]
    with pytest.raises(AlreadyExists):
        folder_store.create("raw/drop/a.h5", b"other")
    replaced = folder_store.replace("raw/drop/a.h5", b"mended", stat.etag)
    with pytest.raises(Conflict):
        folder_store.replace("raw/drop/a.h5", b"again", stat.etag)
    assert folder_store.read_with_etag("raw/drop/a.h5") == (b"mended", replaced.etag)


def test_key_below_an_object_is_a_clear_error(folder_store: Store) -> None:
    folder_store.create("a/b", b"x")
    with pytest.raises(StoreError, match="under another object"):
        folder_store.create("a/b/c", b"x")
    with pytest.raises(StoreError, match="folder of other objects"):
        folder_store.create("a", b"x")


def test_object_replaced_while_it_is_read_is_no_false_alarm(
    folder_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader opened the old bytes, then finds the hash of the new ones: it must look again, not cry damage."""
    folder_store.overwrite("k", b"old")
    real, replaced = folder_store._known, []  # type: ignore[attr-defined]

    def known(key: str) -> tuple[str, ...]:
        if not replaced:
            replaced.append(key)
            folder_store.overwrite("k", b"new")
        return real(key)

    monkeypatch.setattr(folder_store, "_known", known)
    assert folder_store.read("k") == b"new"


def test_replace_cut_short_leaves_a_readable_object(folder_store: Store, root: Path) -> None:
    """Killed between the hash file and the rename: the old object is still whole, and can be replaced."""
    made = folder_store.replace("channel", b"old", None)
    assert made.sha256
    hashes = root / ".store" / "sha256" / "channel"
    hashes.write_text(f"{made.sha256}\n{'0' * 64}")
    data, etag = folder_store.read_with_etag("channel")
    assert (data, etag) == (b"old", made.etag)
    folder_store.replace("channel", b"new", etag)
    assert folder_store.read("channel") == b"new"


def test_full_disk_is_one_clear_error_and_leaves_nothing(
    folder_store: Store, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StoreError, match="is full"):
            folder_store.create("k", b"x")
    assert list(folder_store.list("")) == []
    assert list((root / ".store" / "tmp").iterdir()) == []
    folder_store.create("k", b"x")


def test_looking_leaves_no_trace(tmp_path: Path) -> None:
    """`orrery models list` in any folder must not make a store there."""
    store = open_store(str(tmp_path / "no store"))
    assert list(store.list("models")) == []
    assert store.stat("models/x") is None
    assert list(tmp_path.iterdir()) == []


def test_abandoned_parts_are_swept(folder_store: Store, root: Path) -> None:
    old, new = root / ".store" / "tmp" / "1-dead.part", root / ".store" / "tmp" / "2-alive.part"
    old.parent.mkdir(parents=True)
    for part in (old, new):
        part.write_bytes(b"x")
    os.utime(old, (time.time() - 7200,) * 2)
    open_store(folder_store.url)
    assert not old.exists()
    assert new.exists()


def test_store_that_is_a_file_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    with pytest.raises(ConfigurationError, match="is a file"):
        open_store(str(tmp_path / "f"))


def test_default_store_lies_in_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert open_store().url == str(tmp_path / ".orrery" / "store")
    monkeypatch.setenv("ORRERY_STORE", str(tmp_path / "mine"))
    assert open_store().url == str(tmp_path / "mine")
    assert open_store(f"file://{tmp_path}/other").url == str(tmp_path / "other")
