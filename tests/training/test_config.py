"""Training configuration: contradictions fail before anything starts, and the schedule is what it says."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.training.config import TrainConfig
from components.training.job import sample_generator


def test_a_batch_that_cannot_be_split_names_the_mend():
    with pytest.raises(ValueError, match=r"batch_size 10 cannot be split over 4 processes; use a multiple, e\.g\. 12"):
        TrainConfig(steps=5, batch_size=10, processes=4, warmup_steps=0)


def test_warm_up_must_end_before_the_run_does():
    with pytest.raises(ValueError, match="lower warmup_steps"):
        TrainConfig(steps=5, batch_size=8, warmup_steps=5)


@given(st.integers(2, 200), st.sampled_from(["constant", "cosine"]))
def test_learning_rate_rises_then_never_exceeds_its_peak(steps, decay):
    """Breaks if warm-up jumped, or the decay rose again."""
    config = TrainConfig(steps=steps, batch_size=8, warmup_steps=steps // 2, decay=decay, learning_rate=1.0)
    rates = [config.learning_rate_at(step) for step in range(steps)]
    assert max(rates) <= 1.0
    assert all(a <= b for a, b in pairwise(rates[: steps // 2]))
    after = rates[steps // 2 :]
    assert all(a >= b for a, b in pairwise(after))


def test_samples_have_their_own_generators():
    """Breaks if two samples of a step, or two steps, drew the same noise."""
    import torch

    draws = {torch.rand(1, generator=sample_generator(7, step, i)).item() for step in range(20) for i in range(20)}
    assert len(draws) == 400


def test_a_micro_batch_that_does_not_divide_names_the_mend():
    """Breaks if the last part of a batch were smaller and weighed as much as the others."""
    with pytest.raises(ValueError, match=r"micro_batch 3 does not divide the 8 samples.*divisor of 8"):
        TrainConfig(steps=5, batch_size=16, processes=2, micro_batch=3, warmup_steps=0)
