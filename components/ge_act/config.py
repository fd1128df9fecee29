"""What the GE-Act stages are asked to do."""

from __future__ import annotations

from pydantic import Field, model_validator

from components.envisioner.config import NetworkConfig
from components.training.config import TrainConfig
from data_contracts.action import Form, Space
from data_contracts.base import Contract
from data_contracts.evaluation import Arm


class ActionStageConfig(Contract):
    """An action training phase: `pretrain` (video frozen) or `specialize` (everything trained, action loss)."""

    name: str
    network: NetworkConfig
    train: TrainConfig
    space: Space = "joint"
    form: Form = "absolute"
    rate_hz: float = Field(default=30.0, gt=0, description="rate of the action chunk's steps; the recording's")
    draws: int = Field(
        default=1, ge=1, description="noise draws of the action flow per video pass; they share its features"
    )
    caption_dropout: float = Field(default=0.06, ge=0, le=1)

    @model_validator(mode="after")
    def _has_expert(self) -> ActionStageConfig:
        if self.network.action is None:
            raise ValueError("network.action is missing; an action stage trains the action expert, so configure one")
        return self


class EvaluateConfig(Contract):
    """Closed-loop evaluation of one arm in simulation, on seeds that no recording uses."""

    name: str
    arm: Arm
    embodiment: str = "agibot_g1"
    cameras: tuple[str, ...] = Field(
        default=("head_color", "hand_left_color", "hand_right_color"), description="the network's views, in their order"
    )
    tasks: tuple[tuple[str, int], ...] = Field(min_length=1, description="(task, level) pairs")
    episodes: int = Field(default=50, ge=1, description="per task")
    seed_base: int = Field(default=1_000_000, description="first seed; recordings use smaller ones")
    execute_steps: int = Field(default=18, ge=1)
    memory_stride_steps: int = Field(default=30, ge=1)
    sampling_steps: int = Field(default=10, ge=1)
    videos: int = Field(default=4, ge=0)
    curve_episodes: int = Field(
        default=0, ge=0, description="episodes per task for each snapshot that training kept: success against minutes"
    )
    processes: int = Field(default=2, ge=1)
