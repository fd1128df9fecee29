"""How far new episodes are from those that a dataset has, in one number about each, task for task.

A drop may hold other tasks than the dataset, or the same ones in other shares; neither is drift. So each value is
replaced by its place among the earlier values of its own task (the probability integral transform): without drift,
places are spread evenly over 0 .. 1, whatever the tasks are. How far they are from that is Kolmogorov and Smirnov's
distance. Episodes of tasks that the dataset lacks are left out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.agibot.examine import Examined

Array = NDArray[np.float64]

_ONCE_IN_A_THOUSAND = 1.95
"""Kolmogorov's constant: two samples of one distribution, of sizes n and m, are farther apart than this times
sqrt(1/n + 1/m) once in a thousand times (Smirnov 1948)."""


@dataclass(frozen=True)
class Places:
    """Of each new episode, the least and the most share of earlier values of its task that are below its own.

    NaN where there is nothing to compare with. Least and most differ by values that are as good as equal.
    """

    least: Array
    most: Array
    earlier: int
    """values that they are compared with"""
    size: float
    """how many values of one task would tell as much (Kish's effective sample size)"""

    @property
    def count(self) -> int:
        return int(np.isfinite(self.least).sum())


def places(new: Sequence[Examined], known: Sequence[Examined], name: str, resolution: float) -> Places:
    """Of the aggregate `name`; values no farther apart than `resolution` are equal.

    So a constant, and the same with a sensor's noise, are alike.
    """
    by_task: dict[int, list[int]] = defaultdict(list)
    for number, episode in enumerate(new):
        if episode.usable and name in episode.aggregates:
            by_task[episode.task_id].append(number)
    before: dict[int, list[float]] = defaultdict(list)
    for episode in known:
        if episode.usable and name in episode.aggregates and episode.task_id in by_task:
            before[episode.task_id].append(episode.aggregates[name])
    least, most = np.full(len(new), np.nan), np.full(len(new), np.nan)
    spread = 0.0
    for task, old in before.items():
        numbers, values = by_task[task], np.sort(np.array(old))
        own = np.array([new[n].aggregates[name] for n in numbers])
        least[numbers] = np.searchsorted(values, own - resolution, side="left") / len(values)
        most[numbers] = np.searchsorted(values, own + resolution, side="right") / len(values)
        spread += len(numbers) ** 2 / len(values)
    compared = int(np.isfinite(least).sum())
    return Places(least, most, sum(map(len, before.values())), compared**2 / spread if spread else 0.0)


def distance(least: Array, most: Array) -> float:
    """The largest difference, 0 .. 1, of the share of places up to any point from that point; 0 without places."""
    if not len(least):
        return 0.0
    return max(_excess(np.sort(most)), _excess(np.sort(1 - least)), 0.0)


def _excess(places: Array) -> float:
    """By how much the share of `places` (sorted) up to a point exceeds that point."""
    return float((np.arange(1, len(places) + 1) / len(places) - places).max())


def by_chance(count: int, size: float) -> float:
    """The distance that `count` values exceed once in a thousand times though nothing has drifted."""
    return float(_ONCE_IN_A_THOUSAND * np.sqrt(1 / max(count, 1) + 1 / max(size, 1e-9)))
