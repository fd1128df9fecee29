"""Videos: decoded from first to last frame, counted, measured; or, sampled, demuxed and some key frames decoded.

A container's own frame count is no evidence.

The file comes from outside: only the MP4 demuxer is offered (a playlist that calls itself .mp4 opens nothing else),
image sizes are bounded before anything is decoded, and so is the number of frames.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from components.agibot.blob import Blob
from components.agibot.checks.evidence import VideoInfo
from components.agibot.checks.seen import Seen
from data_contracts.catalogue import finding, thresholds
from data_contracts.embodiment import Camera
from data_contracts.reasons import Finding
from data_contracts.report import Decode

SAMPLES = 8
"""Frames of each video that are looked at for statistics and film strips, evenly spread."""
SAMPLE_SIZE = (160, 120)
FORMAT = "mov"
"""FFmpeg's name of the MP4 demuxer."""
CODECS = ("av1", "h264", "hevc", "mpeg4", "vp9")
"""What a dataset's MP4 files may hold: QuickTime, which the demuxer also reads, carries codecs that MP4 can't."""


_SHRINK = VideoReformatter()
"""Kept, as its tables cost more to make than a picture to shrink. A process examines one episode at a time."""


class _Stop(Exception):
    """Nothing more can be learnt from this video."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.finding_code = code


def read_video(
    blob: Blob, camera: Camera, count: int, fps: int, decode: Decode = "full"
) -> tuple[VideoInfo, list[Finding]]:
    """Read the video of an episode of `count` frames (0: not known). Never raises for its content."""
    info, findings = VideoInfo(), []
    where = blob.name
    if blob.size == 0:
        return info, [finding("video.empty-file", f"{camera.name} has no bytes", where)]
    try:
        with blob.open() as file, _container(file) as container:
            stream = _stream(container, camera)
            findings += _check_stream(stream, camera, fps, where)
            read = _sample if decode == "sampled" else _decode
            times = read(container, stream, info, count, camera.name)
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
    most, times, samples, seen = _most(count), [], [], Seen(stream)
    try:
        for packet in container.demux(stream):
            if packet.pts is not None and packet.size:
                times.append(packet.pts)
            for frame in packet.decode():
                if frame.is_corrupt:
                    raise _Stop("video.undecodable", f"{name}: frame {info.frames} of {count} is corrupt")
                if info.frames in wanted:
                    samples.append(small(frame))
                seen.add(frame)
                info.frames += 1
            if info.frames > most:
                raise _Stop("video.frame-count", f"{name} has more than {most} frames, the episode {count}")
        seen.finish(info)
    except av.FFmpegError as error:
        message = f"{name}: frame {info.frames} of {count} can't be decoded: {_short(error)}"
        raise _Stop("video.undecodable", message) from None
    info.at = np.arange(info.frames)
    if samples:
        info.samples, info.sampled = np.stack(samples), np.array(sorted(wanted)[: len(samples)])
    return times


def _sample(container: Any, stream: VideoStream, info: VideoInfo, count: int, name: str) -> list[int]:
    """Decode some key frames into `info`, the first and the last among them; the packets' times as `_decode` gives."""
    packets = _listed(container, stream, count) or _demuxed(container, stream, count, name)
    info.frames, order = len(packets), np.argsort([p.shown for p in packets], kind="stable")
    places = np.argsort(order)
    keys = [n for n, packet in enumerate(packets) if packet.key]
    if not keys or places[keys[0]] != 0:
        raise _Stop("video.undecodable", f"{name} does not begin with a key frame")
    chosen = [keys[n] for n in np.unique(np.linspace(0, len(keys) - 1, SAMPLES).round().astype(int))]
    info.at, seen, samples = places[chosen], Seen(stream, every=1), []
    for at, number in zip(info.at, chosen, strict=True):
        frame = _key_frame(container, stream, packets[number], f"{name}: frame {at} of {count}")
        samples.append(small(frame))
        seen.add(frame)
    seen.finish(info)
    info.samples, info.sampled = np.stack(samples), info.at
    return [packet.shown for packet in packets]


class _Packet(NamedTuple):
    """Times in units of the stream's time base."""

    decoded: int
    shown: int
    key: bool


def _listed(container: Any, stream: VideoStream, count: int) -> list[_Packet] | None:
    """The packets as the container's table lists them, without reading them; None if that may not be all there is.

    It is all if it has a packet per frame, all of them within the file, and frames are shown in decoding order. The
    tables of fragmented files grow as they are read, and other files' lack the times at which frames are shown.
    """
    entries = [(e.timestamp, e.is_keyframe, e.pos + e.size) for e in stream.index_entries]
    if not count or len(entries) != count or stream.codec_context.has_b_frames:
        return None
    if max(end for _, _, end in entries) > container.size:
        return None
    return [_Packet(time, time, key) for time, key, _ in entries]


def _demuxed(container: Any, stream: VideoStream, count: int, name: str) -> list[_Packet]:
    """The packets, read one by one."""
    found: list[_Packet] = []
    most = _most(count)
    promised = {e.timestamp for e in stream.index_entries if e.is_keyframe}  # the parser finds none in damaged packets
    try:
        for packet in container.demux(stream):
            if packet.pts is None or packet.dts is None or not packet.size:
                continue
            if packet.is_corrupt:
                raise _Stop("video.undecodable", f"{name}: packet {len(found)} of {count} is cut off")
            found.append(_Packet(packet.dts, packet.pts, packet.is_keyframe or packet.dts in promised))
            if len(found) > most:
                raise _Stop("video.frame-count", f"{name} has more than {most} packets, the episode {count}")
    except av.FFmpegError as error:
        raise _Stop("video.undecodable", f"{name}: packet {len(found)} of {count}: {_short(error)}") from None
    return found


def _key_frame(container: Any, stream: VideoStream, wanted: _Packet, what: str) -> Any:
    """A key frame, decoded from its packet alone."""
    context = stream.codec_context
    try:
        packet = _find(container, stream, wanted, wanted.shown) or _find(container, stream, wanted, 0)
        if packet is None:
            raise _Stop("video.undecodable", f"{what} can't be found again")
        frames = [*context.decode(packet), *context.decode(None)]
        context.flush_buffers()
    except av.FFmpegError as error:
        raise _Stop("video.undecodable", f"{what} can't be decoded: {_short(error)}") from None
    if not frames or frames[0].is_corrupt:
        raise _Stop("video.undecodable", f"{what} is corrupt")
    return frames[0]


def _find(container: Any, stream: VideoStream, wanted: _Packet, start: int) -> Any:
    """The packet, looked for from `start` on; None if it is not there."""
    container.seek(start, stream=stream)
    for packet in container.demux(stream):
        if packet.dts == wanted.decoded and packet.size:
            return packet
        if packet.dts is None or packet.dts > wanted.decoded:
            return None
    return None


def _most(count: int) -> int:
    """Frames after which a video is given up."""
    return 2 * count + 1000 if count else thresholds().max_frames


def small(frame: Any) -> NDArray[np.uint8]:
    """RGB of `SAMPLE_SIZE` of a decoded frame, of every fourth pixel or so: their statistics are those of all."""
    fast = Interpolation.FAST_BILINEAR
    small = _SHRINK.reformat(frame, *SAMPLE_SIZE, format="rgb24", interpolation=fast, threads=1)
    return small.to_ndarray().astype(np.uint8, copy=False)


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
