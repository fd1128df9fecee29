"""Sampled decoding: what it still finds, what it misses, and that it says so."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from scipy.ndimage import uniform_filter

from components.agibot.blob import Blob
from components.agibot.checks.evidence import VideoInfo
from components.agibot.checks.pictures import check_black, check_blurred, check_frozen
from components.agibot.checks.video import SAMPLE_SIZE, read_video
from components.agibot.validate import report_json, validate
from data_contracts.catalogue import catalogue, thresholds
from data_contracts.embodiment import Camera
from data_contracts.report import WEAKER, Decode

from .conftest import CAMERAS, HEAD_ONLY, SETTINGS, RawDrop, RawEpisode, examine_all, findings
from .damage import Damage
from .test_checks import CASES
from .test_videos import encode

SAMPLED = replace(HEAD_ONLY, decode="sampled")
AT_VIDEOS = [case for case in CASES if case[0].startswith(("video.", "depth."))]


def test_sound_episodes_are_accepted(recorded: RawDrop) -> None:
    """And everything that is not about pictures is as in a full examination."""
    sampled = examine_all(recorded.root, replace(SETTINGS, decode="sampled"))
    for few, whole in zip(sampled, examine_all(recorded.root, SETTINGS), strict=True):
        assert (few.verdict, few.findings, few.decode) == (whole.verdict, whole.findings, "sampled")
        assert (few.frames, few.motion, few.picture) == (whole.frames, whole.motion, whole.picture)
        assert abs(few.aggregates["luma_mean"] - whole.aggregates["luma_mean"]) < 10


@pytest.mark.parametrize(("code", "how", "damage"), AT_VIDEOS, ids=[f"{c} ({h})" for c, h, _ in AT_VIDEOS])
def test_broken_files_are_found(one: RawEpisode, code: str, how: str, damage: Damage) -> None:
    damage(one)
    assert code in {f.code for f in findings(one.root, SAMPLED)}


@pytest.mark.parametrize(("packet", "found"), [(0, True), (15, True), (14, False), (16, False)])
def test_only_damage_of_key_frames_is_found(one: RawEpisode, packet: int, found: bool) -> None:
    """The recorder's videos have a key frame every 15 frames; a full examination finds all of these."""
    path = one.files.video("head_color")
    with av.open(str(path)) as container:
        place = [p.pos for p in container.demux(video=0) if p.size][packet]
    assert place is not None
    with open(path, "r+b") as file:
        file.seek(place)
        file.write(bytes(100))
    assert ("video.undecodable" in {f.code for f in findings(one.root, SAMPLED)}) == found
    assert "video.undecodable" in {f.code for f in findings(one.root)}


@pytest.mark.parametrize("movflags", ["faststart", "frag_keyframe+empty_moov"], ids=["a table", "fragments"])
@pytest.mark.parametrize("b_frames", ["0", "3"], ids=["no B-frames", "B-frames"])
def test_key_frames_are_those_of_a_full_decoding(tmp_path: Path, b_frames: str, movflags: str) -> None:
    """The first and the last among them, at their own places, whatever order packets are in and wherever they lie."""
    blob = encode(tmp_path / "v.mp4", 0, 70, bf=b_frames, g="7", preset="veryfast")
    with av.open(blob.path) as source, av.open(str(tmp_path / "w.mp4"), "w", options={"movflags": movflags}) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    blob = Blob.of_file(tmp_path / "w.mp4", "w.mp4")
    camera = Camera.model_validate({"name": "head_color", "width": 64, "height": 48})
    whole, problems = read_video(blob, camera, 70, 30)
    few, same = read_video(blob, camera, 70, 30, "sampled")
    assert problems == same == []
    assert few.frames == whole.frames == 70
    with av.open(blob.path) as container:
        keys = [n for n, frame in enumerate(container.decode(video=0)) if frame.key_frame]
    assert (len(few.at), few.at[0], few.at[-1]) == (8, keys[0], keys[-1])
    assert set(few.at) <= set(keys)
    np.testing.assert_array_equal(few.points, whole.points[few.at])
    np.testing.assert_array_equal(few.brightness, whole.brightness[few.at])
    assert few.samples.shape == (8, *SAMPLE_SIZE[::-1], 3)


def looked_at(images: np.ndarray, step: int) -> VideoInfo:
    """What is known of a video (N, H, W) of which every `step`-th frame was decoded."""
    at = np.arange(0, len(images), step)
    edges = np.diff(images[at].astype(float), axis=2)
    return VideoInfo(
        frames=len(images), at=at, points=images[at][:, ::4, ::4], sharpness=(edges**2).mean(axis=(1, 2)),
        brightness=images[at].mean(axis=(1, 2)),
    )  # fmt: skip


def test_what_lasts_is_seen_at_key_frames() -> None:
    """Black, blurred for longer than from one key frame to the next, or frozen to the end; frames are named."""
    rng, allowed = np.random.default_rng(0), thresholds()
    images = rng.integers(60, 200, (120, 32, 32), np.uint8)
    joints = np.linspace(0, 1, 120)[:, None]
    assert [*check_black("x", looked_at(images, 15), "x", allowed)] == []
    assert [*check_blurred("x", looked_at(images, 15), "x", allowed)] == []
    assert [*check_frozen("x", looked_at(images, 15), joints, "x", allowed)] == []
    black, blurred, frozen = images.copy(), images.copy(), images.copy()
    black[40:50] = 0
    blurred[40:80] = uniform_filter(images[40:80].astype(float), (0, 9, 9))
    frozen[40:] = images[40]
    (found,) = check_black("x", looked_at(black, 15), "x", allowed)
    assert (found.message, found.where) == ("x is black at 1 of 8 frames that were decoded", "x, frame 45")
    (found,) = check_blurred("x", looked_at(blurred, 15), "x", allowed)
    assert found.where == "x, frames 45, 60, 75"
    (found,) = check_frozen("x", looked_at(frozen, 15), joints, "x", allowed)
    assert found.where == "x, frames 46-105"


def test_the_report_says_what_was_not_checked(recorded: RawDrop) -> None:
    found = validate(recorded.root, cameras=CAMERAS, workers=1, quiet=True, decode="sampled")
    document = json.loads(report_json(found))
    assert document["decode"] == "sampled"
    assert document["weaker"] == WEAKER["sampled"]
    assert set(WEAKER["sampled"]) <= set(catalogue()), "only reasons that exist"
    assert document["summary"]["accepted"] == 3


def test_the_page_says_it_too(recorded: RawDrop, tmp_path: Path) -> None:
    decodes: tuple[tuple[Decode, bool], ...] = (("sampled", True), ("full", False))
    for decode, said in decodes:
        validate(recorded.root, cameras=CAMERAS, workers=1, quiet=True, decode=decode, page=tmp_path / "p.html")
        text = (tmp_path / "p.html").read_text()
        assert (WEAKER["sampled"]["video.black"] in text) == said
