"""Statistics are normalisation: a wrong mean or a difference across episodes is a wrong command on a robot."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from components.agibot.statistics import (
    BINS,
    FLOORS,
    GRIPPER_FLOOR,
    Moments,
    Sketch,
    in_form,
    levels,
    normalisation,
    of_levels,
    of_rows,
    read_sketches,
    summarise,
    write_sketches,
)
from data_contracts.action import angle_dims, gripper_dims

Rows = NDArray[np.float64]
few = settings(max_examples=40, deadline=None)
rows = hnp.arrays(
    np.float64,
    st.tuples(st.integers(1, 60), st.integers(1, 4)),
    elements=st.floats(-1e3, 1e3, allow_subnormal=False).map(lambda x: round(x, 6)),
)


def pieces(values: Rows, cuts: list[int]) -> list[Rows]:
    return np.split(values, sorted(c % (len(values) + 1) for c in cuts))


@few
@given(rows, st.lists(st.integers(0, 100), max_size=5))
def test_moments_do_not_depend_on_how_rows_arrive(values: Rows, cuts: list[int]) -> None:
    moments = Moments()
    for piece in pieces(values, cuts):
        moments.update(piece)
    assert moments.count == len(values)
    np.testing.assert_allclose(moments.mean, values.mean(axis=0), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(moments.std, values.std(axis=0), rtol=1e-7, atol=1e-9)
    assert (moments.low == values.min(axis=0)).all()
    assert (moments.high == values.max(axis=0)).all()


@few
@given(rows, st.lists(st.integers(0, 100), max_size=5))
def test_sums_of_sketches_are_the_sketch_of_all(values: Rows, cuts: list[int]) -> None:
    """Shards make sketches of their own: a version's must be what one pass over all of its episodes would give."""
    whole, added = Sketch(), Sketch()
    whole.update(values)
    for piece in pieces(values, cuts):
        part = Sketch()
        part.update(piece)
        added.merge(part)
    assert added.moments.count == whole.moments.count
    np.testing.assert_allclose(added.moments.mean, whole.moments.mean, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(added.moments.std, whole.moments.std, rtol=1e-7, atol=1e-9)
    assert (added.moments.low == whole.moments.low).all()
    assert (added.moments.high == whole.moments.high).all()
    assert (added.histogram.exponent == whole.histogram.exponent).all()
    assert (added.histogram.first == whole.histogram.first).all()
    assert (added.histogram.counts == whole.histogram.counts).all()


def test_moments_keep_small_spreads_on_large_offsets() -> None:
    """Timestamps and joint offsets: a naive sum of squares would lose the spread altogether."""
    values = 1e8 + np.random.default_rng(0).normal(size=(5000, 1))
    moments = Moments()
    for piece in np.array_split(values, 17):
        moments.update(piece)
    np.testing.assert_allclose(moments.std, values.std(axis=0), rtol=1e-6)


@few
@given(rows, st.lists(st.integers(0, 100), max_size=5))
def test_streamed_quantiles_lie_between_neighbours_to_a_bin(values: Rows, cuts: list[int]) -> None:
    def stream() -> Iterator[dict[str, Rows]]:
        for piece in pieces(values, cuts):
            yield {"x": piece}

    found = summarise(stream())["x"]
    width = (values.max(axis=0) - values.min(axis=0)) / BINS + 1e-9
    ordered = np.sort(values, axis=0)
    for share, quantile in found.quantiles.items():
        rank = share * len(values)
        below = ordered[max(0, int(np.floor(rank)) - 1)]
        above = ordered[min(len(values) - 1, int(np.ceil(rank)))]
        assert (quantile >= below - width).all(), share
        assert (quantile <= above + width).all(), share


@few
@given(rows, st.lists(st.integers(0, 100), max_size=5), st.randoms())
def test_a_sketch_does_not_depend_on_order_and_goes_on_after_it_was_kept(
    tmp_path_factory: pytest.TempPathFactory, values: Rows, cuts: list[int], random: Any
) -> None:
    """New episodes are added to a version's sketch: its quantiles must be those of all episodes at once."""
    whole, grown = Sketch(), Sketch()
    whole.update(values)
    parts = pieces(values, cuts)
    random.shuffle(parts)
    path = tmp_path_factory.mktemp("sketch") / "s.npz"
    for part in parts:
        grown.update(part)
        write_sketches(path, {"x": grown}, {"n": np.arange(3)})
        read, counts = read_sketches(path)
        grown = read["x"]
    assert counts["n"].tolist() == [0, 1, 2]
    for share in (0.01, 0.5, 0.99):
        np.testing.assert_array_equal(whole.summary().quantiles[share], grown.summary().quantiles[share])
    np.testing.assert_allclose(whole.moments.std, grown.moments.std, rtol=1e-7, atol=1e-9)


def test_quantiles_of_much_data_are_numpys() -> None:
    values = np.random.default_rng(1).normal(size=(40_000, 3)) * [1, 5, 0.01]
    found = summarise({"x": piece} for piece in np.array_split(values, 9))["x"]
    for share, quantile in found.quantiles.items():
        np.testing.assert_allclose(
            quantile, np.quantile(values, share, axis=0), atol=2e-3 * np.ptp(values, axis=0).max()
        )


def test_exact_statistics_of_one_episode_are_numpys() -> None:
    values = np.random.default_rng(2).normal(size=(101, 2))
    found = of_rows(values)
    assert found.count == 101
    np.testing.assert_allclose(found.quantiles[0.9], np.quantile(values, 0.9, axis=0))
    np.testing.assert_allclose(found.std, values.std(axis=0))


@few
@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 5), st.just(3))))
def test_image_statistics_are_exact(images: NDArray[np.uint8]) -> None:
    """From counts of levels alone: no image needs to be kept to know the statistics of many."""
    found = of_levels(levels(images), len(images))
    channels = images.reshape(-1, 3) / 255.0
    assert found.count == len(images)
    np.testing.assert_allclose(found.mean, channels.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(found.std, channels.std(axis=0), atol=1e-12)
    np.testing.assert_allclose(found.low, channels.min(axis=0))
    np.testing.assert_allclose(found.high, channels.max(axis=0))
    for share, quantile in found.quantiles.items():
        np.testing.assert_allclose(quantile, np.quantile(channels, share, axis=0), atol=1e-9)


def test_levels_of_many_images_add_up() -> None:
    images = np.random.default_rng(3).integers(0, 256, (6, 5, 4, 3), dtype=np.uint8)
    assert (levels(images[:2]) + levels(images[2:]) == levels(images)).all()


# Forms of actions


def episode(n: int, seed: int = 0) -> tuple[Rows, Rows]:
    """State and action (n, 14) of an eef14 episode whose angles cross pi."""
    rng = np.random.default_rng(seed)
    angles = np.array(angle_dims("eef14"))
    values = rng.normal(size=(2, n, 14)).cumsum(axis=1)
    values[..., angles] = (values[..., angles] + np.pi) % (2 * np.pi) - np.pi
    values[..., [6, 13]] = rng.uniform(size=(2, n, 2))
    return values[0], values[1]


def wrapped(x: Rows) -> Rows:
    return np.arctan2(np.sin(x), np.cos(x))


@few
@given(st.integers(2, 30), st.integers(0, 1000))
def test_deltas_add_up_to_the_action(n: int, seed: int) -> None:
    state, action = episode(n, seed)
    delta = in_form(state, action, "eef14", "delta", 54)
    assert delta.shape == (n - 1, 14)
    rebuilt = action[0] + delta.cumsum(axis=0)
    for d in range(14):
        if d in gripper_dims("eef14", 6):
            assert (delta[:, d] == action[1:, d]).all(), "grippers stay absolute"
        elif d in angle_dims("eef14"):
            np.testing.assert_allclose(wrapped(rebuilt[:, d] - action[1:, d]), 0, atol=1e-9)
            assert (np.abs(delta[:, d]) <= np.pi).all()
        else:
            np.testing.assert_allclose(rebuilt[:, d], action[1:, d], atol=1e-9)


@few
@given(st.integers(2, 12), st.integers(1, 9), st.integers(0, 1000))
def test_relative_actions_start_from_the_state_and_hold_the_last_command(n: int, chunk: int, seed: int) -> None:
    state, action = episode(n, seed)
    found = in_form(state, action, "eef14", "relative", chunk).reshape(n, chunk, 14)
    for t in range(n):
        for k in range(chunk):
            target = action[min(t + k, n - 1)]
            expected = target - state[t]
            expected[list(angle_dims("eef14"))] = wrapped(expected[list(angle_dims("eef14"))])
            grippers = list(gripper_dims("eef14", 6))
            expected[grippers] = target[grippers]
            np.testing.assert_allclose(found[t, k], expected, atol=1e-9)


def test_joint_angles_are_not_wrapped() -> None:
    """A joint that turns by more than half a turn really did."""
    action = np.zeros((2, 16))
    action[1, 0] = 4.0
    assert in_form(action, action, "joint", "delta", 1)[0, 0] == 4.0


def test_half_a_turn_is_positive() -> None:
    """(-pi, pi]: both ends of the range must not both occur."""
    action = np.zeros((2, 14))
    action[:, 3] = [np.pi / 2, -np.pi / 2]
    assert in_form(action, action, "eef14", "delta", 1)[0, 3] == pytest.approx(np.pi)


def test_absolute_actions_are_untouched() -> None:
    state, action = episode(5)
    assert in_form(state, action, "eef14", "absolute", 54) is action


@pytest.mark.parametrize("form", ["absolute", "delta", "relative"])
def test_a_part_that_stands_still_gets_a_floored_deviation(form: str) -> None:
    """Else sensor noise of an unused arm becomes many sigmas, and the network fits it."""
    found = normalisation(of_rows(np.zeros((9, 16))), "joint", form)  # type: ignore[arg-type]
    grippers = gripper_dims("joint", 7)
    assert [found.std[d] for d in grippers] == [GRIPPER_FLOOR] * 2
    assert {s for d, s in enumerate(found.std) if d not in grippers} == {FLOORS[form]}  # type: ignore[index]
