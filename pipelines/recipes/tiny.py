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
    """One robot, one easy task, two views, a network of two blocks, a codec fitted to the data.

    What makes so short a training act: many small steps rather than few large batches; flange poses (`eef14`), which a
    picture tells more directly than joint angles; absolute ones, so that errors do not add up from chunk to chunk; and
    the two views that see the right hand at work.
    """
    multi_rate, slow = _train(steps=150), _train(steps=200)
    return Recipe(
        name="tiny",
        record=RecordConfig(name="tiny", tasks=(TaskPlan(task="press", level=1),), episodes=140),
        intake=IntakeConfig(name="tiny"),
        network=_network(),
        frames_cameras=("head_color", "hand_right_color"),
        codec_patches=20_000,
        space="eef14",
        form="absolute",
        stage1=VideoPhase(clip=ClipConfig(frames=57), train=multi_rate),
        stage2=VideoPhase(clip=_SLOW, train=slow),
        pretrain=ActionPhase(train=_train(steps=300), draws=2),
        adapt=VideoPhase(clip=_SLOW, train=_train(steps=100)),
        specialize=ActionPhase(train=_train(steps=1500, snapshots=2), draws=2),
        from_scratch=ActionPhase(train=_train(steps=1500), draws=2),
        evaluation=Evaluation(tasks=(("press", 1),), episodes=40, videos=4, curve_episodes=16),
        gate=GateConfig(policy="ge-act"),
        check=CheckConfig(policy="ge-act"),
        estimates=_ESTIMATES,
    )


_SLOW = ClipConfig(frames=9, rate_low_hz=5.0, rate_high_hz=5.0)


def _network() -> NetworkConfig:
    grid = (3, 4)
    return NetworkConfig(
        video=VideoConfig(
            latent_channels=48, layers=2, heads=2, head_dim=48, text_width=16, max_views=2, spatial_stride=16,
            temporal_stride=8, position_grid=grid,
        ),
        action=ActionConfig(action_width=14, heads=2, head_dim=32),
        codec=CodecConfig(kind="block-pca", channels=48, spatial_stride=16, temporal_stride=8),
        text=TextConfig(kind="hashed-words", width=16, tokens=8),
        image_height=16 * grid[0],
        image_width=16 * grid[1],
    )  # fmt: skip


def _train(steps: int, snapshots: int = 0) -> TrainConfig:
    """Two ranks of one thread each, fp32: on such a CPU bf16 is a hundred times slower."""
    return TrainConfig(
        steps=steps, batch_size=8, learning_rate=1.5e-3, warmup_steps=min(50, steps // 4), decay="cosine", ema=0.99,
        precision="fp32", zero_stage=1, processes=2, checkpoint_seconds=30.0, log_every=10,
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
}
"""Seconds on two cores, until a run has measured them here."""
