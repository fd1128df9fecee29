"""`tiny`: the whole loop on two CPU cores within twenty minutes, the first run included."""

from __future__ import annotations

from components.agibot.config import IntakeConfig
from components.ge_base.config import ClipConfig
from components.release.config import CheckConfig, GateConfig
from components.robots.config import RecordConfig, TaskPlan
from components.training.config import TrainConfig
from pipelines.recipes.robots import cpu
from pipelines.recipes.robots.types import ActionPhase, Evaluation, RobotRecipe, VideoPhase


def tiny() -> RobotRecipe:
    """One robot, one easy task, two views, a network of two blocks, a codec fitted to the data.

    What makes so short a training act: many small steps rather than few large batches; flange poses (`eef14`), which a
    picture tells more directly than joint angles; absolute ones, so that errors do not add up from chunk to chunk; and
    the two views that see the right hand at work.
    """
    multi_rate, slow = _train(steps=150), _train(steps=200)
    return RobotRecipe(
        name="tiny",
        record=RecordConfig(name="tiny", tasks=(TaskPlan(task="press", level=1),), episodes=140),
        intake=IntakeConfig(name="tiny"),
        network=cpu.network(layers=2, heads=2, head_dim=48),
        frames_cameras=cpu.VIEWS,
        codec_patches=20_000,
        space="eef14",
        form="absolute",
        stage1=VideoPhase(clip=ClipConfig(frames=57), train=multi_rate),
        stage2=VideoPhase(clip=cpu.SLOW_CLIP, train=slow),
        pretrain=ActionPhase(train=_train(steps=300), draws=2),
        adapt=VideoPhase(clip=cpu.SLOW_CLIP, train=_train(steps=100)),
        specialize=ActionPhase(train=_train(steps=1500, snapshots=2), draws=2),
        from_scratch=ActionPhase(train=_train(steps=1500), draws=2),
        evaluation=Evaluation(tasks=(("press", 1),), episodes=40, videos=4, curve_episodes=16),
        gate=GateConfig(policy="ge-act"),
        check=CheckConfig(policy="ge-act"),
        estimates=_ESTIMATES,
    )


def _train(steps: int, snapshots: int = 0) -> TrainConfig:
    return cpu.train(
        steps, learning_rate=1.5e-3, warmup_steps=min(50, steps // 4), ema=0.99, checkpoint_seconds=30.0, log_every=10,
        snapshots=snapshots,
    )  # fmt: skip


_ESTIMATES = {
    "robots.record": 130.0,
    "agibot.intake": 35.0,
    "ge_base.frames": 50.0,
    "ge_base.codec": 25.0,
    "ge_base.stage1": 80.0,
    "ge_base.stage2": 50.0,
    "ge_act.pretrain": 60.0,
    "ge_act.adapt": 40.0,
    "ge_act.specialize": 280.0,
    "ge_act.from_scratch": 280.0,
    "ge_act.evaluate": 40.0,
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
"""Seconds on two cores, until a run has measured them here."""
