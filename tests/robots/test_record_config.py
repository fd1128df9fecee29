"""The recorder's configuration: contradictions are refused before anything starts, naming the field and the mend."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import ValidationError

from components.robots.config import HELD_OUT_SEEDS, TASK_NAMES, RecordConfig, TaskPlan, task_id
from components.robots.record import plan_drop

PRESS = {"task": "press"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"embodiment": "hal9000"}, "unknown embodiment 'hal9000'; known: agi"),
        ({"tasks": [{"task": "juggle"}]}, "tasks names 'juggle'.*known: press"),
        ({"tasks": [{"task": "press", "level": 4}]}, "level"),
        ({"tasks": [PRESS, PRESS]}, "'press' at level 1 twice"),
        ({"tasks": []}, "no episode at all"),
        ({"episodes": 0}, "no episode at all"),
        ({"episodes": 100_001}, "more than a drop holds"),
        ({"cameras": ["rear_view"]}, "cameras names 'rear_view'; agibot_g1 has head_color"),
        ({"cameras": ["head_color", "head_color"]}, "one camera twice"),
        ({"cameras": ["hand_left_color"], "depth": True}, "lacks head_color"),
        ({"embodiment": "dual_franka", "fisheyes": True}, "has no fisheye camera"),
        ({"noise_share": 0.5, "noise_m": 0.0}, "raise noise_m"),
        ({"last_seed": HELD_OUT_SEEDS}, "evaluation keeps 1000000 and above"),
        ({"first_seed": 100, "last_seed": 110}, "widen that range"),
        ({"camras": ["head_color"]}, "camras"),
    ],
)
def test_contradictions_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        RecordConfig.model_validate(fields)


def test_task_names_are_those_of_the_simulation() -> None:
    """A task that the simulation has but the configuration refuses, or the other way round."""
    from components.robots.tasks.registry import TASKS

    assert set(TASK_NAMES) == set(TASKS)


def test_task_ids_are_9001_and_up_and_differ() -> None:
    ids = [task_id(task, level) for task in TASK_NAMES for level in (1, 2, 3)]
    assert ids == list(range(9001, 9001 + len(ids)))


def test_plan_gives_each_episode_its_own_scenes_and_never_a_held_out_one() -> None:
    """Two episodes of one scene, or a recorded evaluation scene, would flatter every policy."""
    tasks = (TaskPlan(task="press", episodes=7), TaskPlan(task="wipe", level=2), TaskPlan(task="push", episodes=0))
    config = RecordConfig(tasks=tasks, episodes=20, noise_share=0.25)
    for seed in range(40):
        plans = plan_drop(config, seed)
        seeds = [s for plan in plans for s in plan.seeds]
        assert len(plans) == 27
        assert len(set(seeds)) == len(seeds) == 27 * config.attempts
        assert 0 <= min(seeds) <= max(seeds) < HELD_OUT_SEEDS
        assert len({plan.episode_id for plan in plans}) == 27
        assert sum(plan.noise > 0 for plan in plans if plan.task == "wipe") == 5
    assert plan_drop(config, 1) == plan_drop(config, 1)
    assert plan_drop(config, 1)[0].seeds != plan_drop(config, 2)[0].seeds


def test_fisheyes_are_added_to_the_cameras() -> None:
    cameras = RecordConfig(fisheyes=True).all_cameras
    assert cameras[:3] == ("head_color", "hand_left_color", "hand_right_color")
    assert "head_center_fisheye_color" in cameras[3:]


def test_the_stage_is_cheap_to_import() -> None:
    """A cached stage must return in about a second: it may not load MuJoCo, PyAV or HDF5 to find that out."""
    code = (
        "import sys, components.robots.stages, components.robots.config; "
        "print(sorted({'mujoco', 'av', 'h5py', 'numpy', 'torch', 'PIL'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.strip() == "[]"
