"""Joined videos: every frame of every episode must come back as the raw file shows it, at its own time."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from components.agibot.blob import Blob
from components.agibot.videos import VideoJoiner, read_frames, video_path
from components.store.errors import OrreryError

KEY = "observation.images.x"


def encode(path: Path, first: int, frames: int, size: tuple[int, int] = (64, 48), **options: str) -> Blob:
    """A video whose frames differ clearly: a bright square wanders with the frame's number."""
    with av.open(str(path), "w", format="mp4") as out:
        stream = out.add_stream("libx264", rate=30, options={"crf": "1", "preset": "ultrafast", **options})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for k in range(first, first + frames):
            image = np.zeros((size[1], size[0], 3), np.uint8)
            x, y = 8 * (k % 6), 8 * (k // 6 % 5)
            image[y : y + 8, x : x + 8] = 255
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")):
                out.mux(packet)
        for packet in stream.encode(None):
            out.mux(packet)
    return Blob.of_file(path, path.name)


def decode(path: str) -> NDArray[np.uint8]:
    with av.open(path) as container:
        return np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])


@pytest.mark.parametrize("b_frames", ["0", "3"], ids=["no B-frames", "B-frames"])
def test_every_frame_comes_back(tmp_path: Path, b_frames: str) -> None:
    """Also where packets are not in the order of their pictures, and also the last frame of the file."""
    options = {"bf": b_frames, "g": "7", "preset": "veryfast"}
    blobs = [encode(tmp_path / f"{i}.mp4", 5 * i, n, **options) for i, n in enumerate((11, 2, 17))]
    with VideoJoiner(tmp_path, KEY, 30) as joiner:
        places = [joiner.add(b, n) for b, n in zip(blobs, (11, 2, 17), strict=True)]
    assert [(p.chunk, p.file, p.start, p.frames) for p in places] == [(0, 0, 0, 11), (0, 0, 11, 2), (0, 0, 13, 17)]
    path = video_path(tmp_path, KEY, 0, 0)
    for blob, place in zip(blobs, places, strict=True):
        found = np.stack(list(read_frames(path, place.start, place.frames, 30)))
        np.testing.assert_array_equal(found, decode(blob.path))
        with_alpha = np.stack(list(read_frames(path, place.start, place.frames, 30, "rgba")))
        np.testing.assert_array_equal(with_alpha[..., :3], found)


def test_frame_k_is_shown_at_k_thirtieths(tmp_path: Path) -> None:
    """Durations that are added up drift until late episodes show their neighbour's frames."""
    blobs = [encode(tmp_path / f"{i}.mp4", i, 7, bf="2") for i in range(9)]
    with VideoJoiner(tmp_path, KEY, 30) as joiner:
        for blob in blobs:
            joiner.add(blob, 7)
    with av.open(str(video_path(tmp_path, KEY, 0, 0))) as container:
        stream = container.streams.video[0]
        times = [frame.pts * stream.time_base * 30 for frame in container.decode(stream)]
    assert times == list(range(63))


def test_a_full_file_is_followed_by_another(tmp_path: Path) -> None:
    blobs = [encode(tmp_path / f"{i}.mp4", i, 6) for i in range(3)]
    with VideoJoiner(tmp_path, KEY, 30, file_bytes=1) as joiner:
        places = [joiner.add(blob, 6) for blob in blobs]
    assert [(p.file, p.start) for p in places] == [(0, 0), (1, 0), (2, 0)]
    for blob, place in zip(blobs, places, strict=True):
        found = np.stack(list(read_frames(video_path(tmp_path, KEY, 0, place.file), 0, 6, 30)))
        np.testing.assert_array_equal(found, decode(blob.path))


def test_another_encoding_begins_another_file(tmp_path: Path) -> None:
    """One stream can't hold two sets of decoder parameters."""
    blobs = [encode(tmp_path / "a.mp4", 0, 5), encode(tmp_path / "b.mp4", 0, 5, size=(80, 48))]
    with VideoJoiner(tmp_path, KEY, 30) as joiner:
        assert [joiner.add(blob, 5).file for blob in blobs] == [0, 1]


def test_a_video_that_changed_since_it_was_checked(tmp_path: Path) -> None:
    blob = encode(tmp_path / "a.mp4", 0, 5)
    with VideoJoiner(tmp_path, KEY, 30) as joiner, pytest.raises(OrreryError, match=r"a\.mp4 has 5 packets for 6"):
        joiner.add(blob, 6)


def test_frames_that_are_not_there(tmp_path: Path) -> None:
    blob = encode(tmp_path / "a.mp4", 0, 5)
    with pytest.raises(OrreryError, match="ends after 2 of 4 frames from 3"):
        list(read_frames(Path(blob.path), 3, 4, 30))


def test_equal_videos_join_to_equal_bytes(tmp_path: Path) -> None:
    blob = encode(tmp_path / "a.mp4", 0, 5)
    for name in ("one", "two"):
        with VideoJoiner(tmp_path / name, KEY, 30) as joiner:
            joiner.add(blob, 5)
    assert video_path(tmp_path / "one", KEY, 0, 0).read_bytes() == video_path(tmp_path / "two", KEY, 0, 0).read_bytes()
