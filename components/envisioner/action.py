"""The action expert of GE-Act: a flow over action chunks that reads the video blocks' features (paper, Sec. 3)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import cast

import torch
from diffusers.models.normalization import AdaLayerNormSingle
from diffusers.models.transformers.transformer_ltx import LTXVideoTransformerBlock
from torch import Tensor, nn
from torch.nn import functional

from components.envisioner.config import ActionConfig, VideoConfig

ROTARY_BASE_STEPS = 57.0


class ActionExpert(nn.Module):
    """As many blocks as the video network; block i cross-attends to the output of video block i, all views and frames.

    Tensor names, behind the prefix `action_`, are the released checkpoints'. There is no text input of its own, and the
    video network never sees the actions.
    """

    def __init__(self, config: ActionConfig, video: VideoConfig):
        super().__init__()
        self.settings = config
        self.proj_in = nn.Linear(config.action_width, config.width)
        self.scale_shift_table = nn.Parameter(torch.randn(2, config.width) / config.width**0.5)
        self.time_embed = AdaLayerNormSingle(config.width, use_additional_conditions=False)
        self.blocks = nn.ModuleList(
            LTXVideoTransformerBlock(config.width, config.heads, config.head_dim, cross_attention_dim=video.width)
            for _ in range(video.layers)
        )
        self.norm_out = nn.LayerNorm(config.width, eps=1e-6, elementwise_affine=False)
        self.proj_out = nn.Linear(config.width, config.action_width)

    def context(self, features: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Keys and values of every block, each (B, heads, L, head_dim), from the video features.

        They do not depend on the actions, so they are computed once and reused by every sampling step.
        """
        out = []
        for block, hidden in zip(self._ltx_blocks(), features, strict=True):
            attention = block.attn2
            key = attention.norm_k(attention.to_k(hidden))
            value = attention.to_v(hidden)
            out.append((_heads(key, attention.heads), _heads(value, attention.heads)))
        return out

    def forward(
        self, actions: Tensor, timestep: Tensor, context: list[tuple[Tensor, Tensor]], state: Tensor | None
    ) -> Tensor:
        """Velocity (B, A, D) of noisy `actions` (B, A, D) at `timestep` (B,), sigma * 1000.

        `state` (B, D), normalised, becomes a token of timestep 0 before the actions, as `add_state` in the release.
        The batch may be a multiple K of the context's: K noise draws then share one video pass.
        """
        b, steps, _ = actions.shape
        times = timestep[:, None].expand(b, steps)
        if self.settings.state_token:
            if state is None:
                raise ValueError("this network has a state token; give the normalised state")
            actions = torch.cat([state[:, None], actions], dim=1)
            times = torch.cat([times.new_zeros(b, 1), times], dim=1)
        x = self.proj_in(actions)
        six, one = self._timesteps(times)
        rope = _rope(x)
        for block, (key, value) in zip(self._ltx_blocks(), context, strict=True):
            x = _block(block, x, six, rope, key, value)
        shift, scale = (self.scale_shift_table + one[:, :, None]).unbind(dim=2)
        return self.proj_out(self.norm_out(x) * (1 + scale) + shift)[:, -steps:]

    def _ltx_blocks(self) -> Iterable[LTXVideoTransformerBlock]:
        return cast(Iterable[LTXVideoTransformerBlock], self.blocks)

    def _timesteps(self, times: Tensor) -> tuple[Tensor, Tensor]:
        b, n = times.shape
        unique = torch.stack([times[:, 0], times[:, -1]], dim=1)  # the state token's and the actions'
        six, one = self.time_embed(unique.flatten(), batch_size=b, hidden_dtype=self.proj_in.weight.dtype)
        return _spread(six.view(b, 2, -1), n), _spread(one.view(b, 2, -1), n)


def _block(
    block: LTXVideoTransformerBlock,
    x: Tensor,
    modulation: Tensor,
    rope: tuple[Tensor, Tensor],
    key: Tensor,
    value: Tensor,
) -> Tensor:
    b, n, _ = x.shape
    table = block.scale_shift_table + modulation.view(b, n, 6, -1)
    shift_a, scale_a, gate_a, shift_f, scale_f, gate_f = table.unbind(dim=2)
    x = x + block.attn1(block.norm1(x) * (1 + scale_a) + shift_a, image_rotary_emb=rope) * gate_a
    cross = block.attn2
    # (K*B, n) queries against (B, L) keys: fold the K draws of one sample into its query axis.
    draws = b // key.shape[0]
    query = cross.norm_q(cross.to_q(x)).reshape(draws, key.shape[0], n, -1).transpose(0, 1).flatten(1, 2)
    read = functional.scaled_dot_product_attention(_heads(query, cross.heads), key, value)
    read = read.transpose(1, 2).flatten(2).unflatten(1, (draws, n)).transpose(0, 1).flatten(0, 1)
    x = x + cross.to_out[0](read)
    return x + block.ff(block.norm2(x) * (1 + scale_f) + shift_f) * gate_f


def _spread(pair: Tensor, tokens: int) -> Tensor:
    """(B, 2, D), of the first token and of all others -> (B, tokens, D)."""
    return torch.cat([pair[:, :1], pair[:, 1:].expand(-1, tokens - 1, -1)], dim=1)


def _heads(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(2, (heads, -1)).transpose(1, 2)


def _rope(x: Tensor) -> tuple[Tensor, Tensor]:
    """1-D rotary embedding over the whole width (release: position / 57, theta 1e4)."""
    _, n, width = x.shape
    position = torch.arange(n, device=x.device, dtype=torch.float32) / ROTARY_BASE_STEPS
    freqs = 10000.0 ** torch.linspace(0.0, 1.0, width // 2, device=x.device) * (math.pi / 2.0)
    angles = ((position * 2 - 1)[:, None] * freqs[None])[None].repeat_interleave(2, dim=-1)
    return angles.cos(), angles.sin()
