"""Predicted beside true video of held-out episodes: a picture for people, PSNR for machines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from components.envisioner import flow
from components.envisioner.codec import BlockCodec, encode_clip, encode_memory
from components.envisioner.ge_act import GEAct
from components.envisioner.text import HashedWords
from components.ge_base.config import VideoStageConfig
from components.ge_base.frames import FrameTable
from components.ge_base.windows import future_rows, strides

SAMPLING_STEPS = 12
EPISODES = 4
SHOWN_FRAMES = 6


@torch.no_grad()
def preview(
    network: GEAct,
    codec: BlockCodec,
    text: HashedWords,
    table: FrameTable,
    config: VideoStageConfig,
    seed: int,
    out: Path,
) -> dict[str, float | int | str]:
    """Write `preview.png` (pairs of rows: true, predicted; head view) and return mean PSNRs in dB over all views.

    `psnr_codec` is what the codec alone reaches (the ceiling), `psnr_still` what repeating the last frame reaches.
    """
    episodes = (table.episodes(held_out=True) or table.episodes(held_out=False))[:EPISODES]
    low, high = strides(config.clip, table.meta.fps)
    stride, memory_frames = (low + high) // 2, config.network.video.memory_frames
    rows = [future_rows(e, e.start, config.clip.frames, stride)[0] for e in episodes]
    memory = torch.stack([torch.from_numpy(table.frames[[e.start] * memory_frames]) for e in episodes])
    true = torch.stack([torch.from_numpy(table.frames[r]) for r in rows])
    z_memory, z_true = encode_memory(codec, memory), encode_clip(codec, true)
    tokens, mask = text([e.instruction for e in episodes])
    noise = torch.randn(z_true.shape, generator=torch.Generator().manual_seed(seed))
    z = _sample(network, z_memory, noise, tokens, mask)
    predicted, ceiling = _frames(codec, z), _frames(codec, z_true)
    still = true[:, :1].expand_as(true)
    _picture(true, predicted, out / "preview.png")
    return {
        "psnr_predicted": _psnr(true, predicted),
        "psnr_still": _psnr(true, still),
        "psnr_codec": _psnr(true, ceiling),
    }


def _sample(network: GEAct, memory: Tensor, noise: Tensor, text: Tensor, mask: Tensor) -> Tensor:
    frames = memory.shape[3]

    def model(x: Tensor, timestep: Tensor) -> Tensor:
        times = torch.cat([timestep.new_zeros(len(x), frames), timestep[:, None].expand(-1, x.shape[3])], dim=1)
        return network.video(torch.cat([memory, x], dim=3), times, text, mask)[0][:, :, :, frames:]

    return flow.euler(model, noise, SAMPLING_STEPS)


def _frames(codec: BlockCodec, latents: Tensor) -> Tensor:
    """(B, V, C, F, H, W) -> uint8 (B, T, V, height, width, 3)."""
    b, v = latents.shape[:2]
    video = codec.decode(latents.flatten(0, 1)).unflatten(0, (b, v))
    return ((video + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 1, 4, 5, 3)


def _psnr(a: Tensor, b: Tensor) -> float:
    error = (a.float() - b.float()).square().flatten(1).mean(1).clamp_min(1e-6)
    return round(float((10 * torch.log10(255.0**2 / error)).mean()), 2)


def _picture(true: Tensor, predicted: Tensor, path: Path) -> None:
    picks = np.linspace(0, true.shape[1] - 1, SHOWN_FRAMES).round().astype(int)

    def strip(video: Tensor) -> NDArray[np.uint8]:
        return np.concatenate(list(video[picks, 0].numpy()), axis=1)

    rows = [strip(video) for pair in zip(true, predicted, strict=True) for video in pair]
    image = Image.fromarray(np.concatenate(rows, axis=0))
    image.resize((image.width * 2, image.height * 2), Image.Resampling.NEAREST).save(path)
