"""The block codec: what it keeps, and that frames land where they came from."""

import numpy as np
import pytest
import torch

from components.envisioner.codec import BlockCodec, encode_clip, encode_memory, to_unit
from components.envisioner.config import CodecConfig, latent_frames

CONFIG = CodecConfig(kind="block-pca", channels=24, spatial_stride=4, temporal_stride=8)


def smooth_video(frames: int, seed: int) -> torch.Tensor:
    """uint8 (1, frames, 1, 8, 12, 3): a bright blob that moves."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:8, 0:12]
    cy, cx, vy, vx = rng.uniform([1, 1, -0.2, -0.2], [7, 11, 0.2, 0.2])
    out = [np.exp(-((y - cy - vy * t) ** 2 + (x - cx - vx * t) ** 2) / 8) for t in range(frames)]
    return torch.from_numpy((np.stack(out)[None, :, None, :, :, None] * rng.uniform(100, 250, 3)).astype(np.uint8))


@pytest.fixture
def codec() -> BlockCodec:
    codec = BlockCodec(CONFIG)
    videos = torch.cat([to_unit(smooth_video(9, seed))[:, :, 0] for seed in range(60)])
    for kind, clip, group in (("still", videos, 1), ("group", videos[:, 1:], 8)):
        codec.fit(kind, codec.patches(clip, group).flatten(0, 3))
    return codec


def test_round_trip_keeps_a_smooth_video(codec):
    """Breaks if patches are put back in another place, time or channel order."""
    video = to_unit(smooth_video(17, 999)).flatten(1, 2)
    back = codec.decode(codec.encode(video))
    assert back.shape == video.shape
    error = (back - video).square().mean().sqrt() / (video - video.mean()).square().mean().sqrt()
    assert error < 0.2


def test_latents_have_unit_variance(codec):
    """Breaks if the flow's noise and the latents were of different size."""
    videos = torch.cat([to_unit(smooth_video(9, seed))[:, :, 0] for seed in range(60)])
    z = codec.encode(videos)
    assert z.shape == (60, 24, 2, 2, 3)
    deviation = z.transpose(0, 1).flatten(1)[:8].std(dim=1)
    assert ((deviation > 0.5) & (deviation < 1.5)).all()


def test_memory_frames_are_encoded_alone(codec):
    """Breaks if a memory frame's latent depended on its neighbours, or views and time were swapped."""
    clip = torch.cat([smooth_video(4, 1), smooth_video(4, 2)], dim=2)  # two views
    together = encode_memory(codec, clip)
    assert together.shape == (1, 2, 24, 4, 2, 3)
    alone = encode_clip(codec, clip[:, 2:3])
    torch.testing.assert_close(together[:, :, :, 2], alone[:, :, :, 0])


def test_clip_lengths_that_do_not_fit_are_named():
    assert latent_frames(57, 8) == 8
    assert latent_frames(9, 8) == 2
    with pytest.raises(ValueError, match=r"use 1 \+ k\*8, e\.g\. 57"):
        latent_frames(54, 8)


def test_too_few_patches_are_refused():
    with pytest.raises(ValueError, match="give more frames"):
        BlockCodec(CONFIG).fit("still", torch.randn(5, 48))
