"""How findings name places: frame spans and dimensions, short enough to read."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_MOST = 3


def frames(mask: NDArray[np.bool_]) -> str:
    """The frames at which `mask` (N,) holds, as spans: `frames 3-7, 12 and 4 more spans`."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    spans = [f"{a}" if b - a == 1 else f"{a}-{b - 1}" for a, b in edges.reshape(-1, 2)[:_MOST]]
    more = len(edges) // 2 - _MOST
    return ("frame " if mask.sum() == 1 else "frames ") + ", ".join(spans) + (f" and {more} more spans" * (more > 0))


def rows(values: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(N, ...) -> (N,): whether anything of a row holds."""
    return np.any(values.reshape(len(values), -1), axis=1)


def in_file(key: str) -> str:
    """An array of `proprio_stats.h5`."""
    return f"proprio_stats.h5:{key}"
