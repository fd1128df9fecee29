"""Counts what a stage holds of the cluster while it works, and refuses to start one that the budget does not cover.

Usage lies beside the run's record, one object per attempt: a retry is counted, and a killed attempt is not lost.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from components.store.api import Store
from components.store.errors import ConfigurationError, NotFound, OrreryError, StoreError
from data_contracts.base import canonical_json
from data_contracts.cost import Budget, Hours, Share, Usage, planned_seconds

Setting = TypeVar("Setting", Budget, Share)
SHARE, BUDGET = "ORRERY_SHARE", "ORRERY_BUDGET"
"""Environment of a step: a `Share` and a `Budget`, as JSON."""


class OverBudget(OrreryError):
    """A stage would spend more than the run's budget has left."""


@contextlib.contextmanager
def metered(store: Store, stage: str) -> Iterator[None]:
    """Count the block as the stage's work, within a run; outside of one nothing is counted.

    Raises OverBudget before the block starts. A usage that can't be written is one warning on stderr.
    """
    pipeline, run = os.environ.get("ORRERY_PIPELINE", ""), os.environ.get("ORRERY_RUN", "")
    if not (pipeline and run):
        yield
        return
    share = share_here()
    require_budget(store, run, stage, share)
    usage = Usage(run=run, pipeline=pipeline, stage=stage, share=share, started_at=datetime.now(UTC).isoformat())
    key, started = f"{usage_prefix(run)}{pipeline}.{stage}.{secrets.token_hex(4)}.json", time.monotonic()
    _write(store, key, usage)
    try:
        yield
    finally:
        _write(store, key, usage.model_copy(update={"seconds": round(time.monotonic() - started, 3)}))


def usage_prefix(run: str = "") -> str:
    """Where the usage of a run lies, or of all runs."""
    return f"runs/usage/{run}/" if run else "runs/usage/"


def read_usage(store: Store, run: str = "") -> list[Usage]:
    """Every attempt of a run, or of all runs, oldest first. What can't be read is left out."""
    found = []
    for stat in store.list(usage_prefix(run)):
        with contextlib.suppress(ValidationError, NotFound):
            found.append(Usage.model_validate_json(store.read(stat.key)))
    return sorted(found, key=lambda usage: usage.started_at)


def spent(usages: Iterable[Usage], until: datetime | None = None) -> list[tuple[Usage, Hours]]:
    """What each attempt cost. One that was killed lasted until the stage's next attempt, or `until` (default: now)."""
    ordered = sorted(usages, key=lambda usage: usage.started_at)
    out = []
    for n, usage in enumerate(ordered):
        seconds = usage.seconds
        if seconds is None:
            again = (u.started_at for u in ordered[n + 1 :] if (u.pipeline, u.stage) == (usage.pipeline, usage.stage))
            end = next((datetime.fromisoformat(at) for at in again), until or datetime.now(UTC))
            seconds = (end - datetime.fromisoformat(usage.started_at)).total_seconds()
        out.append((usage, Hours.of(usage.share, seconds)))
    return out


def require_budget(store: Store, run: str, stage: str, share: Share) -> None:
    """Raises OverBudget if the run has less left than the stage is thought to take."""
    budget = _setting(BUDGET, Budget) or Budget()
    limits = {"GPU": budget.gpu_hours, "CPU": budget.cpu_hours}
    if not any(limits.values()):
        return
    used = sum((hours for _, hours in spent(read_usage(store, run))), Hours())
    planned = Hours.of(share, planned_seconds(budget.seconds, stage) or 0.0)
    for what, limit in limits.items():
        name = f"{what.lower()}_hours"
        before, more = getattr(used, name), getattr(planned, name)
        if limit is not None and before + more > limit:
            raise OverBudget(
                f"{stage} would take about {more:.4g} {what}-hours, but the run has used {before:.4g} of its budget of "
                f"{limit:.4g}; raise cluster.budget_{name}, or shorten the run. What is finished is kept"
            )


def share_here() -> Share:
    """What this step holds: as the pipeline was placed, else the whole machine, as steps take turns there."""
    placed = _setting(SHARE, Share)
    if placed is not None:
        return placed
    gpus = sum(path.name[6:].isdigit() for path in Path("/dev").glob("nvidia*"))
    return Share(cpus=len(os.sched_getaffinity(0)), gpus=gpus)


def _setting(name: str, kind: type[Setting]) -> Setting | None:
    text = os.environ.get(name, "")
    try:
        return kind.model_validate_json(text) if text else None
    except ValidationError as error:
        raise ConfigurationError(f"{name} holds no {kind.__name__}: {error.errors()[0]['msg']}; unset it") from None


def _write(store: Store, key: str, usage: Usage) -> None:
    try:
        store.overwrite(key, canonical_json(usage).encode())
    except StoreError as error:
        print(f"warning: what {usage.stage} costs could not be counted: {error}", file=sys.stderr, flush=True)
