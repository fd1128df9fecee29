"""Frames to latents and back.

`BlockCodec` is the small codec of the CPU recipes: a linear transform fitted in closed form (principal components of
patches), so it needs no training loop, is exactly reproducible and costs one matrix product. It has the interface of
LTX's causal video codec: the first frame stands alone, then groups of `temporal_stride` frames.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.envisioner.config import CodecConfig, latent_frames

OVERSAMPLED, ITERATIONS = 32, 10


class BlockCodec(nn.Module):
    """Linear block codec. Buffers: per kind (`still`, `group`) a mean (P,), basis (C, P) and scale (C,)."""

    def __init__(self, config: CodecConfig):
        super().__init__()
        self.settings = config
        patch = 3 * config.spatial_stride**2
        for kind, size in (("still", patch), ("group", patch * config.temporal_stride)):
            self.register_buffer(f"{kind}_mean", torch.zeros(size))
            self.register_buffer(f"{kind}_basis", torch.zeros(config.channels, size))
            self.register_buffer(f"{kind}_scale", torch.ones(config.channels))

    def fit(self, kind: str, patches: Tensor) -> float:
        """Fit `still` (N, P) or `group` (N, P*stride) patches. Returns the share of variance kept, 0..1."""
        if len(patches) < self.settings.channels:
            raise ValueError(f"{len(patches)} patches cannot fit {self.settings.channels} channels; give more frames")
        mean = patches.mean(0)
        centred = patches - mean
        values, basis = _leading(centred, self.settings.channels)
        # An eigenvector's sign is open; the largest entry is made positive so that refits agree.
        signs = basis.gather(1, basis.abs().argmax(1, keepdim=True)).sign()
        getattr(self, f"{kind}_mean").copy_(mean)
        getattr(self, f"{kind}_basis").copy_(basis * signs)
        getattr(self, f"{kind}_scale").copy_(values.sqrt())
        return float(values.sum() / (centred.square().sum() / len(patches)).clamp_min(1e-12))

    def encode(self, video: Tensor) -> Tensor:
        """(N, T, 3, height, width) in [-1, 1], T = 1 + k*temporal_stride -> latents (N, C, 1 + k, H, W)."""
        latent_frames(video.shape[1], self.settings.temporal_stride)
        out = [self._project("still", self.patches(video[:, :1], 1))]
        if video.shape[1] > 1:
            out.append(self._project("group", self.patches(video[:, 1:], self.settings.temporal_stride)))
        return torch.cat(out, dim=1).permute(0, 4, 1, 2, 3)

    def decode(self, latents: Tensor) -> Tensor:
        """(N, C, F, H, W) -> (N, 1 + (F-1)*temporal_stride, 3, height, width) in [-1, 1]."""
        z = latents.permute(0, 2, 3, 4, 1)
        out = [self._unpatch(self._lift("still", z[:, :1]), 1)]
        if z.shape[1] > 1:
            out.append(self._unpatch(self._lift("group", z[:, 1:]), self.settings.temporal_stride))
        return torch.cat(out, dim=1).clamp(-1, 1)

    def patches(self, video: Tensor, group: int) -> Tensor:
        """(N, T, 3, height, width) -> (N, T/group, H, W, group*3*s*s)."""
        n, t, c, h, w = video.shape
        s = self.settings.spatial_stride
        x = video.reshape(n, t // group, group, c, h // s, s, w // s, s)
        return x.permute(0, 1, 4, 6, 2, 3, 5, 7).flatten(4)

    def _unpatch(self, x: Tensor, group: int) -> Tensor:
        n, f, h, w, _ = x.shape
        s = self.settings.spatial_stride
        x = x.reshape(n, f, h, w, group, 3, s, s).permute(0, 1, 4, 5, 2, 6, 3, 7)
        return x.reshape(n, f * group, 3, h * s, w * s)

    def _project(self, kind: str, patches: Tensor) -> Tensor:
        basis = getattr(self, f"{kind}_basis") / getattr(self, f"{kind}_scale")[:, None]
        return (patches - getattr(self, f"{kind}_mean")) @ basis.T

    def _lift(self, kind: str, latents: Tensor) -> Tensor:
        basis = getattr(self, f"{kind}_basis") * getattr(self, f"{kind}_scale")[:, None]
        return latents @ basis + getattr(self, f"{kind}_mean")


def _leading(rows: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` largest eigenvalues (count,) of the covariance of centred `rows` (N, P), descending, and their
    eigenvectors (count, P).

    By subspace iteration (Halko et al. 2011, Alg. 4.4): a patch of eight frames has 6,144 numbers or more, and already
    their covariance costs more than the few eigenvectors that are kept.
    """
    width = min(rows.shape[1], count + OVERSAMPLED)
    start = torch.randn(rows.shape[1], width, generator=torch.Generator().manual_seed(0))
    basis = torch.linalg.qr(start).Q
    for _ in range(ITERATIONS if width < rows.shape[1] else 0):
        basis = torch.linalg.qr(rows.T @ (rows @ basis)).Q
    seen = rows @ basis
    values, rotation = torch.linalg.eigh(seen.T @ seen / len(rows))
    return values[-count:].flip(0).clamp_min(1e-8), (basis @ rotation)[:, -count:].flip(1).T.contiguous()


def to_unit(frames: Tensor) -> Tensor:
    """uint8 (..., height, width, 3) -> float (..., 3, height, width) in [-1, 1]."""
    return frames.movedim(-1, -3).float() / 127.5 - 1.0


def encode_memory(codec: BlockCodec, memory: Tensor) -> Tensor:
    """uint8 memory (B, M, V, height, width, 3) -> latents (B, V, C, M, H, W); each frame is encoded on its own."""
    b, m, v = memory.shape[:3]
    z = codec.encode(to_unit(memory).flatten(0, 2)[:, None])
    return z[:, :, 0].unflatten(0, (b, m, v)).permute(0, 2, 3, 1, 4, 5)


def encode_clip(codec: BlockCodec, clip: Tensor) -> Tensor:
    """uint8 clip (B, T, V, height, width, 3) -> latents (B, V, C, F, H, W)."""
    b, _, v = clip.shape[:3]
    z = codec.encode(to_unit(clip).transpose(1, 2).flatten(0, 1))
    return z.unflatten(0, (b, v))
