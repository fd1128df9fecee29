"""What runs cost, by stage, run, policy or team: GPU-hours and CPU-hours, planned and used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, get_args

from components.store.api import Store
from components.store.cost import read_usage, spent
from components.store.errors import ConfigurationError
from data_contracts.cost import Hours, Usage, planned_seconds
from pipelines import runs

By = Literal["stage", "run", "policy", "team"]
WAYS: tuple[By, ...] = get_args(By)
NOBODY = "-"
"""The team or policy of runs whose recipe names none."""


@dataclass(frozen=True, slots=True)
class Cost:
    """The hours of a stage, a run, a policy or a team. `planned` is None where no stage has an estimate."""

    name: str
    used: Hours
    planned: Hours | None
    attempts: int

    def document(self) -> dict[str, object]:
        planned = self.planned
        return {
            "name": self.name, "gpu_hours": round(self.used.gpu_hours, 6), "cpu_hours": round(self.used.cpu_hours, 6),
            "planned_gpu_hours": None if planned is None else round(planned.gpu_hours, 6),
            "planned_cpu_hours": None if planned is None else round(planned.cpu_hours, 6),
            "attempts": self.attempts,
        }  # fmt: skip


def of_run(store: Store, run: runs.Run) -> list[Cost]:
    """What each stage of a run cost, in the order in which they started. What was found in the store cost nothing."""
    return _summed([(f"{u.pipeline}/{u.stage}", u, h, p) for u, h, p in _priced(run, read_usage(store, run.run))])


def of_all(store: Store, by: str) -> list[Cost]:
    """What all runs cost, the dearest first. Raises ConfigurationError for an unknown way to sum up."""
    way = next((w for w in WAYS if w == by), None)
    if way is None:
        raise ConfigurationError(f"costs are summed by {', '.join(WAYS)}, not by {by!r}")
    usages: dict[str, list[Usage]] = {}
    for usage in read_usage(store):
        usages.setdefault(usage.run, []).append(usage)
    rows = [
        (_name(way, run, u), u, h, p)
        for run in runs.read_all(store)
        for u, h, p in _priced(run, usages.get(run.run, ()))
    ]
    return sorted(_summed(rows), key=lambda cost: (cost.used.gpu_hours, cost.used.cpu_hours), reverse=True)


def total(costs: Iterable[Cost]) -> Hours:
    return sum((cost.used for cost in costs), Hours())


def _priced(run: runs.Run, usages: Iterable[Usage]) -> list[tuple[Usage, Hours, Hours | None]]:
    """Each attempt with what it cost and, once for each stage, what the recipe had planned."""
    ended = _end(run)
    estimates = run.head.config.get("estimates")
    told: set[tuple[str, str]] = set()
    out = []
    for usage, hours in spent(usages, ended):
        seconds = planned_seconds(estimates, usage.stage) if isinstance(estimates, dict) else None
        stage = (usage.pipeline, usage.stage)
        first = seconds is not None and stage not in told
        out.append((usage, hours, Hours.of(usage.share, seconds) if first and seconds is not None else None))
        told.add(stage)
    return out


def _end(run: runs.Run) -> datetime | None:
    """When the run ended; None while it goes on, or if its record does not tell."""
    if run.head.status == "running":
        return None
    try:
        return datetime.fromisoformat(run.head.started_at) + timedelta(seconds=run.head.seconds)
    except ValueError:
        return None


def _summed(rows: Iterable[tuple[str, Usage, Hours, Hours | None]]) -> list[Cost]:
    sums: dict[str, Cost] = {}
    for name, _, used, planned in rows:
        so_far = sums.get(name, Cost(name, Hours(), None, 0))
        both = [part for part in (so_far.planned, planned) if part is not None]
        plan = sum(both, Hours()) if both else None
        sums[name] = Cost(name, so_far.used + used, plan, so_far.attempts + 1)
    return list(sums.values())


def _name(by: By, run: runs.Run, usage: Usage) -> str:
    config = run.head.config
    if by == "stage":
        return usage.stage
    if by == "run":
        return run.run
    if by == "team":
        return _text(config, "cluster", "team")
    return run.head.policy or _text(config, "policy")


def _text(config: Mapping[str, Any], *path: str) -> str:
    node: Any = config
    for key in path:
        node = node.get(key) if isinstance(node, Mapping) else None
    return node if isinstance(node, str) and node else NOBODY
