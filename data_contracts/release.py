"""Releasing: the gate's decision, the channel pointers, and what the check of a served policy found."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from data_contracts.base import Contract
from data_contracts.lineage import InputRef

Channel = Literal["candidate", "canary", "production"]
CHANNELS: tuple[Channel, ...] = ("candidate", "canary", "production")


class Rule(Contract):
    """One rule of the gate: `value` compared with `threshold`, and the sentence a person reads."""

    name: str
    value: float | None = Field(description="None: the rule had nothing to compare with")
    threshold: float | None
    passed: bool
    sentence: str


class Decision(Contract):
    """`decision.json` of a gate: `passed` is true exactly when every rule passed."""

    policy: str
    model: InputRef = Field(description="the trained model that was judged")
    passed: bool
    rules: tuple[Rule, ...] = Field(min_length=1)
    production: InputRef | None = Field(default=None, description="evaluation of the policy it was compared with")

    @model_validator(mode="after")
    def _consistent(self) -> Decision:
        if self.passed != all(rule.passed for rule in self.rules):
            raise ValueError("`passed` contradicts the rules; a decision passes exactly when all of its rules pass")
        return self

    @property
    def failures(self) -> tuple[Rule, ...]:
        return tuple(rule for rule in self.rules if not rule.passed)


class Target(Contract):
    """A published policy version that a channel can name."""

    version: str = Field(pattern=r"^[0-9a-f]{16}$")
    prefix: str
    record_sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="hash of the bytes of its record.json")


class ChannelEntry(Contract):
    """One change of a channel. The log only grows: a rollback is an entry too."""

    action: Literal["promote", "rollback"]
    target: Target
    at: str = Field(description="UTC, ISO 8601")
    by: str = ""
    reason: str = ""


class ChannelPointer(Contract):
    """`channels/<policy>/<channel>.json`, changed only by compare-and-swap."""

    policy: str
    channel: Channel
    target: Target
    history: tuple[ChannelEntry, ...] = Field(min_length=1, description="oldest first; the last one set `target`")

    @model_validator(mode="after")
    def _consistent(self) -> ChannelPointer:
        if self.history[-1].target != self.target:
            raise ValueError("the last history entry does not name the channel's target")
        return self

    @property
    def stack(self) -> tuple[Target, ...]:
        """The targets a rollback can return to, oldest first; the last one is the current target."""
        stack: list[Target] = []
        for entry in self.history:
            if entry.action == "rollback":
                while stack and stack[-1] != entry.target:
                    stack.pop()
            if not stack or stack[-1] != entry.target:
                stack.append(entry.target)
        return tuple(stack)


class Latency(Contract):
    """Seconds from request to actions, over `requests` requests after the warm-up."""

    requests: int = Field(gt=0)
    p50: float
    p95: float
    p99: float


class CheckResult(Contract):
    """`result.json` of `release.check`: what a real Triton server answered, against the same policy in process."""

    policy: str
    version: str
    actions: tuple[int, int] = Field(description="steps and width of an answer")
    max_difference: dict[str, float] = Field(description="by protocol: largest |served - in process|, raw units")
    tolerance: float
    latency: dict[str, Latency] = Field(description="by protocol")
    ready_seconds: float = Field(description="from the server's start until the model was ready")
