"""The networks' hyperparameters. The defaults are the paper's (LTX-Video 2B lineage); recipes shrink them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from data_contracts.base import Contract


class VideoConfig(Contract):
    """GE-Base: multi-view video diffusion transformer (paper, Sec. 2; reference, Sec. 2 "GE-Base")."""

    latent_channels: int = Field(default=128, gt=0)
    layers: int = Field(default=28, ge=1)
    heads: int = Field(default=32, gt=0)
    head_dim: int = Field(default=64, gt=0)
    text_width: int = Field(default=4096, gt=0, description="width of the text encoder's output")
    max_views: int = Field(default=3, gt=0)
    cross_view_every: int = Field(default=3, ge=1, description="blocks 0, n, 2n, ... attend across all views")
    memory_frames: int = Field(default=4, ge=1)
    spatial_stride: int = Field(default=32, gt=0, description="pixels per latent cell; the codec's")
    temporal_stride: int = Field(default=8, gt=0, description="frames per latent frame; the codec's")
    position_grid: tuple[int, int] | None = Field(
        default=None,
        description="(H, W) of a learned position embedding per view; none in the released checkpoints. Small networks "
        "need it: a few blocks of rotary attention do not tell the action expert *where* a token is.",
    )

    @property
    def width(self) -> int:
        return self.heads * self.head_dim

    @model_validator(mode="after")
    def _even(self) -> VideoConfig:
        if self.head_dim % 2:
            raise ValueError(f"head_dim {self.head_dim} is odd; rotary embeddings need pairs, make it even")
        return self


class ActionConfig(Contract):
    """The action expert of GE-Act: as deep as the video network, narrower (paper, Sec. 3)."""

    action_width: int = Field(default=16, gt=0)
    heads: int = Field(default=16, gt=0)
    head_dim: int = Field(default=32, gt=0)
    state_token: bool = True
    chunk: int = Field(default=54, gt=0)

    @property
    def width(self) -> int:
        return self.heads * self.head_dim


class CodecConfig(Contract):
    """How frames become latents.

    `block-pca`: a linear transform codec fitted to the data in its own stage, like JPEG's with a learned basis: a
    `spatial_stride` x `spatial_stride` patch of one frame (or of `temporal_stride` frames) is projected on its leading
    principal components, scaled to unit variance. `ltx`: diffusers' AutoencoderKLLTXVideo.
    """

    kind: Literal["block-pca", "ltx"] = "ltx"
    channels: int = Field(default=128, gt=0)
    spatial_stride: int = Field(default=32, gt=0)
    temporal_stride: int = Field(default=8, gt=0)


class TextConfig(Contract):
    """How an instruction becomes tokens. `hashed-words` needs no download: each word has a fixed Gaussian vector."""

    kind: Literal["hashed-words", "t5"] = "t5"
    width: int = Field(default=4096, gt=0)
    tokens: int = Field(default=128, gt=0)


class NetworkConfig(Contract):
    """All of a policy's network. Widths that must agree are checked here, before anything starts."""

    video: VideoConfig = VideoConfig()
    action: ActionConfig | None = None
    codec: CodecConfig = CodecConfig()
    text: TextConfig = TextConfig()
    image_height: int = 192
    image_width: int = 256

    @property
    def grid(self) -> tuple[int, int]:
        """(H, W) of the latent grid."""
        return self.image_height // self.codec.spatial_stride, self.image_width // self.codec.spatial_stride

    @model_validator(mode="after")
    def _agree(self) -> NetworkConfig:
        stride = self.codec.spatial_stride
        if self.image_height % stride or self.image_width % stride:
            raise ValueError(
                f"image {self.image_height}x{self.image_width} is not a multiple of codec.spatial_stride {stride}; "
                f"use {self.image_height // stride * stride}x{self.image_width // stride * stride}"
            )
        pairs = [
            ("video.latent_channels", self.video.latent_channels, "codec.channels", self.codec.channels),
            ("video.spatial_stride", self.video.spatial_stride, "codec.spatial_stride", stride),
            ("video.temporal_stride", self.video.temporal_stride, "codec.temporal_stride", self.codec.temporal_stride),
            ("video.text_width", self.video.text_width, "text.width", self.text.width),
        ]
        for name, value, other, wanted in pairs:
            if value != wanted:
                raise ValueError(f"{name} is {value} but {other} is {wanted}; set {name}={wanted}")
        if self.video.position_grid not in (None, self.grid):
            raise ValueError(f"video.position_grid is {self.video.position_grid} but the latent grid is {self.grid}")
        return self


def latent_frames(frames: int, temporal_stride: int) -> int:
    """Latent frames of a clip of `frames`; the codec takes 1 + k * temporal_stride frames. Raises ValueError."""
    if frames < 1 or (frames - 1) % temporal_stride:
        near = 1 + max(0, round((frames - 1) / temporal_stride)) * temporal_stride
        raise ValueError(f"a clip of {frames} frames does not fit the codec: use 1 + k*{temporal_stride}, e.g. {near}")
    return 1 + (frames - 1) // temporal_stride
