"""What only a drop as a whole can tell: near copies by any route, and texts that vary."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.agibot.copies import POINTS, near_copies, picture_hash, points_of, trajectory_of, warped_distance
from data_contracts.catalogue import thresholds

from .conftest import RawDrop, examine_all

ALLOWED = thresholds()


@dataclass(frozen=True)
class Take:
    """An episode as far as copies are concerned."""

    joints: np.ndarray
    picture: str = "00" * 8
    motion: str = ""

    @property
    def trajectory(self) -> str:
        return trajectory_of(self.joints)


def motion(seed: int, frames: int = 120) -> np.ndarray:
    """A smooth motion of 14 joints."""
    rng = np.random.default_rng(seed)
    time_ = np.linspace(0, 1, frames)[:, None]
    return rng.normal(0, 0.5, 14) + rng.normal(0, 0.6, 14) * np.sin(2 * np.pi * (time_ * rng.uniform(0.3, 1, 14)))


def test_a_take_of_another_length_and_pace_is_a_near_copy() -> None:
    """Trimmed by some frames, slowed in the middle, with a sensor's noise: still the same motion. Others are not."""
    joints = motion(0)
    pace = np.interp(np.linspace(0, 1, 140), [0, 0.4, 0.6, 1], [0, 0.45, 0.55, 1]) * (len(joints) - 1)
    slowed = np.stack([np.interp(pace, np.arange(len(joints)), c) for c in joints.T], axis=1)
    trimmed = joints[1:-1] + np.random.default_rng(1).normal(0, 0.002, (118, 14))
    takes = [Take(joints), Take(motion(2)), Take(slowed), Take(trimmed), Take(joints + 0.05)]
    assert [(i, j) for i, j, _ in near_copies(takes, ALLOWED)] == [(0, 2), (0, 3)]


def test_the_same_motion_in_another_scene_is_no_copy() -> None:
    joints = motion(0)
    assert near_copies([Take(joints), Take(joints, picture="ff" * 8)], ALLOWED) == []


def test_a_warp_has_no_length() -> None:
    a, b = points_of(trajectory_of(motion(0))), points_of(trajectory_of(motion(0, 300)))
    assert warped_distance(a, a) == 0
    assert warped_distance(a, b) < 0.01
    assert warped_distance(a, b) == pytest.approx(warped_distance(b, a))
    assert warped_distance(a, a + 0.3) == pytest.approx(0.3, abs=0.1)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 40), st.integers(0, 1000))
def test_trajectories_keep_their_ends(frames: int, seed: int) -> None:
    """Whatever the length: 64 points of the same joints, to a milliradian."""
    joints = np.random.default_rng(seed).uniform(-3, 3, (frames, 12))
    points = points_of(trajectory_of(joints))
    assert points.shape == (POINTS, 12)
    np.testing.assert_allclose(points[[0, -1]], joints[[0, -1]], atol=6e-4)


def test_a_picture_keeps_its_hash_through_an_encoder_and_differs_from_another() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (12, 16, 3), np.uint8).repeat(10, axis=0).repeat(10, axis=1)
    noisy = np.clip(image + rng.normal(0, 6, image.shape), 0, 255).astype(np.uint8)
    other = np.random.default_rng(1).integers(0, 255, (12, 16, 3), np.uint8).repeat(10, axis=0).repeat(10, axis=1)

    def bits(a: np.ndarray, b: np.ndarray) -> int:
        return (int(picture_hash(a), 16) ^ int(picture_hash(b), 16)).bit_count()

    assert bits(image, noisy) <= 4
    assert bits(image, other) > ALLOWED.near_bits


def test_near_copies_of_a_recorded_episode_are_named(three: RawDrop) -> None:
    """The same recording once more with a sensor's noise: pointed out, and still accepted."""
    original = three.episodes[0]
    copy = three.add_copy(original, original.files.episode_id + 7)
    joints = copy.array("state/joint/position")
    copy.put("state/joint/position", joints + np.random.default_rng(0).normal(0, 3e-4, joints.shape))
    last = examine_all(three.root)[-1]
    assert last.key == copy.key
    near = [f for f in last.findings if f.code == "duplicate.near"]
    assert len(near) == 1
    assert str(original.files.episode_id) in near[0].message
    assert last.verdict == "accepted"


def test_a_task_told_in_several_ways_is_noted_once(three: RawDrop) -> None:
    for number, raw in enumerate(three.episodes):
        raw.edit_entry(lambda e, n=number: e.update(task_name=f"press button {n}"))
    notes = [f for e in examine_all(three.root) for f in e.findings if f.code == "language.text-varies"]
    assert len(notes) == 1
    assert "3 instructions" in notes[0].message
