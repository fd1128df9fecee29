"""Action chunks: what the expert learns must come back as the commands that were recorded."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from components.envisioner.policy import to_absolute
from components.ge_act.train import chunk_target
from data_contracts.action import ActionSchema, Normalisation, action_names
from data_contracts.interval import wilson

RNG = np.random.default_rng(1)
STATE = RNG.normal(size=(40, 14)).astype(np.float32)
ACTION = RNG.normal(size=(40, 14)).astype(np.float32)


def schema(form: str) -> ActionSchema:
    def statistics(seed: int) -> Normalisation:
        rng = np.random.default_rng(seed)
        return Normalisation(mean=tuple(rng.normal(size=14)), std=tuple(rng.uniform(0.5, 2, 14)))

    names = action_names("eef14", 7)
    return ActionSchema(space="eef14", form=form, width=14, names=names, action=statistics(0), state=statistics(1))


@given(st.integers(0, 39), st.sampled_from(["absolute", "relative", "delta"]))
def test_targets_invert_to_the_recorded_commands(now, form):
    """Breaks if normalisation, the form or the gripper's exception differed between training and serving."""
    s = schema(form)
    target = chunk_target(STATE, ACTION, now, 40, s)
    assert target.shape == (54, 14)
    raw = torch.from_numpy(target) * torch.tensor(s.action.std) + torch.tensor(s.action.mean)
    back = to_absolute(raw.float(), torch.from_numpy(STATE[now]), s).numpy()
    want = ACTION[np.minimum(np.arange(now, now + 54), 39)]
    np.testing.assert_allclose(back, want, atol=2e-4)


def test_commands_beyond_the_end_are_held():
    target = chunk_target(STATE, ACTION, 35, 40, schema("absolute"))
    np.testing.assert_array_equal(target[5:], np.repeat(target[4:5], 49, axis=0))


@given(st.integers(1, 300), st.data())
def test_wilson_contains_the_rate_and_narrows_with_more_trials(trials, data):
    """Breaks if an interval missed its own estimate, or left [0, 1]."""
    wins = data.draw(st.integers(0, trials))
    low, high = wilson(wins, trials)
    assert 0 <= low <= wins / trials + 1e-4
    assert wins / trials - 1e-4 <= high <= 1
    wide_low, wide_high = low, high
    low, high = wilson(wins * 4, trials * 4)
    assert high - low <= wide_high - wide_low


def test_wilson_matches_published_values():
    """Breaks if the formula were wrong: values from Brown, Cai and DasGupta's definition, computed by hand."""
    assert wilson(0, 10) == (0.0, 0.2775)
    assert wilson(5, 10) == (0.2366, 0.7634)
    with pytest.raises(ValueError, match="not a proportion"):
        wilson(3, 2)
