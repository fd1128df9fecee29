"""Sparse memory of one robot session: the frames that GE-Base sees before the future."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray


class SessionMemory:
    """`frames` slots; the last is always the current frame, the others are the most recent ones kept.

    A frame enters the kept ones when at least `stride_steps` control steps were executed since the last did. Before the
    slots are full, the oldest frame fills them.
    """

    def __init__(self, frames: int, stride_steps: int):
        if frames < 1 or stride_steps < 1:
            raise ValueError(f"frames and stride_steps must be at least 1, got {frames} and {stride_steps}")
        self._kept: deque[NDArray[np.uint8]] = deque(maxlen=frames - 1) if frames > 1 else deque(maxlen=0)
        self._frames = frames
        self._stride = stride_steps
        self._since = 0

    def observe(self, frame: NDArray[np.uint8], executed_steps: int) -> NDArray[np.uint8]:
        """The memory (M, V, H, W, 3), given the current `frame` (V, H, W, 3), `executed_steps` after the last one."""
        if self._frames == 1:
            return frame[None]
        self._since += executed_steps
        if not self._kept:
            self._kept.append(frame)
            self._since = 0
        slots = [self._kept[0]] * (self._frames - 1 - len(self._kept)) + list(self._kept) + [frame]
        if self._since >= self._stride:
            self._kept.append(frame)
            self._since = 0
        return np.stack(slots)


def memory_indices(now: int, frames: int, stride_steps: int) -> NDArray[np.int64]:
    """Frame indices, oldest first, that `SessionMemory` holds at step `now` when it observes every step."""
    kept = [0]
    kept.extend(range(stride_steps, now, stride_steps))
    kept = kept[-(frames - 1) :] if frames > 1 else []
    first = kept[0] if kept else now
    return np.array([first] * (frames - 1 - len(kept)) + kept + [now], dtype=np.int64)
