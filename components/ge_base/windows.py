"""Training windows: sparse memory, the current frame, and a future clip."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from components.ge_base.config import ClipConfig
from components.ge_base.frames import EpisodeRows, FrameTable


def draw(low: int, high: int, generator: torch.Generator) -> int:
    """A uniform integer in [low, high)."""
    return int(torch.randint(low, high, (1,), generator=generator).item())


def memory_rows(episode: EpisodeRows, now: int, memory: int, generator: torch.Generator) -> list[int]:
    """`memory` rows of the table: sorted random past rows (repeats allowed) and the current row `now` last.

    Random spacing makes the network indifferent to how often its caller asks (reference, "Memory: random").
    """
    past = sorted(draw(episode.start, now + 1, generator) for _ in range(memory - 1))
    return [*past, now]


def future_rows(episode: EpisodeRows, now: int, frames: int, stride: int) -> tuple[list[int], NDArray[np.bool_]]:
    """Rows now + stride, now + 2*stride, ... clamped to the episode's last one, and which were not clamped."""
    wanted = now + stride * np.arange(1, frames + 1)
    return np.minimum(wanted, episode.stop - 1).tolist(), wanted < episode.stop


def strides(clip: ClipConfig, fps: int) -> tuple[int, int]:
    """The smallest and largest frame stride that give a rate within the clip's bounds."""
    return max(1, int(np.ceil(fps / clip.rate_high_hz - 1e-9))), max(1, int(fps / clip.rate_low_hz + 1e-9))


def latent_validity(valid: NDArray[np.bool_], temporal_stride: int) -> NDArray[np.float32]:
    """1 for latent frames that begin before the episode's end: (frames,) -> (1 + (frames-1)/temporal_stride,)."""
    return np.concatenate([valid[:1], valid[1::temporal_stride]]).astype(np.float32)


def clip_sample(
    table: FrameTable,
    episode: EpisodeRows,
    clip: ClipConfig,
    memory: int,
    temporal_stride: int,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """One window: `memory` (M, V, h, w, 3) and `future` (frames, V, h, w, 3) uint8, `valid` (latent frames,)."""
    low, high = strides(clip, table.meta.fps)
    stride = draw(low, high + 1, generator)
    now = draw(episode.start, max(episode.start + 1, episode.stop - stride), generator)
    rows, valid = future_rows(episode, now, clip.frames, stride)
    past = memory_rows(episode, now, memory, generator)
    return {
        "memory": torch.from_numpy(table.frames[past]),
        "future": torch.from_numpy(table.frames[rows]),
        "valid": torch.from_numpy(latent_validity(valid, temporal_stride)),
    }
