"""GE-Base: diffusers' LTX video transformer with views, sparse memory and per-token timesteps (paper, Fig. 2)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from diffusers.models.transformers.transformer_ltx import LTXVideoTransformer3DModel, LTXVideoTransformerBlock
from torch import Tensor, nn

from components.envisioner.config import VideoConfig

FRAMES_PER_SECOND = 30.0
"""The rate that the rotary time axis assumes; the released networks use it for 5 Hz clips too."""


class GEBase(LTXVideoTransformer3DModel):
    """Velocity of rectified flow for multi-view latents.

    Tensor names are stock LTX's plus `view_embed` and `view_ada.1`, so the released checkpoints load strictly. Every
    third block (0, 3, ...) attends across all views, the others within a view; text is shared by all views.
    """

    def __init__(self, config: VideoConfig):
        super().__init__(
            in_channels=config.latent_channels,
            out_channels=config.latent_channels,
            num_attention_heads=config.heads,
            attention_head_dim=config.head_dim,
            cross_attention_dim=config.width,
            num_layers=config.layers,
            caption_channels=config.text_width,
        )
        self.settings = config
        self.view_embed = nn.Parameter(torch.randn(config.max_views, config.width) / config.width**0.5)
        self.view_ada = nn.Sequential(nn.SiLU(), nn.Linear(config.width, 6 * config.width))
        if config.position_grid is not None:
            self.position_embed = nn.Parameter(
                _positions(*config.position_grid, config.width).repeat(config.max_views, 1, 1)
            )

    def forward(  # type: ignore[override]
        self, latents: Tensor, timestep: Tensor, text: Tensor, text_mask: Tensor, with_features: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """Predict the velocity of every latent frame.

        Args:
            latents: (B, V, C, F, H, W), clean memory frames first.
            timestep: (B, F), sigma * 1000 per latent frame; 0 for memory.
            text: (B, T, text_width); text_mask: (B, T), 1 where there is a token.
            with_features: also return every block's output, which the action expert reads.

        Returns:
            Velocity shaped like `latents`, and a list of `layers` tensors (B, L, width), or an empty list.
        """
        b, v, c, f, h, w = latents.shape
        if v > self.settings.max_views:
            raise ValueError(f"{v} views, but this network has embeddings for {self.settings.max_views}")
        x = self.proj_in(latents.permute(0, 1, 3, 4, 5, 2).reshape(b * v, f * h * w, c))
        if self.settings.position_grid is not None:
            x = x + self.position_embed[:v].repeat(b, f, 1)
        rope = self._rope(x, f, h, w)
        modulation, final = self._timesteps(timestep, v)
        context = self.caption_projection(text).repeat_interleave(v, dim=0)
        bias = ((1 - text_mask.to(x.dtype)) * -10000.0).unsqueeze(1).repeat_interleave(v, dim=0)

        features: list[Tensor] = []
        for index, block in enumerate(self.transformer_blocks):
            across = v > 1 and index % self.settings.cross_view_every == 0
            x = self._run(_block, block, x, context, bias, modulation, rope, v if across else 1)
            if with_features:
                features.append(x.reshape(b, v * f * h * w, -1))

        shift, scale = (self.scale_shift_table + final[:, :, None]).unbind(dim=2)
        x = self.proj_out(_modulate(self.norm_out(x), shift, scale))
        return x.reshape(b, v, f, h, w, c).permute(0, 1, 5, 2, 3, 4), features

    def _rope(self, x: Tensor, f: int, h: int, w: int) -> tuple[Tensor, Tensor]:
        scale: Any = (
            self.settings.temporal_stride / FRAMES_PER_SECOND,
            self.settings.spatial_stride,
            self.settings.spatial_stride,
        )
        return self.rope(x[:1], f, h, w, scale)

    def _timesteps(self, timestep: Tensor, views: int) -> tuple[Tensor, Tensor]:
        """AdaLN vectors per view and latent frame, (B*V, F, 6, width) and (B*V, F, width).

        All tokens of a frame share their timestep, so neither the time MLP nor the modulation runs per token.
        """
        b, f = timestep.shape
        six, one = self.time_embed(timestep.flatten(), batch_size=b, hidden_dtype=self.proj_in.weight.dtype)
        six = six.view(b, 1, f, -1) + self.view_ada(self.view_embed[:views])[None, :, None]
        one = one.view(b, 1, f, -1) + self.view_embed[None, :views, None]
        return six.flatten(0, 1).unflatten(2, (6, -1)), one.flatten(0, 1)

    def _run(self, function: Callable[..., Tensor], *args: Any) -> Tensor:
        if self.gradient_checkpointing and torch.is_grad_enabled():
            return torch.utils.checkpoint.checkpoint(function, *args, use_reentrant=False)
        return function(*args)


def _positions(height: int, width: int, channels: int) -> Tensor:
    """(height * width, channels) sines and cosines of both coordinates: where a learned position embedding starts.

    Neighbouring cells begin alike. (Whether small noise would do as well, one short trial could not tell.)
    """
    quarter = math.ceil(channels / 4)
    frequency = torch.pi * 2.0 ** torch.linspace(-1.0, 1.0, quarter)
    rows, columns = (torch.arange(n)[:, None] / n * frequency for n in (height, width))
    row = torch.cat([rows.sin(), rows.cos()], dim=1)[:, None].expand(-1, width, -1)
    column = torch.cat([columns.sin(), columns.cos()], dim=1)[None].expand(height, -1, -1)
    return torch.cat([row, column], dim=2)[..., :channels].flatten(0, 1)


def _block(
    block: LTXVideoTransformerBlock,
    x: Tensor,
    text: Tensor,
    text_bias: Tensor,
    modulation: Tensor,
    rope: tuple[Tensor, Tensor],
    views: int,
) -> Tensor:
    """One LTX block on (B*V, N, width); with `views` > 1 its self-attention spans the views of a sample."""
    n, tokens, _ = x.shape
    shift_a, scale_a, gate_a, shift_f, scale_f, gate_f = (block.scale_shift_table + modulation).unbind(dim=2)
    hidden = _modulate(block.norm1(x), shift_a, scale_a)
    if views > 1:
        rope = (rope[0].repeat(1, views, 1), rope[1].repeat(1, views, 1))
        hidden = hidden.reshape(n // views, views * tokens, -1)
    hidden = block.attn1(hidden, image_rotary_emb=rope).reshape(n, tokens, -1)
    x = x + _gate(hidden, gate_a)
    x = x + block.attn2(x, encoder_hidden_states=text, attention_mask=text_bias)
    return x + _gate(block.ff(_modulate(block.norm2(x), shift_f, scale_f)), gate_f)


def _modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """x (N, F*cells, width), shift and scale (N, F, width), broadcast over a frame's cells."""
    frames = x.unflatten(1, (shift.shape[1], -1))
    return torch.addcmul(shift[:, :, None], frames, 1 + scale[:, :, None]).flatten(1, 2)


def _gate(x: Tensor, gate: Tensor) -> Tensor:
    return (x.unflatten(1, (gate.shape[1], -1)) * gate[:, :, None]).flatten(1, 2)
