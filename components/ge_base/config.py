"""What the GE-Base stages are asked to do."""

from __future__ import annotations

from pydantic import Field, model_validator

from components.envisioner.config import NetworkConfig, latent_frames
from components.training.config import TrainConfig
from data_contracts.base import Contract


class FramesConfig(Contract):
    """Frames at the network's size, decoded once, in one array that every training stage maps into memory."""

    name: str = "frames"
    cameras: tuple[str, ...] = ("head_color", "hand_left_color", "hand_right_color")
    image_height: int = 192
    image_width: int = 256
    holdout_every: int = Field(default=20, ge=2, description="every n-th episode is held out of training")


class CodecStageConfig(Contract):
    """Fitting (or adopting) the codec."""

    name: str = "codec"
    network: NetworkConfig
    patches: int = Field(default=40_000, ge=1000, description="patches of each kind that the fit sees")


class ClipConfig(Contract):
    """What a video stage trains on: clips of `frames` after the current frame, at rates in [low, high] Hz."""

    frames: int = 57
    rate_low_hz: float = 3.0
    rate_high_hz: float = 30.0
    caption_dropout: float = Field(default=0.06, ge=0, le=1)
    memory_noise: float = Field(default=0.1, ge=0, le=1, description="upper end of the noise mixed into memory")

    @model_validator(mode="after")
    def _rates(self) -> ClipConfig:
        if not 0 < self.rate_low_hz <= self.rate_high_hz <= 30:
            raise ValueError(
                f"rates {self.rate_low_hz}..{self.rate_high_hz} Hz are not ordered within 0..30; "
                "set clip.rate_low_hz <= clip.rate_high_hz"
            )
        return self


class VideoStageConfig(Contract):
    """One video training stage: GE-Base stage 1 or 2, or GE-Act's video adaptation."""

    name: str
    network: NetworkConfig
    clip: ClipConfig
    train: TrainConfig

    @model_validator(mode="after")
    def _clip_fits(self) -> VideoStageConfig:
        latent_frames(self.clip.frames, self.network.codec.temporal_stride)
        return self
