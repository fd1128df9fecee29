"""A drop in a store is read by range: headers once per tar, then the members that are needed, and no others."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from components.agibot.blob import Blob, opened
from components.agibot.config import AdoptConfig
from components.agibot.drop import files_below
from components.agibot.examine import Job
from components.agibot.reading import Settings
from components.agibot.stages import adopt
from components.agibot.stored import INDICES, bring, local_video, open_adopted
from components.agibot.validate import validate
from components.store.api import Store
from components.store.errors import ConfigurationError, IntegrityError

from .conftest import RawEpisode

SETTINGS = Settings("agibot_g1", ("head_color",))
VIDEO = os.urandom(70_000)


def tar(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as file:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            file.addfile(member, io.BytesIO(data))
    return out.getvalue()


@pytest.fixture
def drop(store: Store, tmp_path: Path) -> Store:
    """Two overlapping tars of one task, one file unpacked already, and a member that leads out of its tar."""
    opened.cache_clear()
    files = {"5/videos/head_color.mp4": VIDEO, "5/videos/nose.mp4": b"n" * 9000, "../../escape": b"x"}
    store.create("raw/inbox/observations/1/3-9.tar", tar(files))
    store.create("raw/inbox/proprio_stats/1-6.tar", tar({"1/5/proprio_stats.h5": b"h5" * 300}))
    store.create("raw/inbox/parameters/1/5/parameters/camera/head_intrinsic_params.json", b"{}")
    return store


def test_members_come_from_the_store_as_they_are(drop: Store, tmp_path: Path) -> None:
    found = open_adopted(drop, adopt(drop, AdoptConfig(source="raw/inbox"), 0))
    source = found.episodes[1, 5]
    assert [f.code for fs in found.findings.values() for f in fs] == ["archive.unsafe-member"]
    assert source.proprio is not None
    assert source.proprio.read(10_000) == b"h5" * 300
    work = tmp_path / "work"
    work.mkdir()
    here = bring(Job(source, SETTINGS, str(work))).source
    video = here.video("head_color")
    assert video is not None
    assert (video.store, video.read(100_000)) == ("", VIDEO)
    names = {p.name for p in work.rglob("*") if p.is_file()}
    assert len(names) in (0, 3), "only what the intake uses is brought here, and nothing outside its folder"
    again = local_video(work, source, "head_color")
    assert again is not None
    assert again.sha256() == video.sha256()


def test_a_tars_headers_are_read_once(drop: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = adopt(drop, AdoptConfig(source="raw/inbox"), 0)
    first = open_adopted(drop, raw)
    assert len(list(drop.list(INDICES))) == 2
    monkeypatch.setattr("components.agibot.stored.index_blob", None)
    assert open_adopted(drop, raw) == first


def test_a_tar_that_was_changed_after_it_was_adopted_is_refused(store: Store) -> None:
    store.create("raw/inbox/observations/1/3-9.tar", tar({"5/videos/head_color.mp4": VIDEO}))
    raw = adopt(store, AdoptConfig(source="raw/inbox"), 0)
    store.overwrite("raw/inbox/observations/1/3-9.tar", tar({"5/videos/head_color.mp4": VIDEO[::-1]}))
    with pytest.raises(IntegrityError, match="adopt the drop again"):
        open_adopted(store, raw)


def test_a_file_that_was_changed_is_not_brought(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"changed")
    blob = Blob(str(tmp_path / "f"), 0, 7, "f", identity="0" * 64)
    with pytest.raises(IntegrityError, match="f is not what was adopted"):
        blob.bring(tmp_path / "g")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f"]


def test_a_drop_in_a_store_is_validated_where_it_lies(store: Store, one: RawEpisode, tmp_path: Path) -> None:
    """By its place in the store or its URL, as files or as a tar: the same findings, and nothing is written there."""
    opened.cache_clear()
    one.files.video("head_color").write_bytes(b"no video")
    for path, name in files_below(one.root):
        store.create(f"raw/lab/{name}", path.read_bytes())
    store.create("raw/lab.tar", tar({name: path.read_bytes() for path, name in files_below(one.root)}))
    keys = [stat.key for stat in store.list("")]
    for source in ("raw/lab", "raw/lab.tar", f"{store.url}/raw/lab/", f"{store.url}/raw/lab.tar"):
        found = validate(source, cameras=["head_color"], workers=1, quiet=True, store=lambda: store).episodes
        assert [(e.verdict, [f.code for f in e.findings]) for e in found] == [("quarantined", ["video.unreadable"])]
    assert [stat.key for stat in store.list("")] == keys
    with pytest.raises(ConfigurationError, match="raw/la is not there"):
        validate("raw/la", quiet=True, store=lambda: store)
