"""Statistics of columns, streamed: moments and quantiles in memory that does not grow with the data.

One pass finds count, mean, standard deviation, minimum and maximum (Chan's update) and a histogram, from which
quantiles follow to 1/4096 of the range. Sketches are added up: shards make them of their episodes, a version's is the
sum of theirs and of its parent's, and nothing is read again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_contracts.action import Form, Normalisation, Space, angle_dims, gripper_dims

BINS = 4096
"""Quantiles are true to this part of a column's range."""
_CELLS = 2 * BINS + 2
_FINEST = -1000
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
        rows, new = np.asarray(rows, np.float64), Moments()
        new.count, new.mean = len(rows), rows.mean(axis=0)
        new.squares = np.square(rows - new.mean).sum(axis=0)
        new.low, new.high = rows.min(axis=0), rows.max(axis=0)
        self.merge(new)

    def merge(self, other: Moments) -> None:
        """Take in the rows that `other` took in, at least one."""
        if not self.count:
            self.count, self.mean, self.squares = other.count, other.mean, other.squares
            self.low, self.high = other.low, other.high
            return
        total, shift = self.count + other.count, other.mean - self.mean
        self.squares = self.squares + other.squares + shift**2 * self.count * other.count / total
        self.mean = self.mean + shift * other.count / total
        self.low, self.high = np.minimum(self.low, other.low), np.maximum(self.high, other.high)
        self.count = total

    @property
    def std(self) -> NDArray[np.float64]:
        """Population standard deviation."""
        return np.sqrt(self.squares / max(self.count, 1))


class Histogram:
    """Histograms of D columns whose cells are 2^k wide and begin at whole multiples of that.

    The least k of a column at which its range fits into `_CELLS` cells: so counts depend on the rows alone, not on the
    order in which they came, and a wider range makes two cells one, exactly.
    """

    def __init__(self, columns: int) -> None:
        self.exponent = np.full(columns, _FINEST)
        self.first = np.zeros(columns, np.int64)
        """number of the first cell"""
        self.counts = np.zeros((columns, _CELLS), np.int64)

    def update(self, rows: Rows, low: NDArray[np.float64], high: NDArray[np.float64]) -> None:
        """Take in `rows` (n, D); `low` and `high` (D,) are the range of all that was taken in, and of these."""
        self.fit(low, high)
        cells = np.floor(np.ldexp(rows, -self.exponent)).astype(np.int64) - self.first
        flat = (cells + np.arange(len(self.exponent)) * _CELLS).ravel()
        self.counts += np.bincount(flat, minlength=self.counts.size).reshape(self.counts.shape)

    def fit(self, low: NDArray[np.float64], high: NDArray[np.float64]) -> None:
        """Make room for values from `low` to `high` (D,), which hold all that was taken in."""
        exponent = _exponent(low, high)
        first = np.floor(np.ldexp(low, -exponent)).astype(np.int64)
        for column in np.flatnonzero((exponent != self.exponent) | (first != self.first)):
            self._widen(int(column), int(exponent[column] - self.exponent[column]), int(first[column]))
        self.exponent, self.first = exponent, first

    def _widen(self, column: int, times: int, first: int) -> None:
        """Make 2^times cells of a column one, the first of them number `first`."""
        counts = self.counts[column]
        filled = np.flatnonzero(counts)
        cells = ((filled + self.first[column]) >> min(times, 63)) - first
        self.counts[column] = np.bincount(cells, counts[filled], _CELLS).astype(np.int64)

    def quantile(self, share: float) -> NDArray[np.float64]:
        """(D,) interpolated within a cell."""
        total = self.counts.cumsum(axis=1)
        target = share * total[:, -1:]
        at = (total < target).sum(axis=1)[:, None].clip(max=_CELLS - 1)
        inside = np.take_along_axis(self.counts, at, 1)
        before = np.take_along_axis(total, at, 1) - inside
        part = (target - before) / np.maximum(inside, 1)
        return np.ldexp(self.first + (at + part.clip(0, 1))[:, 0], self.exponent)


def _exponent(low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.int64]:
    """The least k with which [low, high] spans fewer than `_CELLS` cells of 2^k whose numbers are exact."""
    largest, range_ = np.maximum(np.abs(low), np.abs(high)), high - low
    exact = np.where(largest > 0, np.frexp(largest)[1] - 52, _FINEST)
    spread = np.where(range_ > 0, np.frexp(range_)[1] - int(np.log2(_CELLS)) - 1, _FINEST)
    k = np.maximum(np.maximum(exact, spread), _FINEST).astype(np.int64)
    while (wide := np.floor(np.ldexp(high, -k)) - np.floor(np.ldexp(low, -k)) >= _CELLS).any():
        k = k + wide
    return k


class Sketch:
    """Moments and histogram of one stream of rows."""

    def __init__(self) -> None:
        self.moments, self.histogram = Moments(), Histogram(0)

    def update(self, rows: Rows) -> None:
        """Take in `rows` (n, D)."""
        if not len(rows):
            return
        rows = np.asarray(rows, np.float64)
        if not self.moments.count:
            self.histogram = Histogram(rows.shape[1])
        self.moments.update(rows)
        self.histogram.update(rows, self.moments.low, self.moments.high)

    def merge(self, other: Sketch) -> None:
        """Take in the rows that `other` took in, which is used up by that."""
        if not self.moments.count:
            self.moments, self.histogram = other.moments, other.histogram
        elif other.moments.count:
            self.moments.merge(other.moments)
            for histogram in (self.histogram, other.histogram):
                histogram.fit(self.moments.low, self.moments.high)
            self.histogram.counts += other.histogram.counts

    def summary(self) -> Summary:
        m = self.moments
        quantiles = {q: self.histogram.quantile(q).clip(m.low, m.high) for q in QUANTILES}
        return Summary(m.count, m.low, m.high, m.mean, m.std, quantiles)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All of it, by name; of the histogram only the cells that are filled."""
        m, h = self.moments, self.histogram
        columns, cells = np.nonzero(h.counts)
        return {
            "count": np.array(m.count), "mean": m.mean, "squares": m.squares, "low": m.low, "high": m.high,
            "exponent": h.exponent, "first": h.first, "columns": columns.astype(np.int16),
            "cells": cells.astype(np.int16), "filled": h.counts[columns, cells],
        }  # fmt: skip

    @classmethod
    def of_arrays(cls, arrays: dict[str, NDArray[Any]]) -> Sketch:
        sketch = cls()
        m = sketch.moments
        m.count, m.mean, m.squares = int(arrays["count"]), arrays["mean"], arrays["squares"]
        m.low, m.high = arrays["low"], arrays["high"]
        h = sketch.histogram = Histogram(len(m.mean))
        h.exponent, h.first = arrays["exponent"], arrays["first"]
        h.counts[arrays["columns"], arrays["cells"]] = arrays["filled"]
        return sketch


@dataclass(frozen=True)
class Summary:
    """Statistics of one stream of rows."""

    count: int
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    quantiles: dict[float, NDArray[np.float64]]


Sketches = dict[str, Sketch]
"""By the name of a column, or of an action space in a form."""


def add(sketches: Sketches, part: dict[str, Rows]) -> None:
    """Take the rows of each name into its sketch."""
    for name, rows in part.items():
        sketches.setdefault(name, Sketch()).update(rows)


def merge(sketches: Sketches, others: Sketches) -> None:
    """Take what `others` took in into the sketches of the same names; `others` are used up by that."""
    for name, other in others.items():
        sketches.setdefault(name, Sketch()).merge(other)


def summarise(stream: Iterable[dict[str, Rows]]) -> dict[str, Summary]:
    """Statistics by name over what `stream` yields."""
    sketches: Sketches = {}
    for part in stream:
        add(sketches, part)
    return {name: sketch.summary() for name, sketch in sketches.items() if sketch.moments.count}


def write_sketches(path: Path, sketches: Sketches, counts: dict[str, NDArray[Any]]) -> None:
    """Keep sketches, and `counts` beside them, in a file; equal ones give equal bytes."""
    named = {f"{name}|{key}": values for name, s in sketches.items() for key, values in s.arrays().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        np.savez_compressed(file, **{f"|{k}": v for k, v in counts.items()}, **named)  # type: ignore[arg-type]


def read_sketches(path: Path) -> tuple[Sketches, dict[str, NDArray[Any]]]:
    """What `write_sketches` wrote."""
    named: dict[str, dict[str, NDArray[Any]]] = {}
    with np.load(path, allow_pickle=False) as file:
        for entry in file.files:
            name, _, key = entry.partition("|")
            named.setdefault(name, {})[key] = file[entry]
    counts = named.pop("", {})
    return {name: Sketch.of_arrays(arrays) for name, arrays in named.items()}, counts


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
