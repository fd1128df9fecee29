"""The number for "bimodal", and what a training changed, on cases whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from components.dft.analyse import bimodality


def test_bimodality_of_known_distributions() -> None:
    """Breaks if the claim of the paper were measured by something that a plain spread moves as well."""
    two = np.repeat([0.0, 1.0], 500)
    flat = np.linspace(0, 1, 100_001)
    bell = np.random.default_rng(0).normal(0.5, 0.1, 200_000)
    assert bimodality(two) == pytest.approx(1.0)
    assert bimodality(flat) == pytest.approx(5 / 9, abs=1e-3)
    assert bimodality(bell) == pytest.approx(1 / 3, abs=0.01)
    assert bimodality(3 * bell - 7) == pytest.approx(bimodality(bell)), "neither place nor scale counts"


def test_equal_values_have_one_mode() -> None:
    assert bimodality(np.full(10, 0.5)) == 0.0
