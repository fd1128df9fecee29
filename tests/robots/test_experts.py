"""Scripted experts: they succeed, and what they record is what they wanted, not what disturbed them.

Success rates over many scenes are measured by tests/benchmarks/test_experts.py.
"""

from __future__ import annotations

import numpy as np
import pytest

from components.robots.config import TASK_NAMES, RecordConfig
from components.robots.experts import Step, expert
from components.robots.shapes.registry import SHAPES

from .conftest import Make

NOISE = RecordConfig().noise_m
EVERY = [(name, task) for name in sorted(SHAPES) for task in TASK_NAMES]


def play(make: Make, name: str, task: str, level: int, seed: int, noise: float = 0.0) -> tuple[bool, list[Step]]:
    env, steps = make(name, task, level), []
    env.reset(seed)
    for step in expert(env, noise):
        env.step(step.executed)
        steps.append(step)
    return env.success and len(steps) <= env.max_steps, steps


@pytest.mark.parametrize(("name", "task"), EVERY)
def test_experts_succeed(make: Make, name: str, task: str) -> None:
    for seed in (0, 1):
        succeeded, steps = play(make, name, task, 1, seed)
        assert succeeded, seed
        assert all(np.array_equal(step.command, step.executed) for step in steps)


@pytest.mark.parametrize("task", TASK_NAMES)
def test_disturbed_experts_succeed_too(make: Make, task: str) -> None:
    assert play(make, "agibot_g1", task, 1, 0, NOISE)[0]


def test_the_disturbance_is_as_large_as_asked_and_not_recorded(make: Make) -> None:
    """Training on disturbed actions teaches the disturbance; on undisturbed ones, the way back from it."""
    env = make("agibot_g1", "push", 3)
    errors = []
    for seed in range(8):
        _, steps = play(make, "agibot_g1", "push", 3, seed, NOISE)
        clean = play(make, "agibot_g1", "push", 3, seed)[1]
        assert np.allclose(steps[0].command, clean[0].command, atol=1e-3)
        reach = [s for s in steps if s.skill == "Reach"][10:]
        wanted, done = (
            np.stack([env.command_to_eef(c) for c in cs])
            for cs in ([s.command for s in reach], [s.executed for s in reach])
        )
        errors.append((done - wanted)[:, 7:10])
        assert np.abs((done - wanted)[:, :3]).max() < 1e-3, "the left arm does not move, so nothing disturbs it"
    assert 0.3 * NOISE < np.concatenate(errors).std() < 1.2 * NOISE


def test_motions_keep_a_speed_that_cameras_can_follow(make: Make) -> None:
    """And start and end at rest: minimum jerk."""
    env = make("dual_franka", "pick_place", 3)
    _, steps = play(make, "dual_franka", "pick_place", 3, 0)
    tools = np.stack([env.command_to_eef(step.command)[7:10] for step in steps])
    speed = np.linalg.norm(np.diff(tools, axis=0), axis=1) * 30
    assert speed.max() < 0.8
    assert np.abs(np.diff(speed)).max() * 30 < 6.0
