"""How findings name places: frame spans and dimensions, short enough to read."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

_MOST = 3
_FRAMES = re.compile(r"\bframes? ([0-9]+(?:-[0-9]+)?(?:, [0-9]+(?:-[0-9]+)?)*)")


def frames(mask: NDArray[np.bool_]) -> str:
    """The frames at which `mask` (N,) holds, as spans: `frames 3-7, 12 and 4 more spans`."""
    found = runs(mask)
    spans = [f"{a}" if b - a == 1 else f"{a}-{b - 1}" for a, b in found[:_MOST]]
    more = len(found) - _MOST
    return ("frame " if mask.sum() == 1 else "frames ") + ", ".join(spans) + (f" and {more} more spans" * (more > 0))


def count(mask: NDArray[np.bool_], of: str) -> str:
    """How many hold of `mask`, of what: `1 frame`, `12 frames`."""
    number = int(mask.sum())
    return f"{number} {of}" + "s" * (number != 1)


def runs(mask: NDArray[np.bool_]) -> NDArray[np.intp]:
    """(K, 2) start and end, half open, of the runs in which `mask` (N,) holds."""
    return np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8))).reshape(-1, 2)


def after(steps: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(N - 1,) steps between frames -> (N,): the frames that come after one."""
    return np.concatenate([[False], steps])


def spans_in(where: str) -> list[tuple[int, int]]:
    """The frames that a finding's place names, as (first, last): what `frames` wrote, read back."""
    listed = _FRAMES.search(where)
    if listed is None:
        return []
    pairs = [part.partition("-") for part in listed[1].split(", ")]
    return [(int(first), int(last or first)) for first, _, last in pairs]


def rows(values: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(N, ...) -> (N,): whether anything of a row holds."""
    return np.any(values.reshape(len(values), -1), axis=1)


def in_file(key: str) -> str:
    """An array of `proprio_stats.h5`."""
    return f"proprio_stats.h5:{key}"
