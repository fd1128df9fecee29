"""What a run costs: the share of the cluster that a stage holds, for how long, and what a run may spend."""

from __future__ import annotations

from pydantic import Field

from data_contracts.base import Contract


class Share(Contract):
    """What a stage holds while it runs, whether it uses it or not: that is what others can't have meanwhile."""

    nodes: int = Field(default=1, ge=1)
    gpus: float = Field(default=0.0, ge=0, description="on each node")
    cpus: float = Field(default=0.0, ge=0, description="on each node")


class Hours(Contract):
    """GPU-hours and CPU-hours."""

    gpu_hours: float = Field(default=0.0, ge=0)
    cpu_hours: float = Field(default=0.0, ge=0)

    @classmethod
    def of(cls, share: Share, seconds: float) -> Hours:
        hours = share.nodes * max(0.0, seconds) / 3600
        return cls(gpu_hours=share.gpus * hours, cpu_hours=share.cpus * hours)

    def __add__(self, other: Hours) -> Hours:
        return Hours(gpu_hours=self.gpu_hours + other.gpu_hours, cpu_hours=self.cpu_hours + other.cpu_hours)


class Usage(Contract):
    """One attempt of a stage at its work: `runs/usage/<run>/<pipeline>.<stage>.<token>.json`.

    Written when it starts and again when it ends. What was found in the store has none: it cost nothing.
    """

    run: str
    pipeline: str
    stage: str
    share: Share
    started_at: str = Field(description="UTC, ISO 8601")
    seconds: float | None = Field(default=None, ge=0, description="None: it runs, or was killed")
    seen_at: str = Field(default="", description="UTC, ISO 8601: when a step on a cluster last said that it goes on")
    queued_seconds: float = Field(default=0.0, ge=0, description="of these, in a queue, where it holds nothing")
    queued_since: str = Field(default="", description="UTC, ISO 8601: it waits in a queue; '': it does not")


class Budget(Contract):
    """What a run may spend, and how long its stages are thought to take. None: as much as it takes."""

    gpu_hours: float | None = Field(default=None, gt=0)
    cpu_hours: float | None = Field(default=None, gt=0)
    seconds: dict[str, float] = Field(default_factory=dict, description="by stage: what it takes, as the recipe says")

    @property
    def limits(self) -> dict[str, float | None]:
        return {"GPU": self.gpu_hours, "CPU": self.cpu_hours}


def planned_seconds(estimates: dict[str, float], stage: str) -> float | None:
    """What a stage takes: `ge_act.evaluate` speaks for `ge_act.evaluate-policy` too. None if nobody said."""
    fitting = [name for name in estimates if stage == name or stage.startswith(f"{name}-")]
    return estimates[max(fitting, key=len)] if fitting else None
