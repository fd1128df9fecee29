"""What was read of one episode, as the checks see it. A part that is absent or can't be read is empty here."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.agibot.blob import Blob
from components.agibot.task_info import TaskEntry
from data_contracts.catalogue import Thresholds
from data_contracts.embodiment import Embodiment
from data_contracts.profile import Chain

Arrays = dict[str, NDArray[Any]]
_TOGETHER = 64


@dataclass
class VideoInfo:
    """What was seen of one video of N frames, M of which were looked at: all of them, or in sampled decoding a few."""

    frames: int = 0
    """N: those that came out of the decoder, or in sampled decoding the packets"""
    at: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """(M,) which frames were looked at, in order"""
    samples: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, 0, 0, 3), np.uint8))
    """(S, 120, 160, 3) RGB, evenly spread"""
    sampled: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """(S,) which frames those are"""
    points: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, 0, 0), np.uint8))
    """(M, h, w) brightness on a coarse grid"""
    brightness: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    """(M,) mean, 0 black .. 255 white"""
    sharpness: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    """(M,) mean squared difference of neighbouring pixels; of a whole video, two frames in a row share one"""

    @property
    def whole(self) -> bool:
        """Whether every frame was looked at."""
        return len(self.at) == self.frames

    @cached_property
    def changes(self) -> NDArray[np.float64]:
        """(M - 1,) mean change of brightness from one frame that was looked at to the next.

        A few frames at a time, which stay in the processor's cache.
        """
        points = self.points.reshape(len(self.points), -1)
        out = np.empty(max(0, len(points) - 1))
        for start in range(0, len(out), _TOGETHER):
            after = points[start + 1 : start + 1 + _TOGETHER]
            before = points[start : start + len(after)]
            bigger = np.maximum(after, before)
            bigger -= np.minimum(after, before)
            out[start : start + len(after)] = np.add.reduce(bigger, axis=1, dtype=np.uint32)
        return out / max(1, points.shape[1])


@dataclass(frozen=True)
class Calibration:
    """One camera over an episode."""

    intrinsic: NDArray[np.float32]
    """(4,) fx, fy, cx, cy in pixels"""
    distortion: NDArray[np.float32]
    """(5,) k1, k2, p1, p2, k3; zero where none is given"""
    camera_to_base: NDArray[np.float32]
    """(N, 12) rows of the 3x4 matrix [R | t], metres, OpenCV axes"""

    @property
    def rotations(self) -> NDArray[np.float64]:
        """(N, 3, 3)"""
        return self.camera_to_base.reshape(-1, 3, 4)[:, :, :3].astype(np.float64)

    @property
    def positions(self) -> NDArray[np.float64]:
        """(N, 3) m"""
        return self.camera_to_base.reshape(-1, 3, 4)[:, :, 3].astype(np.float64)


@dataclass
class Evidence:
    """One episode of `frames` frames; 0 where its states can't be read."""

    robot: Embodiment
    allowed: Thresholds
    frames: int = 0
    arrays: Arrays = field(default_factory=dict)
    """those of proprio_stats.h5 that have one row per frame"""
    entry: TaskEntry | None = None
    videos: dict[str, VideoInfo] = field(default_factory=dict)
    calibrations: dict[str, Calibration] = field(default_factory=dict)
    depth: dict[str, Blob] = field(default_factory=dict)
    chains: tuple[Chain, Chain] | None = None
    skills: tuple[str, ...] = ()
    sampled: bool = False
    """of pictures, a few are looked at"""

    def arm_joints(self) -> NDArray[np.float64] | None:
        """(N, 2, J) measured joint angles, left arm first."""
        joints = self.arrays.get("state/joint/position")
        return None if joints is None else joints.reshape(len(joints), 2, -1)
