"""Copies across a dataset: episodes that move exactly alike, and those that nearly do in a scene that looks the same.

Exact: equal hashes of joint angles on a grid. Near: trajectories of 64 points, gathered by locality-sensitive hashing
of their shape (Datar et al. 2004, random projections cut into cells), confirmed by dynamic time warping and by a
perceptual hash of the head's first picture. An episode is compared with the few in its cells only.
"""

from __future__ import annotations

import base64
import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from data_contracts.catalogue import Thresholds

Array = NDArray[np.float64]

POINTS = 64
_UNIT = 1e-3
"""Trajectories are kept as whole milliradians."""
_SHAPE, _STILL = 16, 0.005
"""Points of a trajectory's shape, even along its way; steps below `_STILL` rad are a sensor's noise."""
_TABLES, _PROJECTIONS, _CELLS = 8, 6, 4.0
"""Hash tables, projections in each, and the width of a cell in units of the largest distance that is searched for."""
_MOST_IN_CELL = 50
"""Each episode is compared with this many after it in its cell: robots at rest would put all of theirs into one."""


class Moving(Protocol):
    """What is compared of an episode."""

    @property
    def motion(self) -> str: ...
    @property
    def trajectory(self) -> str: ...
    @property
    def picture(self) -> str: ...


def motion_hash(joints: Array, grid: float) -> str:
    """Hash of joint angles (N, D) rad rounded to `grid`."""
    cells = np.clip(np.round(joints / grid), -(2**62), 2**62).astype(np.int64)
    return hashlib.sha256(str(cells.shape).encode() + cells.tobytes()).hexdigest()


def trajectory_of(joints: Array) -> str:
    """Joint angles (N, D) rad at `POINTS` even times, as text."""
    at = np.linspace(0, len(joints) - 1, POINTS)
    points = np.stack([np.interp(at, np.arange(len(joints)), column) for column in joints.T], axis=1)
    steps = np.clip(np.round(points / _UNIT), -32768, 32767).astype("<i2")
    return base64.b64encode(steps.tobytes()).decode()


def points_of(trajectory: str) -> Array:
    """(POINTS, D) rad."""
    return np.frombuffer(base64.b64decode(trajectory), "<i2").reshape(POINTS, -1) * _UNIT


def picture_hash(image: NDArray[np.uint8]) -> str:
    """A perceptual hash of an image (H, W, 3): the signs of its lowest 64 frequencies about their median."""
    from scipy.fft import dctn

    grey = image.mean(axis=2)
    rows, columns = (np.linspace(0, n, 33).astype(int) for n in grey.shape)
    small = np.add.reduceat(np.add.reduceat(grey, rows[:-1], axis=0), columns[:-1], axis=1)
    low = dctn(small, norm="ortho")[:8, :8].ravel()
    return np.packbits(low > np.median(low)).tobytes().hex()


def near_copies(episodes: Sequence[Moving], allowed: Thresholds, old: int = 0) -> list[tuple[int, int, float]]:
    """(i, j, distance) with i < j for each episode j that is nearly a copy of an earlier one i; the first such i.

    The first `old` episodes were compared with each other before: no j is one of them.
    """
    usable = np.array([n for n, e in enumerate(episodes) if e.trajectory and e.picture], np.int64)
    pictures = np.array([int(episodes[n].picture, 16) for n in usable], np.uint64)
    found: dict[int, tuple[int, float]] = {}
    for pairs, points in _candidates(episodes, usable, allowed.near_rad, old):
        differing = np.bitwise_count(pictures[pairs[:, 0]] ^ pictures[pairs[:, 1]])
        for a, b in pairs[differing <= allowed.near_bits].tolist():
            i, j = int(usable[a]), int(usable[b])
            if j not in found or i < found[j][0]:
                distance = warped_distance(points(a), points(b))
                if distance <= allowed.near_rad:
                    found[j] = (i, distance)
    return [(i, j, distance) for j, (i, distance) in sorted(found.items())]


def _candidates(
    episodes: Sequence[Moving], usable: NDArray[np.int64], near: float, old: int
) -> Iterator[tuple[NDArray[np.int64], Callable[[int], Array]]]:
    """Pairs (P, 2) of positions in `usable` that share a cell of some table, in order; and each one's points.

    Drawn with a fixed seed: equal datasets give equal pairs.
    """
    by_width: dict[int, list[int]] = defaultdict(list)
    for position, n in enumerate(usable):
        by_width[len(episodes[n].trajectory)].append(position)
    for members in by_width.values():
        positions = np.array(members, np.int64)

        def points(position: int) -> Array:
            return points_of(episodes[usable[position]].trajectory)

        vectors = _shapes(points_of(episodes[usable[p]].trajectory) for p in members)
        radius = near * np.sqrt(vectors.shape[1])
        random = np.random.default_rng(0)
        tables = []
        for _ in range(_TABLES):
            directions = random.standard_normal((vectors.shape[1], _PROJECTIONS))
            shift = random.uniform(0, 1, _PROJECTIONS)
            cells = np.floor(vectors @ directions / (_CELLS * radius) + shift).astype(np.int64)
            tables.append(_pairs_in_cells(cells))
        pairs = positions[np.unique(np.concatenate(tables), axis=0)]
        yield pairs[usable[pairs[:, 1]] >= old], points


def _pairs_in_cells(cells: NDArray[np.int64]) -> NDArray[np.int64]:
    """(P, 2) pairs i < j of rows that are equal, each with the `_MOST_IN_CELL` rows after it at most."""
    _, cell = np.unique(cells, axis=0, return_inverse=True)
    order = np.argsort(cell.ravel(), kind="stable")
    sorted_cells = cell.ravel()[order]
    found = [np.zeros((0, 2), np.int64)]
    for step in range(1, min(_MOST_IN_CELL, len(order))):
        same = np.flatnonzero(sorted_cells[step:] == sorted_cells[:-step])
        if not len(same):
            break
        found.append(np.stack([order[same], order[same + step]], axis=1))
    return np.concatenate(found)


def _shapes(trajectories: Iterable[Array]) -> Array:
    """(E, _SHAPE * D) of trajectories (P, D): `_SHAPE` points at even distances along the way of each, so that pace
    and pauses do not matter."""
    return np.stack([_shape(points).ravel() for points in trajectories])


def _shape(points: Array) -> Array:
    """(_SHAPE, D) of a trajectory (P, D)."""
    steps = np.abs(np.diff(points, axis=0)).max(axis=1)
    way = np.concatenate([[0.0], np.cumsum(np.maximum(steps - _STILL, 0) + 1e-6)])
    at = np.linspace(0, way[-1], _SHAPE)
    left = np.clip(np.searchsorted(way, at, side="right") - 1, 0, len(way) - 2)
    share = ((at - way[left]) / (way[left + 1] - way[left]))[:, None]
    return points[left] * (1 - share) + points[left + 1] * share


def warped_distance(a: Array, b: Array) -> float:
    """Dynamic time warping of two trajectories (P, D): the mean over its path of the largest joint difference, rad.

    Filled along anti-diagonals, so that each is one vector operation.
    """
    cost = np.abs(a[:, None] - b[None]).max(axis=2)
    n, m = cost.shape
    total, steps = np.full((n + 1, m + 1), np.inf), np.zeros((n + 1, m + 1))
    total[0, 0] = 0.0
    for diagonal in range(2, n + m + 1):
        i = np.arange(max(1, diagonal - m), min(n, diagonal - 1) + 1)
        j = diagonal - i
        before = np.stack([total[i - 1, j - 1], total[i - 1, j], total[i, j - 1]])
        best = before.argmin(axis=0)
        total[i, j] = cost[i - 1, j - 1] + before[best, np.arange(len(i))]
        counts = np.stack([steps[i - 1, j - 1], steps[i - 1, j], steps[i, j - 1]])
        steps[i, j] = 1 + counts[best, np.arange(len(i))]
    return float(total[n, m] / steps[n, m])


def _differing_bits(a: str, b: str) -> int:
    return (int(a, 16) ^ int(b, 16)).bit_count()
