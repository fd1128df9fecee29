"""Joins the videos of many episodes into few files without decoding them: packets are copied and timed anew.

LeRobot v3 keeps several episodes in one MP4 and finds each by `from_timestamp` and `to_timestamp`. Frame k of a file
gets the time k/fps exactly, as integers of the file's time base, so that no drift can build up over a long file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from components.agibot.blob import Blob
from components.agibot.checks.video import FORMAT
from components.store.errors import OrreryError

FILE_BYTES = 200 << 20
"""A new file is begun beyond this; LeRobot's default."""
FILES_PER_CHUNK = 1000


@dataclass(frozen=True)
class VideoPlace:
    """Where an episode's frames of one camera lie."""

    chunk: int
    file: int
    start: int
    """index of its first frame in the file"""
    frames: int


@dataclass(frozen=True)
class _Packets:
    """One episode's video, still encoded."""

    packets: list[Any]
    order: list[int]
    """the frame that each packet shows, in decoding order"""
    delay: int
    """by how many frames decoding must be ahead of showing"""


def video_path(root: Path, key: str, chunk: int, file: int) -> Path:
    return root / "videos" / key / f"chunk-{chunk:03d}" / f"file-{file:03d}.mp4"


class VideoJoiner:
    """Appends episodes' videos of one camera. A context manager; the last file is finished at its end."""

    def __init__(self, root: Path, key: str, fps: int, file_bytes: int = FILE_BYTES) -> None:
        self._root, self._key, self._fps, self._file_bytes = root, key, fps, file_bytes
        self._number, self._start, self._bytes = -1, 0, 0
        self._output: Any = None
        self._stream: Any = None
        self._parameters: Any = None
        self._delay = 0

    def add(self, blob: Blob, frames: int) -> VideoPlace:
        """Append a checked video. Raises OrreryError if it does not hold `frames` packets after all."""
        with blob.open() as file, av.open(file, "r", format=FORMAT) as container:
            stream = container.streams.video[0]
            found = _packets(container, stream)
            if len(found.packets) != frames:
                raise OrreryError(
                    f"{blob.name} has {len(found.packets)} packets for {frames} frames; it changed meanwhile"
                )
            self._open_for(stream, found.delay)
            start = self._start
            for position, (packet, shown) in enumerate(zip(found.packets, found.order, strict=True)):
                packet.stream, packet.time_base = self._stream, Fraction(1, self._fps)
                packet.pts, packet.dts, packet.duration = start + shown, start + position - self._delay, 1
                self._bytes += packet.size
                self._output.mux(packet)
        self._start += frames
        return VideoPlace(self._number // FILES_PER_CHUNK, self._number % FILES_PER_CHUNK, start, frames)

    def _open_for(self, stream: Any, delay: int) -> None:
        """Begin a new file if the current one is full, or can't hold a stream of these parameters."""
        context = stream.codec_context
        parameters = (context.name, context.width, context.height, context.pix_fmt, context.extradata)
        fits = self._output is not None and self._parameters == parameters and delay <= self._delay
        if fits and self._bytes < self._file_bytes:
            return
        self.close()
        self._number, self._start, self._bytes = self._number + 1, 0, 0
        self._parameters, self._delay = parameters, delay
        path = video_path(self._root, self._key, self._number // FILES_PER_CHUNK, self._number % FILES_PER_CHUNK)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._output = av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"})
        self._stream = self._output.add_stream_from_template(stream)
        self._stream.time_base = Fraction(1, self._fps)

    def close(self) -> None:
        if self._output is not None:
            self._output.close()
            self._output = self._stream = None

    def __enter__(self) -> VideoJoiner:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _packets(container: Any, stream: Any) -> _Packets:
    packets = [p for p in container.demux(stream) if p.size]
    times = np.array([p.pts for p in packets], np.int64)
    order = np.empty(len(times), np.int64)
    order[np.argsort(times, kind="stable")] = np.arange(len(times))
    delay = int((np.arange(len(times)) - order).max(initial=0))
    return _Packets(packets, order.tolist(), delay)


def frame_at(path: Path, number: int, fps: int) -> Any:
    """Frame `number` of a joined file, as it comes from the decoder. Raises OrreryError if there is none."""
    with av.open(str(path), "r", format=FORMAT) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        assert stream.time_base is not None  # an MP4 track always has one
        ticks = 1 / (fps * stream.time_base)
        container.seek(int(number * ticks), stream=stream, backward=True)
        for frame in container.decode(stream):
            if frame.pts is not None and round(frame.pts / ticks) == number:
                return frame
    raise OrreryError(f"{path.name} has no frame {number}")


def read_frames(
    path: Path, start: int, frames: int, fps: int, pixels: Literal["rgb24", "rgba"] = "rgb24"
) -> Iterator[Any]:
    """Frames `start` .. `start + frames - 1` of a joined file, uint8 (H, W, 3) RGB or (H, W, 4), decoded in order."""
    reformatter = VideoReformatter()  # one for all: each frame's own would be set up, with threads, for it alone
    with av.open(str(path), "r", format=FORMAT) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        assert stream.time_base is not None  # an MP4 track always has one
        ticks = 1 / (fps * stream.time_base)
        if start:
            container.seek(int(start * ticks), stream=stream, backward=True)
        given = 0
        for frame in container.decode(stream):
            assert frame.pts is not None  # nor does it leave a frame without its time
            number = round(frame.pts / ticks)
            if number < start:
                continue
            if number != start + given:
                raise OrreryError(f"{path.name}: frame {start + given} is missing, {number} came instead")
            yield reformatter.reformat(frame, format=pixels, threads=1).to_ndarray()
            given += 1
            if given == frames:
                return
    raise OrreryError(f"{path.name} ends after {given} of {frames} frames from {start}")
