"""The episode's clock: `timestamp` in nanoseconds, one per frame."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from components.agibot.checks.evidence import Evidence
from components.agibot.checks.places import after, count, frames, in_file
from components.agibot.proprio import TIMESTAMP
from data_contracts.catalogue import Thresholds, finding
from data_contracts.reasons import Finding

_WHERE = in_file(TIMESTAMP)


def check_clock(evidence: Evidence) -> Iterator[Finding]:
    """The timestamps (N,) ns must rise at the robot's frame rate."""
    stamps, fps, limits = evidence.arrays.get(TIMESTAMP), evidence.robot.fps, evidence.allowed
    if stamps is None:
        return
    nominal = 1000.0 / fps
    periods = (stamps[1:].astype(np.float64) - stamps[:-1]) / 1e6  # ms; float, since hostile int64 differences overflow
    back = periods <= 0
    if back.any():
        message = f"timestamps don't rise at {int(back.sum())} of {len(stamps)} frames, at worst {periods.min():.3f} ms"
        yield finding("time.not-increasing", message, f"{_WHERE}, {frames(after(back))}")
        yield from _check_pauses(_without_falls(stamps, nominal), nominal, limits)
        return
    duration, expected = periods.sum() / 1000, (len(stamps) - 1) / fps
    if not 0.1 < duration / expected < 10:
        message = f"{len(stamps)} frames take {duration:.6g} s by their timestamps, {expected:.3f} s are expected"
        yield finding("time.unit", message, _WHERE)
        return
    median = float(np.median(periods))
    fits = abs(median / nominal - 1) <= limits.period_tolerance
    if not fits:
        yield finding("time.rate", f"the median frame period is {median:.2f} ms, the robot's {nominal:.2f} ms", _WHERE)
        nominal = median  # the rest is judged by the rate that the episode has
    yield from _check_pauses(periods, nominal, limits)
    usual = periods[periods <= min(limits.gap_s * 1000, limits.short_gap_periods * nominal)]
    if len(usual):
        yield from _check_usual(usual, nominal, fits, limits)


def _without_falls(stamps: NDArray[np.int64], nominal: float) -> NDArray[np.float64]:
    """(N - 1,) ms: the periods of a clock that falls, those up to frames that are no later than an earlier one being
    the nominal one: so what is a pause remains one, and the way back from a fall is none."""
    latest = np.maximum.accumulate(stamps)
    rising = np.flatnonzero(np.concatenate([[True], stamps[1:] > latest[:-1]]))
    periods = np.full(len(stamps) - 1, nominal)
    periods[rising[1:] - 1] = np.diff(stamps[rising].astype(np.float64)) / 1e6 - (np.diff(rising) - 1) * nominal
    return periods


def _check_pauses(periods: NDArray[np.float64], nominal: float, limits: Thresholds) -> Iterator[Finding]:
    long = periods > limits.gap_s * 1000
    if long.any():
        message = f"{count(long, 'pause')}, the longest of {periods.max() / 1000:.3f} s"
        yield finding("time.gap", message, f"{_WHERE}, {frames(after(long))}")
    short = (periods > limits.short_gap_periods * nominal) & ~long
    if short.any():
        message = f"{count(short, 'frame period')} above {limits.short_gap_periods:g} nominal ones"
        yield finding(
            "time.short-gap", f"{message}, up to {periods[short].max():.1f} ms", f"{_WHERE}, {frames(after(short))}"
        )


def _check_usual(periods: NDArray[np.float64], nominal: float, fits: bool, limits: Thresholds) -> Iterator[Finding]:
    """Mean and evenness of the `periods` (ms) that are no pauses: a pause must not be reported thrice."""
    share = periods.mean() / nominal
    if fits and abs(share - 1) > limits.duration_tolerance:
        message = f"{len(periods)} frame periods take {periods.sum() / 1000:.3f} s, {share:.3f} of what is expected"
        yield finding("time.unit", message, _WHERE)
    jitter = float(np.percentile(np.abs(periods - nominal), 99))
    if jitter > limits.jitter_ms:
        message = (
            f"99 % of the frame periods are within {jitter:.1f} ms of {nominal:.2f} ms; {limits.jitter_ms:g} is usual"
        )
        yield finding("time.jitter", message, _WHERE)
