"""Videos: decoded from first to last frame, counted, measured. A container's own frame count is no evidence.

The file comes from outside: only the MP4 demuxer is offered (a playlist that calls itself .mp4 opens nothing else),
image sizes are bounded before anything is decoded, and so is the number of frames.
"""

from __future__ import annotations

from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from components.agibot.blob import Blob
from components.agibot.checks.evidence import VideoInfo
from data_contracts.catalogue import finding, thresholds
from data_contracts.embodiment import Camera
from data_contracts.reasons import Finding

SAMPLES = 8
"""Frames of each video that are looked at for statistics and film strips, evenly spread."""
SAMPLE_SIZE = (160, 120)
ROW_STEP = 16
"""Every 16th row of a frame is looked at, and every 16th point of it."""
BATCH = 32
PLANAR = ("yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "nv12", "gray")
"""Formats whose first plane is 8 bits of brightness; others are converted."""
FORMAT = "mov"
"""FFmpeg's name of the MP4 demuxer."""
CODECS = ("av1", "h264", "hevc", "mpeg4", "vp9")
"""What a dataset's MP4 files may hold: QuickTime, which the demuxer also reads, carries codecs that MP4 can't."""


class _Stop(Exception):
    """Nothing more can be learnt from this video."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.finding_code = code


def read_video(blob: Blob, camera: Camera, count: int, fps: int) -> tuple[VideoInfo, list[Finding]]:
    """Decode the whole video of an episode of `count` frames (0: not known). Never raises for its content."""
    info, findings = VideoInfo(), []
    where = blob.name
    if blob.size == 0:
        return info, [finding("video.empty-file", f"{camera.name} has no bytes", where)]
    try:
        with blob.open() as file, _container(file) as container:
            stream = _stream(container, camera)
            findings += _check_stream(stream, camera, fps, where)
            times = _decode(container, stream, info, count, camera.name)
            findings += _check_times(times, stream, camera, fps, where)
    except _Stop as stop:
        return info, [*findings, finding(stop.finding_code, str(stop), where)]
    except (OSError, ValueError, ArithmeticError, MemoryError) as error:  # FFmpegError is an OSError or a ValueError
        return info, [*findings, finding("video.unreadable", f"{camera.name}: {_short(error)}", where)]
    if len(times) != info.frames:
        message = f"{camera.name} has {len(times)} packets, but {info.frames} frames come out of them"
        findings.append(finding("video.undecodable", message, where))
    if count and info.frames != count:
        message = f"{camera.name} has {info.frames} frames, the episode {count}"
        findings.append(finding("video.frame-count", message, where))
    return info, findings


def _container(file: Any) -> Any:
    try:
        return av.open(file, "r", format=FORMAT)
    except av.FFmpegError as error:
        raise _Stop("video.unreadable", f"no MP4 that can be opened: {_short(error)}") from None


def _stream(container: Any, camera: Camera) -> VideoStream:
    if not container.streams.video:
        raise _Stop("video.unreadable", f"{camera.name} holds no video stream")
    stream = container.streams.video[0]
    context = stream.codec_context
    if context is None:
        raise _Stop("video.unreadable", f"{camera.name} is in a codec that this FFmpeg lacks")
    if not 0 < context.width * context.height <= thresholds().max_pixels:
        raise _Stop("video.resolution", f"{camera.name} claims {context.width}x{context.height} pixels")
    context.thread_count = 1  # episodes share the cores already
    context.options = {"err_detect": "explode"}
    return stream


def _check_stream(stream: VideoStream, camera: Camera, fps: int, where: str) -> list[Finding]:
    found, context = [], stream.codec_context
    codec = context.codec.canonical_name
    if codec not in CODECS:
        message = f"{camera.name} is in {codec}; a dataset holds {', '.join(CODECS)}"
        found.append(finding("video.codec", message, where))
    if (context.width, context.height) != (camera.width, camera.height):
        message = f"{camera.name} is {context.width}x{context.height}, the robot's {camera.width}x{camera.height}"
        found.append(finding("video.resolution", message, where))
    rate = float(stream.average_rate or 0)
    if abs(rate - fps) > 0.01 * fps:
        found.append(
            finding("video.rate", f"{camera.name} says {rate:.3f} frames per second, the robot has {fps}", where)
        )
    return found


def _decode(container: Any, stream: VideoStream, info: VideoInfo, count: int, name: str) -> list[int]:
    """Decode every frame into `info`; the packets' times in units of the stream's time base."""
    wanted = set(np.linspace(0, count - 1, min(SAMPLES, count)).round().astype(int).tolist())
    most, times, samples = 2 * count + 1000 if count else thresholds().max_frames, [], []
    seen, shrink = _Seen(stream), VideoReformatter()
    try:
        for packet in container.demux(stream):
            if packet.pts is not None and packet.size:
                times.append(packet.pts)
            for frame in packet.decode():
                if frame.is_corrupt:
                    raise _Stop("video.undecodable", f"{name}: frame {info.frames} of {count} is corrupt")
                if info.frames in wanted:
                    small = shrink.reformat(frame, *SAMPLE_SIZE, format="rgb24", threads=1)
                    samples.append(small.to_ndarray())
                seen.add(frame)
                info.frames += 1
            if info.frames > most:
                raise _Stop("video.frame-count", f"{name} has more than {most} frames, the episode {count}")
        seen.finish(info)
    except av.FFmpegError as error:
        message = f"{name}: frame {info.frames} of {count} can't be decoded: {_short(error)}"
        raise _Stop("video.undecodable", message) from None
    if samples:
        info.samples = np.stack(samples)
    return times


class _Seen:
    """Measures frames as they come, a batch at a time: a few rows of brightness of each, copied from the decoder."""

    def __init__(self, stream: VideoStream) -> None:
        context = stream.codec_context
        self._shape = (-(-context.height // ROW_STEP), context.width)
        self._batch = np.empty((BATCH, *self._shape), np.uint8)
        self._filled = 0
        self._parts: list[tuple[NDArray[Any], ...]] = []

    def add(self, frame: Any) -> None:
        if frame.format.name not in PLANAR:
            frame = frame.reformat(format="yuv420p")
        plane = frame.planes[0]
        picture = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height : ROW_STEP, : plane.width]
        if picture.shape != self._shape:  # of another size than its stream says: it can't be compared with the others
            return
        self._batch[self._filled] = picture
        self._filled += 1
        if self._filled == BATCH:
            self._measure()

    def _measure(self) -> None:
        rows = self._batch[: self._filled]
        pixels = rows[:, ::2]
        steps = np.maximum(pixels[:, :, 1:], pixels[:, :, :-1]) - np.minimum(pixels[:, :, 1:], pixels[:, :, :-1])
        points = rows[:, :, ROW_STEP // 2 :: ROW_STEP]
        squares = steps.astype(np.uint16) ** 2  # a blur spreads an edge but keeps the sum of its steps
        self._parts.append((points.copy(), points.mean(axis=(1, 2)), squares.mean(axis=(1, 2))))
        self._filled = 0

    def finish(self, info: VideoInfo) -> None:
        """Put what was seen into `info`. Video brightness 16 .. 235 becomes 0 .. 255."""
        if self._filled:
            self._measure()
        if self._parts:
            points, brightness, sharpness = (np.concatenate(part) for part in zip(*self._parts, strict=True))
            info.points, info.sharpness = points, sharpness.astype(np.float32)
            info.brightness = ((brightness - 16) * (255 / 219)).clip(0, 255).astype(np.float32)


def _check_times(times: list[int], stream: VideoStream, camera: Camera, fps: int, where: str) -> list[Finding]:
    if len(times) < 2 or not stream.time_base:
        return []
    steps = np.diff(np.sort(np.asarray(times, np.float64))) * float(stream.time_base) * fps
    bad = np.abs(steps - 1) > 0.1
    if not bad.any():
        return []
    message = (
        f"{camera.name}: {int(bad.sum())} of {len(steps)} frame steps are not 1/{fps} s, up to {steps.max():.2f} of it"
    )
    return [finding("video.pts-irregular", message, f"{where}, frame {int(bad.argmax()) + 1}")]


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
