"""What the recipes for two CPU cores share: a network of a few narrow blocks, and how it is trained."""

from __future__ import annotations

from components.envisioner.config import ActionConfig, CodecConfig, NetworkConfig, TextConfig, VideoConfig
from components.ge_base.config import ClipConfig
from components.training.config import TrainConfig

VIEWS = ("head_color", "hand_right_color")
"""The two that see the right hand at work."""
SLOW_CLIP = ClipConfig(frames=9, rate_low_hz=5.0, rate_high_hz=5.0)


def network(layers: int, heads: int, head_dim: int) -> NetworkConfig:
    """GE-Act on two views of 48 x 64 pixels, 3 x 4 latent cells each."""
    stride, grid = 16, (3, 4)
    return NetworkConfig(
        video=VideoConfig(
            latent_channels=48, layers=layers, heads=heads, head_dim=head_dim, text_width=16, max_views=len(VIEWS),
            spatial_stride=stride, temporal_stride=8, position_grid=grid,
        ),
        action=ActionConfig(action_width=14, heads=2, head_dim=32),
        codec=CodecConfig(kind="block-pca", channels=48, spatial_stride=stride, temporal_stride=8),
        text=TextConfig(kind="hashed-words", width=16, tokens=8),
        image_height=stride * grid[0],
        image_width=stride * grid[1],
    )  # fmt: skip


def train(
    steps: int, learning_rate: float, warmup_steps: int, ema: float, checkpoint_seconds: float, log_every: int,
    snapshots: int = 0,
) -> TrainConfig:  # fmt: skip
    """Two ranks of one thread each, fp32: on such a CPU bf16 is a hundred times slower."""
    return TrainConfig(
        steps=steps, batch_size=8, learning_rate=learning_rate, warmup_steps=warmup_steps, decay="cosine", ema=ema,
        precision="fp32", zero_stage=1, processes=2, checkpoint_seconds=checkpoint_seconds, log_every=log_every,
        snapshots=snapshots,
    )  # fmt: skip
