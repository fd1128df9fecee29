"""The fault corpus is found, and nothing is found in what is sound.

Faults are injected alone and in pairs, at several strengths, into episodes of a drop of their own. `SEED` makes other
cases: ORRERY_FAULT_SEED=7 pytest tests/agibot/test_faults.py. Run with -s to see the confusion table.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from components.agibot.across import compare
from components.agibot.drop import open_drop
from components.agibot.examine import Job, examine
from components.agibot.reading import Settings
from components.agibot.validate import make_settings
from components.robots.config import RecordConfig, TaskPlan
from components.robots.record import record_drop, usable_cores
from data_contracts.catalogue import catalogue
from data_contracts.profile import Profile
from data_contracts.report import Decode

from .broken import BROKEN
from .conftest import RawDrop, RawEpisode
from .corpus import found_in
from .faults import FAULTS, Fault

SEED = int(os.environ.get("ORRERY_FAULT_SEED", "0"))
STRENGTHS = (0.0, 1.0)
TASKS = {"agibot_g1": ("press", "pick_place"), "dual_franka": ("press",), "agilex_cobot": ("push",)}
ROBOTS = tuple(TASKS)
VIEWS = ("head_color", "hand_left_color", "hand_right_color")
ALONG = {
    "kinematics.joint-limit-margin": {"kinematics.flange-residual"},
    "kinematics.velocity-high": {"kinematics.flange-residual", "kinematics.jerk"},
    "kinematics.velocity-impossible": {"kinematics.flange-residual", "kinematics.jerk"},
    "kinematics.jerk": {"kinematics.flange-residual", "kinematics.velocity-high"},
    "kinematics.state-frozen": {"kinematics.flange-residual"},
    "kinematics.idle": {"kinematics.gripper-not-following", "hdf5.action-equals-state"},
    "kinematics.end-step": {
        "kinematics.flange-residual",
        "calibration.end-out-of-view",
        "calibration.hand-still",
    },
    "kinematics.flange-residual": {"calibration.end-out-of-view"},
    "time.jitter": {"time.short-gap", "time.rate"},
    "language.span-gap": {"language.coverage-low"},
    "calibration.pose-jump": {"calibration.end-out-of-view"},
    "video.hands-swapped": {"video.frozen"},
    "video.rate": {"video.pts-irregular"},
    "video.pts-irregular": {"video.rate"},
    "video.resolution": {"video.black"},
    "video.codec": {"video.black"},
    "archive.unreadable": {"inventory.missing-parameters"},
    "archive.truncated": {"inventory.missing-parameters", "calibration.missing"},
    "inventory.missing-task-info": {
        "inventory.missing-observations", "inventory.missing-parameters", "inventory.missing-proprio",
    },
    "inventory.unreadable-task-info": {"inventory.missing-task-info"},
}  # fmt: skip
"""What a fault brings along because it is the same defect seen from another side."""
BETWEEN_KEY_FRAMES = {"video.black", "video.blurred", "video.frozen", "video.hands-swapped"}
"""What sampled decoding may miss: how much of it is found depends on where it lies."""


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RawDrop]:
    """A recorded drop of every robot, one episode of each of its tasks. Not to be changed."""
    folder = tmp_path_factory.mktemp("sound")
    for robot, tasks in TASKS.items():
        plans = tuple(TaskPlan(task=task) for task in tasks)
        config = RecordConfig(name="sound", embodiment=robot, tasks=plans, episodes=1)
        record_drop(config, SEED + 1, folder / robot, folder / f"{robot}-scratch", workers=min(2, usable_cores()))
    return {robot: RawDrop(folder / robot) for robot in ROBOTS}


def settings(robot: str = ROBOTS[0]) -> Settings:
    """Every check, also those that need the arms' geometry and the vocabulary of skills."""
    return make_settings(robot, VIEWS, True, True, "simulation")


def codes(raw: RawEpisode, decode: Decode = "full") -> set[str]:
    """Reasons of errors and warnings that an episode gets."""
    (source,) = open_drop(raw.root).episodes.values()
    found = examine(Job(source, replace(settings(), decode=decode)))
    return {f.code for f in found.findings if f.severity != "info"}


def copy_of(drop: RawDrop, rng: np.random.Generator, folder: Path) -> RawEpisode:
    """A random episode of a drop, alone in a drop of its own."""
    episodes = drop.episodes
    chosen = episodes[int(rng.integers(len(episodes)))]
    return drop.copy(folder, [chosen]).episodes[0]


@pytest.mark.parametrize("decode", ["full", "sampled"])
@pytest.mark.parametrize("robot", ROBOTS)
def test_sound_episodes_get_no_error_and_no_warning(sound: dict[str, RawDrop], robot: str, decode: Decode) -> None:
    asked = replace(settings(robot), decode=decode)
    examined = compare([examine(Job(s, asked)) for s in open_drop(sound[robot].root).episodes.values()], asked)
    assert [f for e in examined for f in e.findings if f.severity != "info"] == []


@pytest.mark.slow
def test_every_fault_is_found_alone(sound: dict[str, RawDrop], tmp_path: Path) -> None:
    """At the slightest strength and at the largest; nothing else is found but what belongs to it.

    Sampled decoding finds the same, but for what lies between its key frames.
    """
    table: dict[str, Counter[str]] = {}
    sampled: dict[str, Counter[str]] = {}
    for number, fault in enumerate(FAULTS):
        for strength in STRENGTHS:
            rng = np.random.default_rng([SEED, number, int(100 * strength)])
            raw = copy_of(sound[ROBOTS[0]], rng, tmp_path / f"{number}-{strength}")
            fault.inject(raw, rng, strength)
            table.setdefault(fault.code, Counter()).update(codes(raw))
            sampled.setdefault(fault.code, Counter()).update(codes(raw, "sampled"))
    print(confusion(table), "sampled decoding", confusion(sampled), sep="\n")
    assert {code: found[code] for code, found in table.items()} == {fault.code: len(STRENGTHS) for fault in FAULTS}
    strangers = {code: set(found) - {code} - ALONG.get(code, set()) for code, found in table.items()}
    assert {code: found for code, found in strangers.items() if found} == {}
    missed = {code for code, found in sampled.items() if found[code] < len(STRENGTHS)}
    assert missed <= BETWEEN_KEY_FRAMES
    assert all(set(found) <= set(table[code]) for code, found in sampled.items()), "nothing that is not there"


@pytest.mark.slow
def test_every_broken_part_is_found_alone(sound: dict[str, RawDrop], tmp_path: Path) -> None:
    """What is absent, can't be read or does not fit, at the slightest strength and at the largest; and nothing else."""
    wrong = []
    shortest = min(sound[ROBOTS[0]].episodes, key=lambda e: e.frames)
    for number, fault in enumerate(BROKEN):
        for strength in {fault.strengths[0], fault.strengths[-1]}:
            raw = sound[ROBOTS[0]].copy(tmp_path / f"{number}-{strength}", [shortest]).episodes[0]
            fault.inject(raw, np.random.default_rng([SEED, number, int(100 * strength)]), strength)
            found = found_in(raw.root, settings())
            if fault.code not in found or found - {fault.code} - ALONG.get(fault.code, set()):
                wrong.append((fault.code, strength, sorted(found)))
    assert wrong == []


@pytest.mark.slow
def test_faults_are_found_in_pairs(sound: dict[str, RawDrop], tmp_path: Path) -> None:
    """One defect must not hide another: each fault with the next one of a shuffled list that touches other parts."""
    rng = np.random.default_rng([SEED, 1000])
    order = [FAULTS[i] for i in rng.permutation(len(FAULTS))]
    missed = []
    for number, pair in enumerate(p for p in pairwise(order) if apart(*p)):
        raw = copy_of(sound[ROBOTS[0]], rng, tmp_path / str(number))
        for fault in pair:
            fault.inject(raw, rng, float(rng.random()))
        found = codes(raw)
        missed += [(fault.code, [f.code for f in pair], sorted(found)) for fault in pair if fault.code not in found]
    assert missed == []


def apart(a: Fault, b: Fault) -> bool:
    """Two faults of one area may undo each other: a joint that is held can't jump."""
    return a.code.partition(".")[0] != b.code.partition(".")[0]


def confusion(table: dict[str, Counter[str]]) -> str:
    """Injected fault by found reason: how many of the cases."""
    lines = [f"{'injected':<34}{'found':>7}  also found"]
    for code, found in table.items():
        others = ", ".join(f"{other} {n}" for other, n in sorted(found.items()) if other != code)
        lines.append(f"{code:<34}{found[code]:>3} of {len(STRENGTHS)}  {others}")
    return "\n".join(lines)


def test_faults_name_catalogued_reasons() -> None:
    assert {fault.code for fault in FAULTS} <= set(catalogue())


def test_a_profile_changes_thresholds_by_robot_and_task() -> None:
    """A team's numbers come before everybody's, the task's before the robot's."""
    profile = Profile.model_validate(
        {
            "name": "ours", "robots": {"agibot_g1": {"thresholds": {"end_step_m": 0.1, "jerk_z": 9}}},
            "tasks": {"327": {"end_step_m": 0.2}},
        }
    )  # fmt: skip
    assert profile.thresholds("agibot_g1", 1).end_step_m == 0.1
    assert profile.thresholds("agibot_g1", 327).end_step_m == 0.2
    assert profile.thresholds("agibot_g1", 327).jerk_z == 9
    assert profile.thresholds("dual_franka", 1).end_step_m == 0.05
    with pytest.raises(ValueError, match=r"robots.agibot_g1.thresholds: end_step: "):
        Profile.model_validate({"robots": {"agibot_g1": {"thresholds": {"end_step": 1}}}})
