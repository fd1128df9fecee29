"""Streamed encoders of the raw layout: H.264 videos and 16-bit depth images, byte for byte reproducible.

AgiBot-World's own files are said to be AV1; a software AV1 encoder costs several times real time, so these are H.264
(`avc1`) in the same container, size and rate. Readers must probe the codec, not assume one.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Literal

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation
from numpy.typing import NDArray
from PIL import Image

from components.store.errors import OrreryError

GOP = 15
"""Frames from one key frame to the next: a random frame costs at most half a second of decoding."""
X264_OPTIONS = {
    "preset": "ultrafast",
    "tune": "fastdecode",
    # Constant: to choose one for every frame (crf), x264 first searches a small copy of it, a third of its work here.
    "qp": "18",
    "bf": "0",
    "threads": "1",
    # x264 writes its options, with the thread count, into the stream; both are fixed, so equal frames give equal bytes.
    "x264-params": "scenecut=0:sliced-threads=0",
}


class VideoWriter:
    """Encodes frames as they come, one frame in memory. Use as a context manager; no frames is an error.

    H.264, yuv420p (BT.601, limited range), constant frame rate with integer timestamps 0, 1, 2, ... in units of one
    frame, no B-frames, a key frame every `GOP` frames, the index at the front of the file.
    """

    def __init__(
        self, path: Path, width: int, height: int, fps: int = 30, pixels: Literal["rgb24", "rgba"] = "rgb24"
    ) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.frames = path, 0
        self._shape = (height, width, 4 if pixels == "rgba" else 3)
        self._container = av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"})
        stream = self._container.add_stream("libx264", rate=fps, options=dict(X264_OPTIONS))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.gop_size = GOP
        stream.codec_context.thread_count = 1
        stream.codec_context.time_base = Fraction(1, fps)
        self._stream = stream
        self._frame = VideoFrame(width, height, pixels)
        self._pixels = _view(self._frame, self._shape)

    def write(self, image: NDArray[np.uint8]) -> None:
        """Append one frame, uint8 (height, width, 3), or with `pixels` "rgba" (height, width, 4), first row on top.

        Alpha is not looked at.
        """
        if image.shape != self._shape or image.dtype != np.uint8:
            raise ValueError(f"{self.path.name} takes uint8 {self._shape}, not {image.dtype} {image.shape}")
        np.copyto(self._pixels, image)
        # Only chroma is scaled. Taking its samples as they are is the fastest way, and the truest on flat colours.
        frame = self._frame.reformat(format="yuv420p", interpolation=Interpolation.POINT, threads=1)
        frame.pts, frame.time_base = self.frames, self._stream.codec_context.time_base
        self._container.mux(self._stream.encode(frame))
        self.frames += 1

    def close(self) -> None:
        """Flush the encoder and finish the file. Raises OrreryError if there was no frame."""
        if self.frames:
            self._container.mux(self._stream.encode(None))
        self._container.close()
        if not self.frames:
            raise OrreryError(f"{self.path} got no frames; a video needs at least one")

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._container.close()


def _view(frame: VideoFrame, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """`shape` (height, width, channels): the memory of a frame of one plane, without the padding at its rows' ends."""
    plane = frame.planes[0]
    memory = np.frombuffer(memoryview(plane), np.uint8)
    return np.lib.stride_tricks.as_strided(memory, shape, (plane.line_size, shape[2], 1))


def write_video(path: Path, frames: Iterable[NDArray[np.uint8]], width: int, height: int, fps: int = 30) -> int:
    """Encode `frames` one by one; how many there were."""
    with VideoWriter(path, width, height, fps) as writer:
        for frame in frames:
            writer.write(frame)
    return writer.frames


def write_depth(path: Path, millimetres: NDArray[np.uint16]) -> None:
    """One depth image (height, width) as a 16-bit grey PNG in millimetres; 0 where nothing was seen."""
    if millimetres.dtype != np.uint16 or millimetres.ndim != 2:
        raise ValueError(f"depth must be uint16 (height, width), not {millimetres.dtype} {millimetres.shape}")
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.ascontiguousarray(millimetres)).save(path, format="PNG", compress_level=1)
