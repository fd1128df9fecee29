"""Action spaces and their forms: what the numbers of an action mean, in which frame and unit.

Spaces (reference: AgiBot-World and Genie Envisioner, `data/utils/get_actions.py` facts):

- `joint`: per arm its joint angles (rad) then the gripper command (0 open .. 1 closed); left arm first.
  16 wide for two 7-joint arms (`joint16`), 14 for two 6-joint arms.
- `eef14`: per arm flange position xyz (m, robot base frame), extrinsic-xyz Euler angles (rad), gripper (0..1).

Forms: `absolute` a_t; `delta` a_t - a_{t-1}; `relative` a_t - state at the chunk's start.
Grippers stay absolute in all.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from data_contracts.base import Contract

Space = Literal["joint", "eef14"]
Form = Literal["absolute", "delta", "relative"]


class Normalisation(Contract):
    """Z-score per dimension: `(x - mean) / std`, with `std` floored when it was computed, never zero."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @model_validator(mode="after")
    def _usable(self) -> Normalisation:
        if len(self.mean) != len(self.std):
            raise ValueError(f"mean has {len(self.mean)} values and std {len(self.std)}; they must match")
        if any(s <= 0 for s in self.std):
            raise ValueError("std must be positive in every dimension; floor constant dimensions at 1e-3 or more")
        return self


class ActionSchema(Contract):
    """How a policy's action chunk is to be read."""

    space: Space
    form: Form
    width: int = Field(gt=0)
    names: tuple[str, ...]
    chunk: int = Field(default=54, gt=0, description="steps per chunk, at `rate_hz`")
    rate_hz: float = Field(default=30.0, gt=0)
    action: Normalisation
    state: Normalisation

    @model_validator(mode="after")
    def _widths(self) -> ActionSchema:
        got = {len(self.names), len(self.action.mean), len(self.state.mean)}
        if got != {self.width}:
            raise ValueError(f"width is {self.width}, but names, action and state statistics have {sorted(got)} values")
        return self


def action_names(space: Space, joints_per_arm: int) -> tuple[str, ...]:
    """Names of an action's dimensions, left arm first."""
    if space == "eef14":
        parts = ["x", "y", "z", "roll", "pitch", "yaw", "gripper"]
    else:
        parts = [f"joint{i + 1}" for i in range(joints_per_arm)] + ["gripper"]
    return tuple(f"{side}_{part}" for side in ("left", "right") for part in parts)


def gripper_dims(space: Space, joints_per_arm: int) -> tuple[int, int]:
    """Indices of the two gripper dimensions, left then right."""
    per_arm = 7 if space == "eef14" else joints_per_arm + 1
    return per_arm - 1, 2 * per_arm - 1


def angle_dims(space: Space) -> tuple[int, ...]:
    """Indices of dimensions that are Euler angles in (-pi, pi]: their differences are to be wrapped into it."""
    return (3, 4, 5, 10, 11, 12) if space == "eef14" else ()
