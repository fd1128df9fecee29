"""The simulation as policies and the recorder use it: equal bits by seed, commands as a controller takes them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from components.robots.env import Env, State
from components.robots.experts import expert
from components.robots.kinematics import matrix_to_euler, xyzw_to_matrix
from components.robots.shapes.registry import SHAPES
from components.robots.tasks.base import raised
from components.store.errors import ConfigurationError

from .conftest import Make

NAMES = sorted(SHAPES)
Array = NDArray[np.float64]


def bits(state: State) -> bytes:
    return b"".join(getattr(state, name).tobytes() for name in State.__dataclass_fields__)


def run(env: Env, seed: int, ticks: int = 40, noise: float = 0.012) -> list[bytes]:
    """The states of the first ticks of an episode that the disturbed expert plays."""
    states = [bits(env.reset(seed))]
    for _, step in zip(range(ticks), expert(env, noise), strict=False):
        states.append(bits(env.step(step.executed)))
    return states


def move_right(env: Env, point: Array, ticks: int) -> None:
    """Move the right tool in a straight line to a point of the table frame, as a policy with `eef14` actions would."""
    start = env.command_to_eef(env.command)
    down = xyzw_to_matrix(env.state.end_orientation[1])[:, 2]
    end = start.copy()
    end[7:10] = env.to_base(point) - env.embodiment.tool_offset * down
    for tick in range(1, ticks + 1):
        env.step(env.eef_to_command(start + (end - start) * tick / ticks))


# Seeds


@pytest.mark.parametrize("task", ["press", "push", "pick_place", "wipe", "handover"])
def test_a_seed_gives_the_same_bits_whatever_came_before(task: str) -> None:
    """Resumed recordings and repeated evaluations rely on it; a leftover of the last episode would break both."""
    fresh, used = Env("agilex_cobot", task, 3), Env("agilex_cobot", task, 3)
    run(used, 1, ticks=120)
    assert run(used, 7) == run(fresh, 7)
    assert used.instruction == fresh.instruction
    for camera in ("head_color", "hand_right_color"):
        assert np.array_equal(used.render(camera, 128, 96), fresh.render(camera, 128, 96))
    fresh.close()
    used.close()


def test_simulations_of_one_process_keep_their_images_apart(make: Make) -> None:
    """They share a GL context: one must not read the pixels that another has drawn."""
    first, second = make("agibot_g1", "press", 1), make("agibot_g1", "push", 1)
    first.reset(0)
    second.reset(0)
    alone = first.render("head_color", 128, 96)
    other = second.render("head_color", 128, 96)
    assert np.array_equal(first.render("head_color", 128, 96), alone)
    assert np.array_equal(second.render("head_color", 128, 96), other)
    assert not np.array_equal(alone, other)


def test_videos_show_what_render_shows(make: Make) -> None:
    env = make("dual_franka", "press", 1)
    env.reset(5)
    for camera in env.cameras:
        assert np.array_equal(env.rgba(camera, 128, 96)[:, :, :3], env.render(camera, 128, 96))


def test_seeds_differ(make: Make) -> None:
    env = make("agibot_g1", "press", 3)
    states, instructions = set(), set()
    for seed in range(12):
        states.add(bits(env.reset(seed)))
        instructions.add(env.instruction)
    assert len(states) == 12
    assert len(instructions) > 2


# Commands


def test_a_jump_is_spread_over_what_the_velocity_limits_allow(make: Make) -> None:
    env = make("dual_franka", "push", 1)
    env.reset(0)
    before = env.command.reshape(2, -1)
    env.step((before + np.array([1.0] * 7 + [0.0])).ravel())
    moved = env.command.reshape(2, -1) - before
    limits = np.array(env.embodiment.arms.velocity).reshape(2, -1) / 30
    assert np.allclose(moved[:, :-1], limits)


def test_commands_stop_at_the_joint_limits_and_the_gripper_range(make: Make) -> None:
    env = make("agilex_cobot", "push", 1)
    env.reset(0)
    for _ in range(60):
        env.step(np.full(14, 9.0))
    arms = env.command.reshape(2, -1)
    assert np.allclose(arms[:, :-1].ravel(), env.embodiment.arms.upper)
    assert np.array_equal(arms[:, -1], [1.0, 1.0])
    env.step(np.full(14, -9.0))
    assert np.array_equal(env.command[[6, 13]], [0.0, 0.0])


@pytest.mark.parametrize("command", [np.zeros(15), np.zeros((2, 8)), np.full(16, np.nan), np.full(16, np.inf)])
def test_a_command_that_is_none_is_refused(make: Make, command: Array) -> None:
    env = make("agibot_g1", "press", 1)
    env.reset(0)
    ticks, before = env.ticks, env.command
    with pytest.raises(ValueError, match="16 finite numbers"):
        env.step(command)
    with pytest.raises(ValueError, match="14 finite numbers"):
        env.eef_to_command(np.full(14, np.nan))
    assert env.ticks == ticks
    assert np.array_equal(env.command, before)


@pytest.mark.parametrize("name", NAMES)
def test_the_arms_follow_their_commands(make: Make, name: str) -> None:
    """A still command is reached to a millimetre: gravity and loads do not bend the arms."""
    env = make(name, "push", 1)
    state = env.reset(3)
    for _ in range(15):
        state = env.step(env.command)
    position, _ = env.command_end(env.command)
    assert np.abs(state.joint() - env.command).max() < 5e-3
    assert np.abs(state.end_position - position).max() < 1e-3


# Forms of states and actions


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
@settings(max_examples=8, deadline=None, derandomize=True)
def test_eef14_and_joint_commands_are_two_forms_of_one_thing(make: Make, name: str, data: st.DataObject) -> None:
    """Policies act in either space, and recordings hold both."""
    env = make(name, "pick_place", 1)
    env.reset(data.draw(st.integers(0, 50)))
    eef = env.command_to_eef(env.command)
    change = st.lists(st.floats(-0.02, 0.02), min_size=14, max_size=14)
    wanted = eef + np.array(data.draw(change))
    wanted[[6, 13]] = data.draw(st.floats(0, 1)), data.draw(st.floats(0, 1))
    command = env.eef_to_command(wanted)
    assert np.allclose(env.command_to_eef(command), wanted, atol=2e-4)
    assert np.allclose(env.command_to_eef(env.eef_to_command(env.command_to_eef(command))), wanted, atol=4e-4)


@pytest.mark.parametrize("name", NAMES)
def test_state_forms_agree(make: Make, name: str) -> None:
    env = make(name, "push", 1)
    state, n = env.reset(2), env.embodiment.joints_per_arm
    joint, eef = state.joint().reshape(2, n + 1), state.eef14().reshape(2, 7)
    assert np.array_equal(joint[:, :-1].ravel(), state.joints)
    assert np.array_equal(joint[:, -1], eef[:, -1])
    assert np.array_equal(eef[:, :3], state.end_position)
    for side in range(2):
        assert np.allclose(eef[side, 3:6], matrix_to_euler(xyzw_to_matrix(state.end_orientation[side])))
    by_joints = env.command_to_eef(state.joint()).reshape(2, 7)
    assert np.allclose(by_joints[:, :6], eef[:, :6], atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_grippers_are_told_in_the_embodiments_unit(make: Make, name: str) -> None:
    env = make(name, "pick_place", 1)
    state, opened, shut = env.reset(0), env.embodiment.gripper_open, env.embodiment.gripper_closed
    assert np.allclose(state.grippers, opened, atol=0.02 * abs(shut - opened))
    command = env.command
    command[[env.embodiment.joints_per_arm, -1]] = 1.0
    for _ in range(20):
        state = env.step(command)
    assert np.allclose(state.closed, 1.0, atol=0.02)
    assert np.allclose(state.grippers, shut, atol=0.02 * abs(shut - opened))


# Success


def test_success_stays_and_ends_with_the_episode(make: Make) -> None:
    """Evaluation asks once, at the end; a button that comes up again must not undo it."""
    env = make("agibot_g1", "press", 1)
    env.reset(0)
    assert not env.success
    for step in expert(env):
        env.step(step.executed)
    assert env.success
    up = env.eef_to_command(env.command_to_eef(env.command) + np.eye(14)[9] * 0.1)
    for _ in range(10):
        env.step(up)
    assert not env.task.done(), "the button is up again"
    assert env.success
    env.reset(0)
    assert not env.success


def test_standing_still_is_no_success(make: Make) -> None:
    for task in ("press", "push", "pick_place", "wipe", "handover"):
        env = make("agibot_g1", task, 1)
        env.reset(0)
        for _ in range(20):
            env.step(env.command)
        assert not env.success, task


def test_the_wrong_button_fails_the_episode(make: Make) -> None:
    """A policy that presses every button in turn has not understood the instruction."""
    env = make("agibot_g1", "press", 2)
    env.reset(0)
    wrong = env.task.position("base1")
    for height, ticks in ((0.10, 45), (0.022, 20), (0.022, 5), (0.10, 15)):
        move_right(env, raised(wrong, height), ticks)
    assert env.task.failed
    for step in expert(env):
        env.step(step.executed)
    assert env.task.failed
    assert not env.success
    env.reset(0)
    assert not env.task.failed


# Refusals


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("hal9000", "press", 1), "unknown embodiment 'hal9000'; the simulation has: agibot_g1"),
        (("agibot_g1", "juggle", 1), "unknown task 'juggle'; known: press"),
        (("agibot_g1", "press", 4), "levels 1, 2 and 3, not 4"),
    ],
)
def test_what_is_unknown_is_named(arguments: tuple[str, str, int], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Env(*arguments)


def test_unknown_cameras_and_sizes_are_named(make: Make) -> None:
    env = make("dual_franka", "push", 1)
    env.reset(0)
    with pytest.raises(ConfigurationError, match=r"no camera 'rear'; it has: head_color"):
        env.intrinsics("rear", 640, 480)
    with pytest.raises(ConfigurationError, match="4096x96"):
        env.render("head_color", 4096, 96)
