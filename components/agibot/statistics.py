"""Statistics of columns, streamed: moments and quantiles in memory that does not grow with the data.

Two passes over the episodes: the first finds count, mean, standard deviation, minimum and maximum (Chan's update), the
second fills histograms between minimum and maximum, from which quantiles follow to 1/4096 of the range.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_contracts.action import Form, Normalisation, Space, angle_dims, gripper_dims

BINS = 4096
QUANTILES = (0.01, 0.10, 0.50, 0.90, 0.99)
FORMS: tuple[Form, ...] = ("absolute", "delta", "relative")
GRIPPER_FLOOR = 0.05
"""Least standard deviation of a gripper: an unused one must not turn 5 % of its travel into many sigmas."""
FLOORS: dict[Form, float] = {"absolute": 1e-2, "delta": 1e-3, "relative": 1e-2}
"""... of any other dimension (rad or m): an arm that stands still must not turn its sensor noise into sigmas."""

Rows = NDArray[np.floating[Any]]


class Moments:
    """Count, mean, squared deviations, minimum and maximum of D columns."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = self.squares = self.low = self.high = np.zeros(0)

    def update(self, rows: Rows) -> None:
        """Take in `rows` (n, D)."""
        if not len(rows):
            return
        rows = np.asarray(rows, np.float64)
        n, mean = len(rows), rows.mean(axis=0)
        squares = np.square(rows - mean).sum(axis=0)
        if self.count:
            total, shift = self.count + n, mean - self.mean
            self.squares = self.squares + squares + shift**2 * self.count * n / total
            self.mean = self.mean + shift * n / total
            self.low, self.high = np.minimum(self.low, rows.min(axis=0)), np.maximum(self.high, rows.max(axis=0))
            self.count = total
        else:
            self.count, self.mean, self.squares = n, mean, squares
            self.low, self.high = rows.min(axis=0), rows.max(axis=0)

    @property
    def std(self) -> NDArray[np.float64]:
        """Population standard deviation."""
        return np.sqrt(self.squares / max(self.count, 1))


class Histograms:
    """Histograms of D columns between the minima and maxima that `Moments` found."""

    def __init__(self, moments: Moments) -> None:
        self._low, self._width = moments.low, np.maximum(moments.high - moments.low, 1e-300)
        self._counts = np.zeros((len(self._low), BINS), np.int64)

    def update(self, rows: Rows) -> None:
        bins = ((np.asarray(rows, np.float64) - self._low) / self._width * BINS).astype(np.int64)
        flat = np.clip(bins, 0, BINS - 1) + np.arange(len(self._low)) * BINS
        self._counts += np.bincount(flat.ravel(), minlength=self._counts.size).reshape(self._counts.shape)

    def quantile(self, share: float) -> NDArray[np.float64]:
        """(D,) interpolated within a bin."""
        total = self._counts.cumsum(axis=1)
        target = share * total[:, -1:]
        at = (total < target).sum(axis=1)[:, None].clip(max=BINS - 1)
        inside = np.take_along_axis(self._counts, at, 1)
        before = np.take_along_axis(total, at, 1) - inside
        part = (target - before) / np.maximum(inside, 1)
        return self._low + ((at + part.clip(0, 1))[:, 0] / BINS) * self._width


@dataclass(frozen=True)
class Summary:
    """Statistics of one stream of rows."""

    count: int
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    quantiles: dict[float, NDArray[np.float64]]


def summarise(stream: Callable[[], Iterator[dict[str, Rows]]]) -> dict[str, Summary]:
    """Statistics by name over what `stream` yields; it is called twice and must yield the same rows."""
    moments: dict[str, Moments] = {}
    for part in stream():
        for name, rows in part.items():
            moments.setdefault(name, Moments()).update(rows)
    histograms = {name: Histograms(m) for name, m in moments.items() if m.count}
    for part in stream():
        for name, rows in part.items():
            if name in histograms:
                histograms[name].update(rows)
    return {name: _summary(moments[name], histogram) for name, histogram in histograms.items()}


def _summary(m: Moments, histogram: Histograms) -> Summary:
    return Summary(m.count, m.low, m.high, m.mean, m.std, {q: histogram.quantile(q) for q in QUANTILES})


def of_rows(rows: Rows) -> Summary:
    """Exact statistics of `rows` (n, D) that are all at hand."""
    rows = np.asarray(rows, np.float64)
    values = np.quantile(rows, QUANTILES, axis=0)
    return Summary(
        len(rows), rows.min(axis=0), rows.max(axis=0), rows.mean(axis=0), rows.std(axis=0),
        dict(zip(QUANTILES, values, strict=True)),
    )  # fmt: skip


def levels(images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """(S, H, W, 3) -> (3, 256): how often each level occurs in each channel. Sums of it are those of more images."""
    channels = images.reshape(-1, images.shape[-1])
    return np.stack([np.bincount(channels[:, c], minlength=256) for c in range(channels.shape[1])])


def of_levels(counts: NDArray[np.int64], images: int) -> Summary:
    """Exact statistics of the channels of `images` images, scaled to 0 .. 1, from their levels (3, 256)."""
    scale, total, running = np.arange(256) / 255, counts.sum(axis=1), counts.cumsum(axis=1)
    mean = counts @ scale / total
    variance = (counts * (scale - mean[:, None]) ** 2).sum(axis=1) / total

    def at(rank: NDArray[np.float64]) -> NDArray[np.float64]:
        """The value of the given rank in each channel."""
        return (running <= rank[:, None]).sum(axis=1) / 255

    def quantile(share: float) -> NDArray[np.float64]:
        rank = share * (total - 1)
        low, high = at(np.floor(rank)), at(np.ceil(rank))
        return low + (rank - np.floor(rank)) * (high - low)

    return Summary(
        images, at(np.zeros(len(total))), at(total - 1.0), mean, np.sqrt(variance),
        {q: quantile(q) for q in QUANTILES},
    )  # fmt: skip


def in_form(state: Rows, action: Rows, space: Space, form: Form, chunk: int) -> Rows:
    """The actions (N, D) of one episode in a form; differences never reach over its ends, grippers stay absolute.

    `delta`: (N - 1, D), a_t - a_{t-1}. `relative`: (N * chunk, D), a_{t+k} - state_t for every start t and k < chunk,
    the last command being held beyond the end. Differences of angles are wrapped into (-pi, pi].
    """
    n, width = action.shape
    grippers = list(gripper_dims(space, width // 2 - 1))
    if form == "absolute":
        return action
    if form == "delta":
        out, kept = np.diff(action, axis=0), action[1:, grippers]
    else:
        rows = np.minimum(np.arange(n)[:, None] + np.arange(chunk), n - 1)
        held = action[rows]
        out, kept = (held - state[:, None]).reshape(-1, width), held[..., grippers].reshape(-1, len(grippers))
    angles = list(angle_dims(space))
    out[:, angles] = np.pi - (np.pi - out[:, angles]) % (2 * np.pi)
    out[:, grippers] = kept
    return out


def normalisation(summary: Summary, space: Space, form: Form) -> Normalisation:
    """Mean and floored standard deviation."""
    floor = np.full(len(summary.std), FLOORS[form])
    floor[list(gripper_dims(space, len(floor) // 2 - 1))] = GRIPPER_FLOOR
    return Normalisation(mean=tuple(summary.mean.tolist()), std=tuple(np.maximum(summary.std, floor).tolist()))
