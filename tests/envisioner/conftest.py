import pytest
import torch

from components.envisioner.config import ActionConfig, CodecConfig, NetworkConfig, TextConfig, VideoConfig


@pytest.fixture
def network_config() -> NetworkConfig:
    """A network small enough for a test, with every part switched on."""
    return NetworkConfig(
        video=VideoConfig(
            latent_channels=8, layers=4, heads=2, head_dim=16, text_width=12, spatial_stride=8, position_grid=(2, 3)
        ),
        action=ActionConfig(action_width=6, heads=2, head_dim=8, chunk=10),
        codec=CodecConfig(kind="block-pca", channels=8, spatial_stride=8),
        text=TextConfig(kind="hashed-words", width=12, tokens=6),
        image_height=16,
        image_width=24,
    )


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
