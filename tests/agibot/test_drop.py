"""The inventory must find every part of every episode wherever it lies, and say what is missing or there twice."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from pathlib import Path

import pytest

from components.agibot.drop import NOWHERE, Drop, open_drop
from components.robots.raw_layout import pack_tars
from components.store.errors import ConfigurationError

from .conftest import RawDrop, RawEpisode


def parts(drop: Drop) -> dict[tuple[int, int], dict[str, tuple[str, int]]]:
    """Hash and size of every part of every episode, by its path within the episode."""
    return {
        key: {f"{tree}/{path}": (b.sha256(), b.size) for tree, files in s.parts.items() for path, b in files.items()}
        for key, s in drop.episodes.items()
    }


def codes(drop: Drop) -> list[str]:
    found = [f.code for s in drop.episodes.values() for f in s.findings]
    return found + [f.code for fs in drop.findings.values() for f in fs]


def pack(tree: Path, path: Path, arcname: str) -> None:
    """A folder as a tar, in place of the folder."""
    with tarfile.open(path, "w") as file:
        file.add(tree, arcname=arcname)
    shutil.rmtree(tree)


def test_folders_and_tars_hold_the_same(recorded: RawDrop, tmp_path: Path) -> None:
    """The tars of the public distribution and the unpacked trees of its users must read alike, byte for byte."""
    expected = open_drop(recorded.root)
    assert codes(expected) == []
    assert list(expected.episodes) == [e.key for e in recorded.episodes]
    pack_tars(recorded.root, tmp_path / "tars", episodes_per_tar=2)
    found = open_drop(tmp_path / "tars")
    assert codes(found) == []
    assert parts(found) == parts(expected)
    assert all(source.entry == expected.episodes[key].entry for key, source in found.episodes.items())


def test_a_drop_in_one_tar(recorded: RawDrop, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "drop.tar", "w") as file:
        file.add(recorded.root, arcname=".")
    expected = parts(open_drop(recorded.root))
    assert parts(open_drop(tmp_path / "drop.tar")) == expected
    assert parts(open_drop(tmp_path)) == expected, "also as the only file of a folder"


def test_a_folder_named_after_the_tar_it_came_from(three: RawDrop) -> None:
    """`observations/9001/1-9/5/…` and `parameters/1-9/9001/5/…`, as unpacking each tar into its own folder gives."""
    expected = parts(open_drop(three.root))
    for tree, inner in (("observations", True), ("parameters", False), ("proprio_stats", False)):
        task = next((three.root / tree).iterdir())
        ranged = task / "100-999" if inner else three.root / tree / "100-999" / task.name
        episodes = list(task.iterdir())
        ranged.mkdir(parents=True)
        for episode in episodes:
            shutil.move(episode, ranged / episode.name)
    found = open_drop(three.root)
    assert codes(found) == []
    assert parts(found) == expected


def test_ranges_of_tars_may_overlap(three: RawDrop) -> None:
    """An episode is where its members are, not where a tar's name says."""
    expected = parts(open_drop(three.root))
    first, second, third = (e.files.episode_id for e in three.episodes)
    task = next((three.root / "observations").iterdir())
    for name, ids in ((f"{first}-{third}", (first, third)), (f"{second}-{second}", (second,))):
        with tarfile.open(task / f"{name}.tar", "w") as file:
            for i in ids:
                file.add(task / str(i), arcname=str(i))
    for i in (first, second, third):
        shutil.rmtree(task / str(i))
    assert parts(open_drop(three.root)) == expected


def test_an_episode_packed_into_a_folder_of_its_own_name(one: RawEpisode) -> None:
    videos = one.files.video("head_color").parent
    nested = videos.parent / str(one.files.episode_id) / "videos"
    shutil.copytree(videos, nested)
    drop = open_drop(one.root)
    assert codes(drop) == ["inventory.nested-duplicate"]
    assert str(one.files.episode_id) in drop.episodes[one.key].findings[0].message


@pytest.mark.parametrize(("change", "code"), [(b"", "duplicate.same-part"), (b"x", "duplicate.part")])
def test_a_part_that_is_there_twice(one: RawEpisode, change: bytes, code: str) -> None:
    """The same bytes are harmless; other bytes leave open which is right."""
    task = one.files.video("head_color").parents[2]
    video = one.files.video("head_color").read_bytes() + change
    with tarfile.open(task / "1-9.tar", "w") as file:
        info = tarfile.TarInfo(f"{one.files.episode_id}/videos/head_color.mp4")
        info.size = len(video)
        file.addfile(info, io.BytesIO(video))
    assert codes(open_drop(one.root)) == [code]


def test_a_torn_tar_spares_the_episodes_before_the_tear(three: RawDrop) -> None:
    """One interrupted upload must not cost a thousand good episodes."""
    tree = three.root / "proprio_stats"
    task = next(tree.iterdir())
    pack(task, tree / "1-9.tar", task.name)
    path = tree / "1-9.tar"
    with tarfile.open(path) as file:
        members = [m for m in file.getmembers() if m.isfile()]
    os.truncate(path, members[1].offset_data + 100)
    drop = open_drop(three.root)
    torn = int(members[1].name.split("/")[1])
    by_episode = {key[1]: [f.code for f in s.findings] for key, s in drop.episodes.items()}
    assert "archive.truncated" in by_episode[torn]
    whole = int(members[0].name.split("/")[1])
    assert by_episode[whole] == []
    assert drop.findings == {}


def test_members_that_lead_out_are_about_the_drop(one: RawEpisode) -> None:
    with tarfile.open(one.root / "observations" / "evil.tar", "w") as file:
        file.addfile(tarfile.TarInfo("../../../etc/cron.d/x"))
    drop = open_drop(one.root)
    assert [f.code for f in drop.findings[NOWHERE, NOWHERE]] == ["archive.unsafe-member"]
    assert drop.episodes[one.key].findings == []


def test_what_is_no_part_of_the_layout_is_left_alone(one: RawEpisode) -> None:
    for name in ("README.md", "observations/notes.txt", "observations/9001/x/y.mp4", "other/9001/1/a.mp4"):
        path = one.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("?")
    drop = open_drop(one.root)
    assert list(drop.episodes) == [one.key]
    assert codes(drop) == []


def test_links_to_files_are_followed_and_pipes_are_not(one: RawEpisode, tmp_path: Path) -> None:
    """Download caches lay links; opening a pipe would hang for ever."""
    video = one.files.video("head_color")
    shutil.move(video, tmp_path / "blob")
    video.symlink_to(tmp_path / "blob")
    os.mkfifo(video.with_name("back_left_fisheye_color.mp4"))
    (one.root / "loop").symlink_to(one.root)
    drop = open_drop(one.root)
    found = drop.episodes[one.key].video("head_color")
    assert found is not None
    assert found.size == (tmp_path / "blob").stat().st_size
    assert drop.episodes[one.key].video("back_left_fisheye_color") is None


def test_names_that_are_no_text_stay_readable(one: RawEpisode) -> None:
    """A name in another encoding must not break the report that mentions it."""
    folder = os.fsencode(one.files.video("head_color").parent)
    with open(folder + b"/caf\xe9.mp4", "wb"):
        pass
    drop = open_drop(one.root)
    assert all(blob.name.encode("utf-8") for blob in drop.episodes[one.key].blobs())


def test_nothing_at_the_source(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is not there"):
        open_drop(tmp_path / "absent")
    assert codes(open_drop(tmp_path)) == ["inventory.empty-drop"]


def test_episodes_come_in_key_order(three: RawDrop) -> None:
    """The order of the published dataset hangs on it, not on the file system's."""
    assert list(open_drop(three.root).episodes) == sorted(e.key for e in three.episodes)
