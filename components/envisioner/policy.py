"""A policy as it is served and evaluated: frames, state and an instruction in, a chunk of actions out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from components.envisioner import checkpoints
from components.envisioner.codec import BlockCodec, encode_memory
from components.envisioner.config import NetworkConfig, latent_frames
from components.envisioner.ge_act import GEAct
from components.envisioner.text import HashedWords
from data_contracts.action import ActionSchema, gripper_dims
from data_contracts.bundle import PolicyBundle

FUTURE_FRAMES = 9
"""The fast configuration: the network acts beside one low-frequency clip of 9 frames (paper, Sec. 3)."""


@dataclass
class Policy:
    """GE-Act with its codec, text encoder and action schema. Stateless: memory belongs to the caller's session."""

    network: GEAct
    codec: BlockCodec
    text: HashedWords
    action: ActionSchema
    sampling_steps: int

    @classmethod
    def load(cls, bundle: PolicyBundle, folder: Path) -> Policy:
        """The policy of a bundle unpacked in `folder`. Raises ValueError when weights and configuration disagree."""
        config = NetworkConfig.model_validate(bundle.network)
        weights, codec = folder / bundle.weights.path, folder / bundle.codec.path
        return cls.build(config, bundle.action, weights, codec, bundle.sampling_steps)

    @classmethod
    def build(
        cls, config: NetworkConfig, action: ActionSchema, weights: Path, codec: Path, sampling_steps: int
    ) -> Policy:
        """As `load`, from the parts."""
        if config.action is None:
            raise ValueError("this network has no action expert, so it is not a policy")
        if config.action.action_width != action.width:
            raise ValueError(
                f"network.action.action_width is {config.action.action_width}, the schema's {action.width}"
            )
        network = GEAct(config)
        checkpoints.load(network, weights)
        return cls(network.eval(), load_codec(config, codec), HashedWords(config.text), action, sampling_steps)

    @torch.no_grad()
    def act(
        self, memory: NDArray[np.uint8], state: NDArray[np.floating], instruction: str, seed: int
    ) -> NDArray[np.float32]:
        """A chunk of absolute actions, in the schema's space and units.

        Args:
            memory: uint8 (M, V, height, width, 3) RGB, oldest first, the last is the current frame.
            state: (D,), the current state in the schema's space, raw units.
            instruction: what to do.
            seed: of the flow's noise; equal inputs and seeds give equal actions.

        Returns:
            float32 (chunk, D).
        """
        config = self.network.settings
        self._check(memory, state)
        generator = torch.Generator().manual_seed(seed)
        latents = encode_memory(self.codec, torch.from_numpy(np.ascontiguousarray(memory))[None])
        future = latent_frames(FUTURE_FRAMES, config.codec.temporal_stride)
        noise = torch.randn(*latents.shape[:3], future, *latents.shape[4:], generator=generator)
        text, mask = self.text([instruction])
        features = self.network.features(latents, noise, text, mask)
        start = torch.from_numpy(np.asarray(state, dtype=np.float32))[None]
        normal_state = (start - _row(self.action.state.mean)) / _row(self.action.state.std)
        chunk = torch.randn(1, self.action.chunk, self.action.width, generator=generator)
        actions = self.network.sample_actions(features, normal_state, chunk, self.sampling_steps)[0]
        actions = actions * _row(self.action.action.std) + _row(self.action.action.mean)
        return to_absolute(actions, start[0], self.action).numpy()

    def _check(self, memory: NDArray[np.uint8], state: NDArray[np.floating]) -> None:
        config = self.network.settings
        want = (config.video.memory_frames, memory.shape[1], config.image_height, config.image_width, 3)
        if memory.dtype != np.uint8 or memory.shape != want or memory.shape[1] > config.video.max_views:
            raise ValueError(f"memory must be uint8 {want}, got {memory.dtype} {memory.shape}")
        if state.shape != (self.action.width,) or not np.isfinite(state).all():
            raise ValueError(f"state must be {self.action.width} finite numbers, got shape {state.shape}")


def load_codec(config: NetworkConfig, path: Path) -> BlockCodec:
    codec = BlockCodec(config.codec)
    codec.load_state_dict(load_file(str(path)))
    return codec.eval()


def to_absolute(actions: Tensor, state: Tensor, schema: ActionSchema) -> Tensor:
    """(A, D) actions in the schema's form -> absolute ones, given the state (D,) at the chunk's start."""
    if schema.form == "absolute":
        return actions
    joints_per_arm = schema.width // 2 - 1
    keep = torch.ones(schema.width, dtype=torch.bool)
    keep[list(gripper_dims(schema.space, joints_per_arm))] = False
    moved = actions.cumsum(0) + state if schema.form == "delta" else actions + state
    return torch.where(keep, moved, actions)


def _row(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)[None]
