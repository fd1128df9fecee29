"""Every scene of every robot: still, in reach, in view, and of the colours that its instruction names."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from components.robots.config import TASK_NAMES
from components.robots.env import Env
from components.robots.experts import expert
from components.robots.kinematics import Pose, tool_rotation, xyzw_to_matrix
from components.robots.robot import SIDES
from components.robots.scene import PALETTE
from components.robots.shapes.registry import SHAPES
from components.robots.tasks.base import pads
from components.robots.tasks.wipe import CELLS

from .conftest import Make

NAMES = sorted(SHAPES)
EVERY = [(name, task, level) for name in NAMES for task in TASK_NAMES for level in (1, 2, 3)]
HARDEST = [(name, task) for name in NAMES for task in TASK_NAMES]
SEEDS = range(4)

NAMED: dict[str, list[list[str]]] = {
    "press": [["cap0"]],
    "push": [["block0"], ["mark"]],
    "pick_place": [["block0"], ["plate0"]],
    "wipe": [[f"cell{i}" for i in range(CELLS)]],
    "handover": [["stick0"]],
}
"""The geoms of each colour that a task's instruction names, in its order."""


def named(env: Env) -> Iterator[tuple[str, list[int]]]:
    """(colour, geoms) of everything that the instruction names."""
    colors = [word for word in env.instruction.split() if word in PALETTE]
    for color, geoms in zip(colors, NAMED[env.task.name], strict=True):
        yield color, [env.model.geom(geom).id for geom in geoms]


@pytest.mark.parametrize(("name", "task", "level"), EVERY)
def test_a_scene_starts_at_rest(make: Make, name: str, task: str, level: int) -> None:
    """A block that falls or drifts at the start gives the first frames an action that nobody commanded."""
    env = make(name, task, level)
    assert env.max_steps > 0
    for seed in SEEDS:
        env.reset(seed)
        before = env.data.geom_xpos.copy()
        for _ in range(10):
            env.step(env.command)
        assert np.abs(env.data.geom_xpos - before).max() < 2e-3, seed
        assert np.abs(env.data.qvel).max() < 0.05, seed


@pytest.mark.parametrize(("name", "task", "level"), EVERY)
def test_all_that_the_expert_reaches_for_is_in_reach(make: Make, name: str, task: str, level: int) -> None:
    env = make(name, task, level)
    for seed in SEEDS:
        env.reset(seed)
        joints = np.delete(env.command, [env.embodiment.joints_per_arm, -1])
        poses = list(env.kinematics.forward(joints))
        for phase in env.task.phases():
            for side, reach in phase.moves.items():
                pose = Pose(env.to_base(reach.position), tool_rotation(reach.yaw, reach.tilt))
                poses[SIDES.index(side)] = pose.along_z(-env.embodiment.tool_offset)
            joints = env.kinematics.inverse((poses[0], poses[1]), joints, iterations=100)
            for wanted, found in zip(poses, env.kinematics.forward(joints), strict=True):
                assert np.abs(wanted.position - found.position).max() < 1e-3, (seed, phase.label)
                assert np.abs(wanted.rotation - found.rotation).max() < 1e-2, (seed, phase.label)


@pytest.mark.parametrize(("name", "task"), HARDEST)
def test_colours_are_the_instructions_and_the_head_camera_sees_them(make: Make, name: str, task: str) -> None:
    """A language-conditioned policy can learn nothing from a name that the image contradicts."""
    env = make(name, task, 3)
    palette = np.array(list(PALETTE.values()))
    for seed in SEEDS:
        env.reset(seed)
        geoms, image = env.segmentation("head_color", 640, 480), env.render("head_color", 640, 480)
        every = set(range(env.model.ngeom))
        for color, own in named(env):
            assert np.allclose(env.model.geom_rgba[own], (*PALETTE[color], 1.0))
            others = env.model.geom_rgba[sorted(every - set(own))]
            assert not (others[:, :3] == np.float32(PALETTE[color])).all(axis=1).any(), f"two things are {color}"
            seen = np.isin(geoms, own)
            assert seen.sum() > 100, f"{seed}: the {color} thing is out of the head camera's view"
            mean = image[seen].mean(axis=0)
            likeness = palette @ mean / np.linalg.norm(palette, axis=1)
            assert list(PALETTE)[int(likeness.argmax())] == color, seed


@pytest.mark.parametrize(("name", "task"), HARDEST)
def test_no_camera_sees_beyond_the_room(make: Make, name: str, task: str) -> None:
    """Holes in the floor are black in the video, and stand where no robot's camera would see them."""
    env = make(name, task, 3)
    env.reset(0)
    for tick, step in enumerate(expert(env)):
        if tick % 30 == 0:
            for camera in env.cameras[:3]:
                assert (env.segmentation(camera, 160, 120) >= 0).all(), (camera, tick)
        env.step(step.executed)


@pytest.mark.parametrize("name", NAMES)
def test_the_tool_point_projects_onto_the_gripper(make: Make, name: str) -> None:
    """Within 2 px, in the head's and in each hand's view, by intrinsics and camera poses alone."""
    env = make(name, "press", 2)
    state, checked = env.reset(1), 0
    for tick, step in enumerate(expert(env)):
        for index, side in enumerate(SIDES) if tick % 25 == 5 else ():
            flange = Pose(state.end_position[index], xyzw_to_matrix(state.end_orientation[index]))
            tool = flange.along_z(env.embodiment.tool_offset).position
            bodies = [env.model.body(f"{side}_{part}").id for part in ("finger", "follower", "flange")]
            fingers = [env.model.geom(pad).id for pad in pads(side)]
            gripper = np.flatnonzero(np.isin(env.model.geom_bodyid, bodies))
            for camera in ("head_color", f"hand_{side}_color"):
                seen = env.segmentation(camera, 640, 480)
                rows, columns = np.nonzero(np.isin(seen, gripper))
                to_base = env.camera_to_base(camera)
                u, v, w = env.intrinsics(camera, 640, 480) @ to_base[:3, :3].T @ (tool - to_base[:3, 3])
                if np.isin(seen, fingers).sum() > 60:  # in the head's view, an arm may hide its hand
                    assert np.hypot(columns - u / w, rows - v / w).min() <= 2.0, (tick, camera)
                    checked += 1
        state = env.step(step.executed)
    assert checked >= 9
