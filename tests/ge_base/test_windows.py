"""Training windows: which frames a network sees. Wrong rows would train in silence."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from components.ge_base.config import ClipConfig
from components.ge_base.frames import EpisodeRows, shrink
from components.ge_base.windows import clip_sample, future_rows, latent_validity, memory_rows, strides

EPISODE = EpisodeRows(index=0, start=100, stop=160, instruction="", held_out=False)


@given(st.integers(100, 159), st.integers(1, 6), st.integers(0, 1000))
def test_memory_is_past_sorted_and_ends_now(now, memory, seed):
    """Breaks if memory looked into the future or into another episode."""
    rows = memory_rows(EPISODE, now, memory, torch.Generator().manual_seed(seed))
    assert len(rows) == memory
    assert rows[-1] == now
    assert rows == sorted(rows)
    assert rows[0] >= EPISODE.start


@given(st.integers(100, 159), st.integers(1, 12), st.integers(1, 60))
def test_future_starts_after_now_and_stays_in_the_episode(now, stride, frames):
    """Breaks if the present were predicted, or an episode ran into the next one."""
    rows, valid = future_rows(EPISODE, now, frames, stride)
    assert len(rows) == frames
    assert all(now <= row < EPISODE.stop for row in rows)
    for k, (row, ok) in enumerate(zip(rows, valid, strict=True), start=1):
        assert row == (now + k * stride if ok else EPISODE.stop - 1)


def test_rates_become_strides():
    """Breaks if stage 1 did not span 3-30 Hz or stage 2 were not at 5 Hz."""
    assert strides(ClipConfig(rate_low_hz=3, rate_high_hz=30), 30) == (1, 10)
    assert strides(ClipConfig(frames=9, rate_low_hz=5, rate_high_hz=5), 30) == (6, 6)
    with pytest.raises(ValueError, match=r"set clip\.rate_low_hz <= clip\.rate_high_hz"):
        ClipConfig(rate_low_hz=10, rate_high_hz=5)


def test_latents_that_begin_after_the_end_do_not_count():
    for real, counted in ((9, [1, 1, 0]), (10, [1, 1, 1])):  # the third latent frame begins with frame 9
        assert latent_validity(np.arange(17) < real, 8).tolist() == counted


def test_a_sample_holds_the_rows_it_says(table):
    """Breaks if memory and future were swapped or taken from wrong rows: pixels carry their row number."""
    episode = table.episodes(held_out=False)[1]
    clip = ClipConfig(frames=9, rate_low_hz=5, rate_high_hz=5)
    for seed in range(20):
        sample = clip_sample(table, episode, clip, 4, 8, torch.Generator().manual_seed(seed))
        memory, future = sample["memory"][:, 0, 0, 0, 0].int(), sample["future"][:, 0, 0, 0, 0].int()
        assert sample["memory"].shape == (4, 2, 16, 24, 3)
        want, _ = future_rows(episode, int(memory[-1]), 9, 6)
        assert future.tolist() == want


def test_held_out_episodes_are_not_trained_on(table):
    assert [e.index for e in table.episodes(held_out=True)] == [3]
    assert [e.index for e in table.episodes(held_out=False)] == [0, 1, 2]


def test_shrinking_averages_areas():
    """Breaks if training, evaluation and serving saw differently resampled frames."""
    frame = np.random.default_rng(0).integers(0, 255, (480, 640, 3), dtype=np.uint8)
    small = shrink(frame, 48, 64)
    want = frame.reshape(48, 10, 64, 10, 3).astype(float).mean(axis=(1, 3))
    assert np.abs(small - want).max() <= 0.5
    odd = shrink(np.full((50, 70, 3), 90, np.uint8), 48, 64)
    assert odd.shape == (48, 64, 3)
    assert np.all(odd == 90)


@pytest.mark.parametrize("size", [(48, 64), (50, 70)])
def test_shrinking_does_not_see_a_fourth_channel(size):
    frame = np.random.default_rng(1).integers(0, 255, (480, 640, 4), dtype=np.uint8)
    assert np.array_equal(shrink(frame, *size), shrink(np.ascontiguousarray(frame[:, :, :3]), *size))
    assert np.array_equal(shrink(frame[::-1], *size), shrink(np.ascontiguousarray(frame[::-1, :, :3]), *size))
