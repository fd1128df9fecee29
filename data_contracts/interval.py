"""Confidence intervals of shares."""

from __future__ import annotations

import math

Z_95 = 1.959963984540054


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """95 % Wilson score interval of a proportion, rounded to four digits. Sound at 0 and at `trials`, unlike Wald's."""
    if not 0 <= successes <= trials or trials == 0:
        raise ValueError(f"{successes} successes of {trials} trials is not a proportion")
    p = successes / trials
    return score_interval(p, p * (1 - p), trials)


def score_interval(mean: float, variance: float, count: int) -> tuple[float, float]:
    """Wilson's interval of the mean of `count` values in 0..1 whose variance is `variance`, at most mean (1 - mean).

    For shares that are themselves means, of several samples of one problem: the values are the problems'.
    """
    z2 = Z_95**2
    centre = (mean + z2 / (2 * count)) / (1 + z2 / count)
    half = Z_95 / (1 + z2 / count) * math.sqrt(variance / count + z2 / (4 * count**2))
    return round(max(0.0, centre - half), 4), round(min(1.0, centre + half), 4)
