"""What the intake is asked to do. Cheap to import: recipes and pipelines read it without HDF5 or video libraries."""

from __future__ import annotations

from pydantic import Field, field_validator, model_validator

from data_contracts.base import Contract
from data_contracts.profile import Profile, load_profile
from data_contracts.report import Decode


class IntakeConfig(Contract):
    """Validate a raw drop and publish what is good of it as a dataset version."""

    name: str = Field(default="episodes", pattern=r"^[a-z0-9][a-z0-9._-]*$", description="the dataset's name")
    embodiment: str = "agibot_g1"
    cameras: tuple[str, ...] = Field(
        default=("head_color", "hand_left_color", "hand_right_color"),
        min_length=1,
        description="every episode must have them; they are published, in this order",
    )
    calibration: bool = Field(default=True, description="every camera must have intrinsics and aligned extrinsics")
    repair: bool = Field(default=True, description="mend what can be mended provably; else such episodes are refused")
    decode: Decode = Field(default="full", description="sampled: decode a few key frames of a video; finds less")
    profile: Profile = Field(default_factory=Profile, description="thresholds of a robot or task; a name loads one")
    chunk: int = Field(default=54, ge=1, description="steps over which `relative` action statistics are taken")
    strips: int = Field(default=12, ge=0, description="episodes of which a film strip is kept for reports")
    shard: int = Field(
        default=200, ge=1, description="episodes that one shard examines; more, if there were more than 400 shards"
    )

    @field_validator("profile", mode="before")
    @classmethod
    def _load(cls, value: object) -> object:
        return load_profile(value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _known(self) -> IntakeConfig:
        embodiment = self.profile.robot(self.embodiment)  # its ValueError lists the known ones
        known = [camera.name for camera in embodiment.cameras]
        for camera in self.cameras:
            if camera not in known:
                raise ValueError(f"cameras names {camera!r}; {self.embodiment} has {', '.join(known)}")
        if len(set(self.cameras)) < len(self.cameras):
            raise ValueError(f"cameras names one camera twice: {', '.join(self.cameras)}; name each once")
        return self


class AdoptConfig(Contract):
    """Take a raw drop that lies somewhere already into the store's lineage."""

    name: str = Field(default="uploaded", pattern=r"^[a-z0-9][a-z0-9._-]*$", description="the drop's name")
    source: str = Field(min_length=1, description="a folder, a key prefix in the store, or the URL of another store")
    fingerprint: str = Field(
        default="",
        pattern=r"^([0-9a-f]{64})?$",
        description="hash over the drop's paths, sizes and hashes: '' takes what is there, else it must be this",
    )
