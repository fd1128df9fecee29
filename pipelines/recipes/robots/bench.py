"""`bench`: what two CPU cores can learn in up to two hours; two tasks, and success against training minutes."""

from __future__ import annotations

from components.agibot.config import IntakeConfig
from components.ge_base.config import ClipConfig
from components.release.config import CheckConfig, GateConfig
from components.robots.config import RecordConfig, TaskPlan
from components.training.config import TrainConfig
from pipelines.recipes.robots import cpu
from pipelines.recipes.robots.types import ActionPhase, Evaluation, RobotRecipe, VideoPhase

_TASKS = (("press", 1), ("push", 1))


def bench() -> RobotRecipe:
    """`tiny` with two tasks, twice the episodes of each, and six times the steps on actions."""
    return RobotRecipe(
        name="bench",
        record=RecordConfig(
            name="bench", tasks=tuple(TaskPlan(task=task, level=level) for task, level in _TASKS), episodes=300
        ),
        intake=IntakeConfig(name="bench"),
        network=cpu.network(layers=2, heads=2, head_dim=48),
        frames_cameras=cpu.VIEWS,
        space="eef14",
        form="absolute",
        stage1=VideoPhase(clip=ClipConfig(frames=57), train=_train(steps=600)),
        stage2=VideoPhase(clip=cpu.SLOW_CLIP, train=_train(steps=800)),
        pretrain=ActionPhase(train=_train(steps=1000), draws=2),
        adapt=VideoPhase(clip=cpu.SLOW_CLIP, train=_train(steps=300)),
        specialize=ActionPhase(train=_train(steps=9000, snapshots=4), draws=2),
        from_scratch=ActionPhase(train=_train(steps=9000), draws=2),
        evaluation=Evaluation(tasks=_TASKS, episodes=100, videos=4, curve_episodes=30),
        gate=GateConfig(policy="ge-act", min_success=0.5, tasks_needed=2),
        check=CheckConfig(policy="ge-act"),
        estimates=_ESTIMATES,
    )


def _train(steps: int, snapshots: int = 0) -> TrainConfig:
    return cpu.train(
        steps, learning_rate=1e-3, warmup_steps=100, ema=0.995, checkpoint_seconds=120.0, log_every=50,
        snapshots=snapshots,
    )  # fmt: skip


_ESTIMATES = {
    "robots.record": 520.0,
    "agibot.intake": 150.0,
    "ge_base.frames": 220.0,
    "ge_base.codec": 40.0,
    "ge_base.stage1": 720.0,
    "ge_base.stage2": 380.0,
    "ge_act.pretrain": 350.0,
    "ge_act.adapt": 140.0,
    "ge_act.specialize": 2500.0,
    "ge_act.from_scratch": 2500.0,
    "ge_act.evaluate": 240.0,
    "release.gate": 20.0,
    "release.publish": 5.0,
    "release.check": 40.0,
    "release.candidate": 3.0,
    "retrain.adopt": 5.0,
    "retrain.take-in": 60.0,
    "retrain.decide": 2.0,
    "retrain.base": 2.0,
    "retrain.notify": 2.0,
}
"""Seconds on two cores, projected from those of `tiny`, until a run has measured them here."""
