"""Closed-loop evaluation: an arm acts in simulation on held-out seeds, and physics judges."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from components.envisioner.memory import SessionMemory
from components.ge_act.config import EvaluateConfig
from components.ge_base.frames import FrameTable, shrink
from components.robots.env import Env, State
from components.robots.experts import expert
from components.robots.video import VideoWriter
from data_contracts.evaluation import EpisodeOutcome, EvaluationResult

EPISODE_DEADLINE_SECONDS = 600.0
VIDEO_SIZE = (320, 240)
CAMERA_SIZE = (640, 480)


@dataclass(frozen=True)
class ArmFiles:
    """Where an arm's parts lie on this machine. Only the parts that the arm needs are set."""

    model: Path | None = None
    weights: str = "model.safetensors"
    """which of the model's weights: the last ones, or a snapshot"""
    codec: Path | None = None
    frames: Path | None = None


Commands = Iterator[NDArray[np.float64]]
Controller = Callable[[Env, State, int], Commands]
"""(env, first state, seed) -> joint commands, one per control tick; it may read the env between ticks."""


def evaluate(
    config: EvaluateConfig, files: ArmFiles, seed: int, out: Path, advance: Callable[[int, bool], None]
) -> EvaluationResult:
    """Run all episodes of one arm and write `result.json` and the first episodes' videos into `out`.

    With `curve_episodes` and a model that kept snapshots, also `success_curve.jsonl`: each one's success by the minutes
    it was trained.
    """
    result = _run(config, files, seed, out, advance)
    (out / "result.json").write_text(result.model_dump_json())
    lines = []
    for name in snapshots(config, files):
        few = config.model_copy(update={"episodes": config.curve_episodes, "videos": 0})
        found = _run(few, replace(files, weights=name), seed, out, advance)
        lines.append((_minutes(files, name), found.successes, len(found.episodes)))
    if lines:
        lines.append((_minutes(files, ""), result.successes, len(result.episodes)))
        entries = [{"step": i, "minutes": m, "success": w / n, "episodes": n} for i, (m, w, n) in enumerate(lines)]
        (out / "success_curve.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return result


def snapshots(config: EvaluateConfig, files: ArmFiles) -> list[str]:
    """The snapshots to evaluate, oldest first, by their path below the model."""
    if not config.curve_episodes or files.model is None:
        return []
    return sorted(p.relative_to(files.model).as_posix() for p in files.model.glob("snapshots/step-*.safetensors"))


def _minutes(files: ArmFiles, snapshot: str) -> float:
    """Minutes of training until a snapshot (or, for '', until the end), from the training's own log."""
    assert files.model is not None
    log = [json.loads(line) for line in (files.model / "losses.jsonl").read_text().splitlines()]
    step = int(Path(snapshot).stem.removeprefix("step-")) if snapshot else log[-1]["step"]
    seconds = next(line["seconds"] for line in log if line["step"] >= step)
    return round(seconds / 60, 3)


def _run(
    config: EvaluateConfig, files: ArmFiles, seed: int, out: Path, advance: Callable[[int, bool], None]
) -> EvaluationResult:
    """Episodes spread over processes; each is a function of its own seed, so the result does not depend on how many."""
    jobs = [
        (task, level, config.seed_base + seed * 10_000 + i, i < config.videos)
        for task, level in config.tasks
        for i in range(config.episodes)
    ]
    outcomes: dict[int, EpisodeOutcome] = {}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        config.processes, mp_context=context, initializer=_start, initargs=(config, files, out)
    ) as pool:
        futures = {pool.submit(_episode, *job): index for index, job in enumerate(jobs)}
        for future in as_completed(futures, timeout=EPISODE_DEADLINE_SECONDS * len(jobs)):
            outcomes[futures[future]] = future.result()
            advance(1, future.result().success)
    return EvaluationResult(
        arm=config.arm, embodiment=config.embodiment, episodes=tuple(outcomes[i] for i in range(len(jobs)))
    )


_worker: tuple[EvaluateConfig, Controller, Path] | None = None


def _start(config: EvaluateConfig, files: ArmFiles, out: Path) -> None:
    import torch

    torch.set_num_threads(1)
    global _worker
    _worker = (config, controller(config, files), out)


def _episode(task: str, level: int, seed: int, keep_video: bool) -> EpisodeOutcome:
    assert _worker is not None
    config, arm, out = _worker
    env = Env(config.embodiment, task, level=level)
    state = env.reset(seed)
    video = f"episodes/{task}-{level}-{seed}.mp4" if keep_video else ""
    frames: list[NDArray[np.uint8]] = []
    steps = 0
    for steps, command in enumerate(arm(env, state, seed), start=1):
        env.step(command)
        if keep_video and steps % 2 == 0:
            frames.append(env.render("head_color", *VIDEO_SIZE))
        if env.success or steps >= env.max_steps:
            break
    if keep_video:
        (out / "episodes").mkdir(parents=True, exist_ok=True)
        with VideoWriter(out / video, *VIDEO_SIZE, fps=15) as writer:
            for frame in frames:
                writer.write(frame)
    return EpisodeOutcome(task=task, level=level, seed=seed, success=bool(env.success), steps=steps, video=video)


def controller(config: EvaluateConfig, files: ArmFiles) -> Controller:
    """The arm's controller."""
    if config.arm == "expert":
        return lambda env, state, seed: (step.command for step in expert(env))
    if config.arm == "mean-action":
        assert files.frames is not None
        trajectory = mean_trajectory(FrameTable.open(files.frames))
        return lambda env, state, seed: iter(_held(trajectory, env.max_steps))
    assert files.model is not None
    assert files.codec is not None
    return _policy_controller(config, files.model, files.weights, files.codec)


def mean_trajectory(table: FrameTable) -> NDArray[np.float64]:
    """The recorded joint commands averaged tick by tick over all training episodes, (longest, D).

    The best that a policy can do which never looks: what GE-Act must clearly beat.
    """
    actions = table.columns["action_joint"]
    episodes = [actions[e.start : e.stop] for e in table.episodes(held_out=False)]
    longest = max(map(len, episodes))
    padded = np.stack([np.concatenate([e, np.repeat(e[-1:], longest - len(e), axis=0)]) for e in episodes])
    return padded.mean(axis=0, dtype=np.float64)


def _held(trajectory: NDArray[np.float64], steps: int) -> NDArray[np.float64]:
    return trajectory[np.minimum(np.arange(steps), len(trajectory) - 1)]


def _policy_controller(config: EvaluateConfig, model: Path, weights: str, codec: Path) -> Controller:
    from components.envisioner.config import NetworkConfig
    from components.envisioner.policy import Policy
    from data_contracts.action import ActionSchema

    network = NetworkConfig.model_validate_json((model / "network.json").read_text())
    schema = ActionSchema.model_validate_json((model / "action.json").read_text())
    policy = Policy.build(network, schema, model / weights, codec, config.sampling_steps)

    def act(env: Env, state: State, seed: int) -> Commands:
        memory = SessionMemory(network.video.memory_frames, config.memory_stride_steps)
        executed = 0
        while True:
            views = np.stack(
                [shrink(env.rgba(c, *CAMERA_SIZE), network.image_height, network.image_width) for c in config.cameras]
            )
            vector = env.state.eef14() if schema.space == "eef14" else env.state.joint()
            chunk = policy.act(memory.observe(views, executed), vector, env.instruction, seed=seed + executed)
            executed = min(config.execute_steps, len(chunk))
            for action in chunk[:executed]:
                yield env.eef_to_command(action) if schema.space == "eef14" else action.astype(np.float64)

    return act
