"""Counts what a stage holds of the cluster while it works, refuses to start one that the budget does not cover, and
stops one under which it runs out.

Usage lies beside the run's record, one object per attempt: a retry is counted, and a killed attempt is not lost.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple, TypeVar

from pydantic import ValidationError

from components.store.api import Store
from components.store.errors import ConfigurationError, NotFound, OrreryError, StoreError
from data_contracts.base import canonical_json
from data_contracts.cost import Budget, Hours, Share, Usage, planned_seconds

Setting = TypeVar("Setting", Budget, Share)
SHARE, BUDGET = "ORRERY_SHARE", "ORRERY_BUDGET"
"""Environment of a step: a `Share` and a `Budget`, as JSON."""
_meters: list[_Meter] = []
BEAT_SECONDS = 300.0
"""A step on a cluster says so often that it goes on: nobody else may notice that it was killed."""
LOOK_SECONDS = 30.0
"""Between looks at what the run has used, while a stage works."""


class OverBudget(OrreryError):
    """A stage would spend more than the run's budget has left."""


@contextlib.contextmanager
def metered(store: Store, stage: str) -> Iterator[None]:
    """Count the block as the stage's work, within a run; outside of one nothing is counted.

    Raises OverBudget before the block starts, or in its middle. A usage that can't be written is one warning on stderr.
    """
    pipeline, run = os.environ.get("ORRERY_PIPELINE", ""), os.environ.get("ORRERY_RUN", "")
    if not (pipeline and run):
        yield
        return
    share = share_here()
    require_budget(store, run, stage, share)
    usage = Usage(run=run, pipeline=pipeline, stage=stage, share=share, started_at=datetime.now(UTC).isoformat())
    meter = _Meter(store, f"{usage_prefix(run)}{pipeline}.{stage}.{secrets.token_hex(4)}.json", usage)
    _meters.append(meter)
    try:
        with _bounded(store, run, stage, share):
            yield
    finally:
        _meters.remove(meter)
        meter.end()


def queued(waits: bool) -> None:
    """Tell whether the stage that is metered waits in a queue from now on: it does not hold its share then."""
    if _meters:
        _meters[-1].queue(waits)


class _Meter:
    """Writes the usage of one attempt, whenever there is news of it."""

    def __init__(self, store: Store, key: str, usage: Usage) -> None:
        self._store, self._key, self._usage = store, key, usage
        self._started = time.monotonic()
        self._over, self._lock = threading.Event(), threading.Lock()
        self._write()
        if os.environ.get(SHARE):
            threading.Thread(target=self._beat, name="meter", daemon=True).start()

    def queue(self, waits: bool) -> None:
        since = self._usage.queued_since
        if waits == bool(since):
            return
        now = datetime.now(UTC)
        if waits:
            self._write(queued_since=now.isoformat())
        else:
            waited = (now - datetime.fromisoformat(since)).total_seconds()
            self._write(queued_since="", queued_seconds=self._usage.queued_seconds + max(0.0, waited))

    def end(self) -> None:
        self._over.set()
        self.queue(False)
        self._write(seconds=round(time.monotonic() - self._started, 3))

    def _beat(self) -> None:
        while not self._over.wait(BEAT_SECONDS):
            self._write(seen_at=datetime.now(UTC).isoformat())

    def _write(self, **changes: object) -> None:
        with self._lock:
            if self._usage.seconds is not None:
                return  # a late beat
            self._usage = self._usage.model_copy(update=changes)
            try:
                self._store.overwrite(self._key, canonical_json(self._usage).encode())
            except StoreError as error:
                what = f"what {self._usage.stage} costs could not be counted"
                print(f"warning: {what}: {error}", file=sys.stderr, flush=True)


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
    """What each attempt cost. One that was killed lasted until the stage's next attempt, or `until` (default: now), but
    not much longer than it was heard of."""
    ordered = sorted(usages, key=lambda usage: usage.started_at)
    out = []
    for n, usage in enumerate(ordered):
        seconds = usage.seconds
        if seconds is None:
            again = (u.started_at for u in ordered[n + 1 :] if (u.pipeline, u.stage) == (usage.pipeline, usage.stage))
            end = next((datetime.fromisoformat(at) for at in again), until or datetime.now(UTC))
            if usage.seen_at:
                end = min(end, datetime.fromisoformat(usage.seen_at) + timedelta(seconds=2 * BEAT_SECONDS))
            seconds = (end - datetime.fromisoformat(usage.started_at)).total_seconds()
            if usage.queued_since:
                seconds -= (end - datetime.fromisoformat(usage.queued_since)).total_seconds()
        out.append((usage, Hours.of(usage.share, seconds - usage.queued_seconds)))
    return out


def require_budget(store: Store, run: str, stage: str, share: Share) -> None:
    """Raises OverBudget if the run has less left than the stage is thought to take."""
    budget = budget_here()
    seconds = planned_seconds(budget.seconds, stage) or 0.0
    if lack := _lacking(store, run, budget, Hours.of(share, seconds)):
        raise OverBudget(
            f"{stage} would take about {lack.more:.4g} {lack.what}-hours, but the run has used {lack.used:.4g} of its "
            f"budget of {lack.limit:.4g}; {lack.mend}"
        )


@contextlib.contextmanager
def _bounded(store: Store, run: str, stage: str, share: Share) -> Iterator[None]:
    """OverBudget in the middle of the block, before the run has used more than its budget: an estimate may be wrong or
    missing, and stages of one run may work at the same time. Only the main thread can be stopped so."""
    budget, over, lock = budget_here(), threading.Event(), threading.Lock()
    if not any(budget.limits.values()) or threading.current_thread() is not threading.main_thread():
        yield
        return
    lack: _Lack | None = None

    def look() -> None:
        nonlocal lack
        while not over.wait(LOOK_SECONDS):
            with contextlib.suppress(StoreError):  # a store that is away is asked again
                lack = _lacking(store, run, budget, Hours.of(share, LOOK_SECONDS))
            if lack is None:
                continue
            with lock:
                if not over.is_set():
                    signal.pthread_kill(main, signal.SIGUSR1)
            over.wait(4 * LOOK_SECONDS)  # time to take a TrainJob away; then again, lest somebody have swallowed it

    def stop(*_: object) -> None:
        if lack and not over.is_set():
            raise OverBudget(
                f"{stage} was stopped: the run has used {lack.used:.4g} {lack.what}-hours of its budget of "
                f"{lack.limit:.4g}; {lack.mend}, and a training goes on from its last checkpoint"
            )

    main, before = threading.get_ident(), signal.signal(signal.SIGUSR1, stop)
    threading.Thread(target=look, name="budget", daemon=True).start()
    try:
        yield
    finally:
        over.set()
        with lock:  # from here on nobody sends the signal, which would end this process
            signal.signal(signal.SIGUSR1, before)


class _Lack(NamedTuple):
    """What a run lacks: it has `used` hours of `limit`, and needs `more`."""

    what: str
    used: float
    more: float
    limit: float

    @property
    def mend(self) -> str:
        return f"raise cluster.budget_{self.what.lower()}_hours, or shorten the run. What is finished is kept"


def _lacking(store: Store, run: str, budget: Budget, more: Hours) -> _Lack | None:
    """What the run would lack, were it to use `more`. Raises StoreError."""
    if not any(budget.limits.values()):
        return None
    used = sum((hours for _, hours in spent(read_usage(store, run))), Hours())
    for what, limit in budget.limits.items():
        name = f"{what.lower()}_hours"
        lack = _Lack(what, getattr(used, name), getattr(more, name), limit or 0.0)
        if limit is not None and lack.used + lack.more > limit:
            return lack
    return None


def budget_here() -> Budget:
    """What the run of this step may spend, as its pipeline was placed; no limits else."""
    return _setting(BUDGET, Budget) or Budget()


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
