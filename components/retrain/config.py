"""What the stages of a recurring retrain can be told."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from components.release.config import PolicyName
from data_contracts.base import Contract


class DropsConfig(Contract):
    """Where drops arrive: every folder in it is one, or it is one itself."""

    name: str = Field(default="uploaded", pattern=r"^[a-z0-9][a-z0-9._-]*$", description="the drops' name in the store")
    source: str = Field(min_length=1, description="a folder, a key prefix in the store, or the URL of another store")
    ready: str = Field(
        default="",
        description="a file that a complete drop holds, e.g. _SUCCESS: one without it waits for the next run",
    )


class DecideConfig(Contract):
    """When there is enough that is new to train on it, and how."""

    policy: str = PolicyName
    track: Literal["adapt", "full"] = Field(
        default="adapt", description="adapt the released policy's weights, or train from the beginning"
    )
    min_new_episodes: int = Field(default=1, ge=0, description="fewer wait for the next run")
    min_drift: float = Field(
        default=0.0, ge=0, description="largest shift of a mean action, in deviations; less waits for the next run"
    )


class NotifyConfig(Contract):
    """Whom a run tells how it ended. The address is a secret, so only the variable that holds it is named here."""

    policy: str = PolicyName
    webhook_env: str = Field(default="ORRERY_WEBHOOK", pattern=r"^[A-Z][A-Z0-9_]*$")
    timeout_s: float = Field(default=10.0, gt=0, le=60)
