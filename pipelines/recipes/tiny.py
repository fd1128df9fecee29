"""`tiny`: the whole loop on two CPU cores within twenty minutes, the first run included."""

from __future__ import annotations

from components.agibot.config import IntakeConfig
from components.envisioner.config import ActionConfig, CodecConfig, NetworkConfig, TextConfig, VideoConfig
from components.ge_base.config import ClipConfig
from components.release.config import CheckConfig, GateConfig
from components.robots.config import RecordConfig, TaskPlan
from components.training.config import TrainConfig
from pipelines.recipes.types import ActionPhase, Evaluation, Recipe, VideoPhase


def tiny() -> Recipe:
    """One robot, one easy task, a network of a few blocks, a codec fitted to the data."""
    return Recipe(
        name="tiny",
        record=RecordConfig(name="tiny", tasks=(TaskPlan(task="press", level=1),), episodes=60),
        intake=IntakeConfig(name="tiny"),
        network=_network(),
        codec_patches=20_000,
        stage1=VideoPhase(clip=ClipConfig(frames=57), train=_train(steps=60)),
        stage2=VideoPhase(clip=ClipConfig(frames=9, rate_low_hz=5.0, rate_high_hz=5.0), train=_train(steps=60)),
        pretrain=ActionPhase(train=_train(steps=200)),
        adapt=VideoPhase(clip=ClipConfig(frames=9, rate_low_hz=5.0, rate_high_hz=5.0), train=_train(steps=30)),
        specialize=ActionPhase(train=_train(steps=200)),
        from_scratch=ActionPhase(train=_train(steps=200)),
        evaluation=Evaluation(tasks=(("press", 1),), episodes=20, videos=4),
        gate=GateConfig(policy="ge-act"),
        check=CheckConfig(policy="ge-act"),
        estimates=_ESTIMATES,
    )


def _network() -> NetworkConfig:
    grid = (6, 8)
    return NetworkConfig(
        video=VideoConfig(
            latent_channels=32, layers=4, heads=4, head_dim=32, text_width=32, spatial_stride=16, temporal_stride=8,
            position_grid=grid,
        ),
        action=ActionConfig(action_width=16, heads=4, head_dim=32),
        codec=CodecConfig(kind="block-pca", channels=32, spatial_stride=16, temporal_stride=8),
        text=TextConfig(kind="hashed-words", width=32, tokens=16),
        image_height=16 * grid[0],
        image_width=16 * grid[1],
    )  # fmt: skip


def _train(steps: int) -> TrainConfig:
    """Two ranks of one thread each, fp32: on such a CPU bf16 is a hundred times slower."""
    return TrainConfig(
        steps=steps, batch_size=16, learning_rate=5e-4, warmup_steps=min(20, steps // 4), decay="cosine", ema=0.99,
        precision="fp32", zero_stage=1, processes=2, checkpoint_seconds=60.0, log_every=10,
    )  # fmt: skip


_ESTIMATES = {
    "robots.record": 90.0,
    "agibot.intake": 45.0,
    "ge_base.frames": 15.0,
    "ge_base.codec": 15.0,
    "ge_base.stage1": 120.0,
    "ge_base.stage2": 60.0,
    "ge_act.pretrain": 120.0,
    "ge_act.adapt": 40.0,
    "ge_act.specialize": 180.0,
    "ge_act.from_scratch": 120.0,
    "ge_act.evaluate": 60.0,
    "release.gate": 15.0,
    "release.publish": 10.0,
    "release.check": 40.0,
    "release.candidate": 2.0,
}
"""Seconds on two cores, until a run has measured them here."""
