"""What a robot *is* to Orrery: joints, limits, cameras and clocks, read from `embodiments/<name>.json`."""

from __future__ import annotations

from functools import lru_cache
from importlib import resources

from pydantic import Field, model_validator

from data_contracts.base import Contract


class Camera(Contract):
    """A camera of the raw layout. `name` is AgiBot-World's (`head_color`, `hand_left_color`, ...)."""

    name: str
    width: int = Field(gt=0)
    height: int = Field(gt=0)


class Limits(Contract):
    """Per-joint limits, left arm then right. Radians and radians per second."""

    lower: tuple[float, ...]
    upper: tuple[float, ...]
    velocity: tuple[float, ...]


class Embodiment(Contract):
    """A two-armed robot. `tool_offset` is metres from the flange (what `state/end` reports) along its local z."""

    name: str = Field(pattern=r"^[a-z0-9_]+$")
    joints_per_arm: int = Field(ge=6, le=7)
    arms: Limits
    gripper_open: float = Field(description="`state/effector/position` when open, in the raw unit")
    gripper_closed: float
    head: Limits
    waist: Limits
    tool_offset: float
    cameras: tuple[Camera, ...] = Field(description="the policy's views first, in order: head, left, right hand")
    fps: int = 30
    source: str = Field(description="where the numbers come from")

    @model_validator(mode="after")
    def _widths(self) -> Embodiment:
        n = 2 * self.joints_per_arm
        for field in ("lower", "upper", "velocity"):
            got = len(getattr(self.arms, field))
            if got != n:
                raise ValueError(f"arms.{field} has {got} values; two arms of {self.joints_per_arm} joints need {n}")
        return self


@lru_cache
def load_embodiment(name: str) -> Embodiment:
    """The embodiment `name`. Raises ValueError that lists the known ones."""
    folder = resources.files("data_contracts") / "embodiments"
    file = folder / f"{name}.json"
    if not file.is_file():
        known = sorted(f.name.removesuffix(".json") for f in folder.iterdir() if f.name.endswith(".json"))
        raise ValueError(f"unknown embodiment {name!r}; known: {', '.join(known)}")
    return Embodiment.model_validate_json(file.read_text())
