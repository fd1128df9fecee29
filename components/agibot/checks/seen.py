"""Measures a video's frames as they come from the decoder: a few rows of brightness of each, a batch at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
from av.video.plane import VideoPlane
from av.video.stream import VideoStream
from numpy.typing import NDArray

from components.agibot.checks.evidence import VideoInfo

ROW_STEP = 16
"""Every 16th row of a frame is looked at, and every 16th point of it."""
BATCH = 16
"""Frames that are measured together: few, so that they push nothing of the decoder's out of the processor's cache."""
PLANAR = ("yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "nv12", "gray")
"""Formats whose first plane is 8 bits of brightness; others are converted."""


class Seen:
    """Brightness and detail of the frames of one stream; what it costs is an eighth of decoding the fastest, or so.

    Its memory is taken once: numpy's temporaries of this size would be given back to the system, and faulted in anew,
    at every batch.
    """

    def __init__(self, stream: VideoStream, every: int = 2) -> None:
        """The detail of each `every`-th frame is measured, and taken for those up to the next: a blur lasts longer."""
        context, self._every = stream.codec_context, every
        self._shape = (-(-context.height // ROW_STEP), context.width)
        self._batch = np.empty((BATCH, *self._shape), np.uint8)
        self._steps = np.empty((2, BATCH, -(-self._shape[0] // 2), self._shape[1] - 1), np.uint8)
        self._floats = np.empty((BATCH, self._steps[0, 0].size), np.float32)
        self._filled = 0
        self._parts: list[tuple[NDArray[Any], ...]] = []

    def add(self, frame: Any) -> None:
        if frame.format.name not in PLANAR:
            frame = frame.reformat(format="yuv420p")
        plane: Any = VideoPlane(frame, 0)  # `frame.planes` would make all of them
        width = plane.line_size
        picture = np.frombuffer(plane, np.uint8).reshape(-1, width)[: plane.height : ROW_STEP, : plane.width]
        if picture.shape != self._shape:  # of another size than its stream says: it can't be compared with the others
            return
        self._batch[self._filled] = picture
        self._filled += 1
        if self._filled == BATCH:
            self._measure()

    def _measure(self) -> None:
        count, every, self._filled = self._filled, self._every, 0
        rows, left, right = self._batch[:count], self._batch[:count:every, ::2, :-1], self._batch[:count:every, ::2, 1:]
        (steps, low), floats = self._steps[:, : len(left)], self._floats[: len(left)]
        points = np.ascontiguousarray(rows[:, :, ROW_STEP // 2 :: ROW_STEP])
        np.maximum(left, right, out=steps)
        steps -= np.minimum(left, right, out=low)
        floats[:] = steps.reshape(len(left), -1)
        squares = np.vecdot(floats, floats) / floats.shape[1]  # a blur spreads an edge but keeps the sum of its steps
        sums = np.add.reduce(points.reshape(count, -1), axis=1, dtype=np.uint32)
        self._parts.append((points, sums / points[0].size, np.repeat(squares, every)[:count]))

    def finish(self, info: VideoInfo) -> None:
        """Put what was seen into `info`. Video brightness 16 .. 235 becomes 0 .. 255."""
        if self._filled:
            self._measure()
        if self._parts:
            points, brightness, sharpness = (np.concatenate(part) for part in zip(*self._parts, strict=True))
            info.points, info.sharpness = points, sharpness.astype(np.float32)
            info.brightness = ((brightness - 16) * (255 / 219)).clip(0, 255).astype(np.float32)
