"""What the release stages can be told. Everything has a default that suits the `tiny` recipe."""

from __future__ import annotations

from pydantic import Field

from data_contracts.base import Contract

PolicyName = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", description="the name under which versions are published")


class GateConfig(Contract):
    """When a candidate may be published.

    Success is judged by the lower end of its 95 % Wilson interval, not by the point estimate: 2 of 3 is no evidence of
    a good policy, and a gate on the point estimate is passed by evaluating less. More episodes pass with a lower rate.
    """

    policy: str = PolicyName
    min_success: float = Field(default=0.0, ge=0, le=1, description="for the lower end of the success rate's interval")
    min_margin: float = Field(
        default=0.0, ge=-1, le=1, description="for the lower end of (policy - mean action), Newcombe's interval"
    )
    tasks_needed: int = Field(default=1, ge=1, description="on how many tasks the two rules above must hold")
    worse_alpha: float = Field(
        default=0.05, gt=0, lt=0.5, description="refused if one-sided Fisher's exact test against production is below"
    )
    max_drop: float = Field(default=0.15, ge=0, le=1, description="largest fall of the success rate below production's")
    max_latency_p95_s: float = Field(default=1.0, gt=0, description="from frames to actions, on this machine")
    latency_requests: int = Field(default=20, ge=5, le=1000)
    attempt: int = Field(default=0, ge=0, description="a decision is kept; another number measures the latency again")


class LanguageGateConfig(Contract):
    """When a language model may be published: on no set of problems is it worse than the others it is held against.

    Worse is what the 95 % interval of the paired difference proves, or a fall that few problems can't prove.
    """

    policy: str = PolicyName
    sets: tuple[str, ...] = Field(
        default=("test", "harder"), min_length=1, description="of problems, all of them judged"
    )
    max_drop: float = Field(default=0.05, ge=0, le=1, description="largest fall of avg@n on a set")


class PublishConfig(Contract):
    """Only the name: everything else about a policy was fixed when it was trained and evaluated."""

    policy: str = PolicyName


class CheckConfig(Contract):
    """How the served policy is compared with the same policy in process."""

    policy: str = PolicyName
    requests: int = Field(default=10, ge=3, le=1000, description="per protocol; a session's memory moves along")
    tolerance: float = Field(default=1e-3, gt=0, description="largest difference of an action (rad, m or 0..1)")
    ready_s: float = Field(default=180.0, gt=0, description="deadline for the server to load the policy")


class CandidateConfig(Contract):
    policy: str = PolicyName
