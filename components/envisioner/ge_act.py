"""GE-Act: GE-Base and the action expert as one network, and how actions are sampled from it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.envisioner import flow
from components.envisioner.action import ActionExpert
from components.envisioner.config import NetworkConfig
from components.envisioner.video import GEBase


class GEAct(nn.Module):
    """`video` alone is GE-Base; with `action` it is GE-Act."""

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.settings = config
        self.video = GEBase(config.video)
        self.action = ActionExpert(config.action, config.video) if config.action is not None else None

    def features(self, memory: Tensor, future_noise: Tensor, text: Tensor, text_mask: Tensor) -> list[Tensor]:
        """Video features for acting: clean memory (B, V, C, M, H, W) before pure-noise future frames, at sigma = 1.

        The video network runs once, however many steps the action flow then takes (paper, "slow-fast").
        """
        latents = torch.cat([memory, future_noise], dim=3)
        timestep = latents.new_zeros(latents.shape[0], latents.shape[3])
        timestep[:, memory.shape[3] :] = flow.TIMESTEPS
        return self.video(latents, timestep, text, text_mask, with_features=True)[1]

    @torch.no_grad()
    def sample_actions(self, features: list[Tensor], state: Tensor, noise: Tensor, steps: int) -> Tensor:
        """Integrate the action flow from `noise` (B, A, D) to a normalised action chunk (B, A, D) by Euler steps."""
        expert = self.action
        if expert is None:
            raise ValueError("this network has no action expert")
        context = expert.context(features)
        return flow.euler(lambda x, t: expert(x, t, context, state), noise, steps)
