"""Records one episode: the expert acts, frames go straight into the encoders, numbers into the raw layout.

Frame t holds the state and the images before tick t, and the action that the expert then commanded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from components.robots.env import Env, State
from components.robots.experts import Step, expert
from components.robots.raw_layout import (
    EMPTY,
    Actions,
    ActionSpan,
    CameraTrack,
    EpisodeData,
    EpisodeFiles,
    EpisodeLabels,
    States,
    write_episode,
)
from components.robots.video import VideoWriter, write_depth

CLOCK_START_NS = 1_750_000_000 * 10**9
EPISODE_SPACING_NS = 600 * 10**9
"""Clock time between the starts of two episodes of a drop. The simulated robot's clock is not this machine's."""


@dataclass(frozen=True)
class EpisodePlan:
    """What one episode is to be."""

    number: int
    """its place in the drop, from 0"""
    task: str
    level: int
    task_id: int
    episode_id: int
    seeds: tuple[int, ...]
    """scenes to try, in this order"""
    noise: float
    """standard deviation (m) of the disturbance of executed commands"""


@dataclass
class _Log:
    """The numbers of an episode as they come; a few hundred bytes a frame."""

    states: list[State] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    ends: list[tuple[Any, Any]] = field(default_factory=list)
    poses: list[Any] = field(default_factory=list)


def record_episode(
    env: Env, seed: int, plan: EpisodePlan, folder: Path, cameras: Sequence[str], depth: bool = False
) -> EpisodeData | None:
    """Let the expert do the scene of `seed`, and write it in the raw layout below `folder`; all but `task_info`.

    None if the expert did not succeed within the task's time; `folder` then holds rubbish.
    """
    sizes = {c.name: (c.width, c.height) for c in env.embodiment.cameras if c.name in cameras}
    files = EpisodeFiles(folder, plan.task_id, plan.episode_id)
    state, log, succeeded = env.reset(seed), _Log(), False
    fps = env.embodiment.fps
    with ExitStack() as stack:
        writers = {c: stack.enter_context(VideoWriter(files.video(c), *sizes[c], fps, "rgba")) for c in cameras}
        for tick, step in enumerate(expert(env, plan.noise)):
            for camera, writer in writers.items():
                writer.write(env.rgba(camera, *sizes[camera]))
            if depth:
                image = env.render("head_color", *sizes["head_color"], depth=True)
                write_depth(files.depth(tick), cast(NDArray[np.uint16], image))
            log.poses.append(env.cameras_to_base(cameras))
            log.states.append(state)
            log.steps.append(step)
            log.ends.append(env.command_end(step.command))
            state = env.step(step.executed)
            succeeded = succeeded or (env.success and tick < env.max_steps)
    if not succeeded:
        return None
    poses = np.stack(log.poses)
    tracks = tuple(
        CameraTrack(c, *sizes[c], intrinsic=env.intrinsics(c, *sizes[c]), extrinsics=poses[:, i])
        for i, c in enumerate(cameras)
    )
    frames = len(log.states)
    period = np.rint(np.arange(frames) * (1e9 / fps)).astype(np.int64)
    data = EpisodeData(
        labels=EpisodeLabels(
            plan.task_id, plan.episode_id, env.instruction, _scene_text(env), tuple(_spans(log.steps))
        ),
        timestamps=CLOCK_START_NS + plan.number * EPISODE_SPACING_NS + period,
        states=_states(env, log.states), actions=_actions(env, log), cameras=tracks, fps=fps,
    )  # fmt: skip
    write_episode(folder, data)
    return data


def _states(env: Env, states: Sequence[State]) -> States:
    has_head = env.shape.head_waist
    return States(
        effector_position=np.stack([s.grippers for s in states]),
        end_position=np.stack([s.end_position for s in states]),
        end_orientation=np.stack([s.end_orientation for s in states]),
        joint_position=np.stack([s.joints for s in states]),
        head_position=np.stack([s.head for s in states]) if has_head else EMPTY,
        waist_position=np.stack([s.waist for s in states]) if has_head else EMPTY,
    )


def _actions(env: Env, log: _Log) -> Actions:
    """What the expert commanded, at every frame. The base stands still and is never commanded: it has no index."""
    frames = len(log.steps)
    every = np.arange(frames, dtype=np.int64)
    arms = np.stack([step.command for step in log.steps]).reshape(frames, 2, -1)
    has_head = env.shape.head_waist
    head: dict[str, Any] = {}
    if has_head:  # held at their set points, which the controller sends with every tick
        head = {
            "head_position": np.tile(env.head_command, (frames, 1)), "head_index": every,
            "waist_position": np.tile(env.waist_command, (frames, 1)), "waist_index": every,
            "robot_velocity": np.zeros((frames, 2)),
        }  # fmt: skip
    return Actions(
        effector_position=arms[:, :, -1],
        end_position=np.stack([position for position, _ in log.ends]),
        end_orientation=np.stack([orientation for _, orientation in log.ends]),
        joint_position=arms[:, :, :-1].reshape(frames, -1),
        effector_index=every, end_index=every, joint_index=every,
        **head,
    )  # fmt: skip


def _spans(steps: Iterable[Step]) -> Iterator[ActionSpan]:
    """Runs of equal labels as half-open spans that tile the episode."""
    start, last, tick = 0, None, 0
    for tick, step in enumerate(steps):
        if last is not None and (step.label, step.skill) != (last.label, last.skill):
            yield ActionSpan(start, tick, last.label, last.skill)
            start = tick
        last = step
    if last is not None:
        yield ActionSpan(start, tick + 1, last.label, last.skill)


def _scene_text(env: Env) -> str:
    """What lies before the robot, as `init_scene_text` says it."""
    robot = env.embodiment.name.replace("_", " ")
    return f"The {robot} stands at a table, in the scene of the task {env.task.name.replace('_', ' ')!r}."
