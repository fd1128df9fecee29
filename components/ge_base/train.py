"""Video training: GE-Base's two stages and GE-Act's video adaptation differ only in clips and in where they start."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from components.envisioner import checkpoints, flow
from components.envisioner.codec import encode_clip, encode_memory
from components.envisioner.ge_act import GEAct
from components.envisioner.policy import load_codec
from components.envisioner.text import HashedWords
from components.ge_base.config import VideoStageConfig
from components.ge_base.frames import FrameTable
from components.ge_base.preview import preview
from components.ge_base.windows import clip_sample, draw
from components.training.job import Job, stack


class VideoTrainee:
    """Rectified flow on future latents, given clean memory and text (paper, Sec. 2.2; reference, Sec. 3)."""

    def __init__(self, config: VideoStageConfig, table: FrameTable, network: GEAct, codec_path: Path, seed: int):
        self.config, self.table, self.network, self.seed = config, table, network, seed
        self.codec = load_codec(config.network, codec_path)
        self.text = HashedWords(config.network.text)
        self.module: nn.Module = network
        self.episodes = table.episodes(held_out=False)
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(name.startswith("video."))

    def sample(self, generator: torch.Generator, number: int) -> dict[str, Tensor]:
        video, clip = self.config.network.video, self.config.clip
        episode = self.episodes[draw(0, len(self.episodes), generator)]
        out = clip_sample(self.table, episode, clip, video.memory_frames, video.temporal_stride, generator)
        drop, sigma, memory_noise = torch.rand(3, generator=generator).tolist()
        tokens, mask = self.text([episode.instruction if drop >= clip.caption_dropout else ""])
        h, w = self.config.network.grid
        shape = (len(self.table.meta.cameras), video.latent_channels, video.memory_frames + len(out["valid"]), h, w)
        out |= {"text": tokens[0], "mask": mask[0], "noise": torch.randn(shape, generator=generator)}
        # A thousandth is the released schedule's last step: at exactly 0 there is nothing to predict.
        return out | {
            "sigma": torch.tensor(max(sigma, 1e-3)),
            "memory_noise": torch.tensor(memory_noise * clip.memory_noise),
        }

    def collate(self, samples: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        return stack(samples)

    def loss(self, module: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        memory = encode_memory(self.codec, batch["memory"])
        future = encode_clip(self.codec, batch["future"])
        return {"loss": video_loss(cast(GEAct, module), memory, future, batch)}

    def save(self, path: Path) -> None:
        checkpoints.save(self.network, path)

    def publish(self, out: Path) -> dict[str, float | int | str]:
        self.save(out / "model.safetensors")
        (out / "network.json").write_text(self.config.network.model_dump_json())
        metrics = self._held_out()
        return metrics | preview(self.network, self.codec, self.text, self.table, self.config, self.seed, out)

    @torch.no_grad()
    def _held_out(self, batches: int = 4, size: int = 16) -> dict[str, float | int | str]:
        """Loss on held-out episodes, on fixed windows and noise."""
        trained, self.episodes = self.episodes, self.table.episodes(held_out=True) or self.episodes
        total = 0.0
        for i in range(batches):
            numbers = range(i * size, (i + 1) * size)
            samples = [self.sample(torch.Generator().manual_seed(self.seed + n), n) for n in numbers]
            total += float(self.loss(self.network, stack(samples))["loss"])
        self.episodes = trained
        return {"held_out_loss": round(total / batches, 5)}


def video_loss(network: GEAct, memory: Tensor, future: Tensor, batch: dict[str, Tensor]) -> Tensor:
    """Mean squared velocity error over the valid future latents.

    `memory` (B, V, C, M, H, W), `future` (B, V, C, F, H, W); `batch` has the
    noise, sigma, memory_noise, text, mask and valid of `VideoTrainee.sample`.
    """
    m = memory.shape[3]
    noise, sigma = batch["noise"], batch["sigma"]
    memory = flow.noised(memory, noise[:, :, :, :m], sigma * batch["memory_noise"])
    noisy = flow.noised(future, noise[:, :, :, m:], sigma)
    timestep = (
        torch.cat([sigma.new_zeros(len(sigma), m), sigma[:, None].expand(-1, future.shape[3])], 1) * flow.TIMESTEPS
    )
    predicted, _ = network.video(torch.cat([memory, noisy], 3), timestep, batch["text"], batch["mask"])
    error = (predicted[:, :, :, m:] - flow.velocity(future, noise[:, :, :, m:])).square().mean(dim=(1, 2, 4, 5))
    return (error * batch["valid"]).sum() / batch["valid"].sum().clamp_min(1)


def trainee(job: Job) -> VideoTrainee:
    """Entry of the training loop. Inputs: `frames` (folder), `codec` (file), and `video` (file) to start from."""
    config = VideoStageConfig.model_validate(job.config)
    torch.manual_seed(job.seed)
    network = GEAct(config.network)
    if "video" in job.inputs:
        checkpoints.load_video(network, Path(job.inputs["video"]))
    return VideoTrainee(
        config, FrameTable.open(Path(job.inputs["frames"])), network, Path(job.inputs["codec"]), job.seed
    )
