"""What `orrery runs` shows of a run's stages: written beside the run, for people; nothing decides by it."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from datetime import UTC, datetime

from components.store.api import Store
from components.store.cost import budget_here
from components.store.errors import AlreadyExists, StoreError
from data_contracts.base import canonical_json
from data_contracts.lineage import RunRecord, StageStatus

TASK, RUN_OF = "ORRERY_TASK", "ORRERY_RUN_OF"
"""Environment of a step: its task's name in the pipeline, and of what recipe its run is, as a RunRecord's fields."""


def utc_now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def status_key(pipeline: str, run: str, stage: str) -> str:
    return run_key(pipeline, run, f"stages/{stage}.json")


def run_key(pipeline: str, run: str, path: str = "run.json") -> str:
    return f"runs/{pipeline}/{run}/{path}"


def introduce(store: Store, pipeline: str, run: str) -> None:
    """Record the run of this step, if nobody has: a schedule, or a person at KFP, starts runs without asking us."""
    text = os.environ.get(RUN_OF, "")
    if not text:
        return
    told = json.loads(text)
    record = RunRecord(
        run=run, pipeline=pipeline, recipe=told["recipe"], policy=told["policy"], status="running",
        config=told["config"] | {"estimates": budget_here().seconds}, started_at=utc_now(),
    )  # fmt: skip
    with contextlib.suppress(AlreadyExists):
        store.create(run_key(pipeline, run), canonical_json(record).encode())


def conclude(store: Store, pipeline: str, run: str, problem: str) -> None:
    """Record how the run of this step ended; '' is well. Whoever follows it may do so again. Raises StoreError."""
    if os.environ.get(RUN_OF, ""):
        record = RunRecord.model_validate_json(store.read(run_key(pipeline, run)))
        lasted = (datetime.now(UTC) - datetime.fromisoformat(record.started_at)).total_seconds()
        state = "failed" if problem else "succeeded"
        ended = {"status": state, "message": problem, "seconds": round(lasted, 3)}
        store.overwrite(run_key(pipeline, run), canonical_json(record.model_copy(update=ended)).encode())


class StatusWriter:
    """Writes a stage's status where ORRERY_PIPELINE and ORRERY_RUN say, or nowhere outside a run."""

    def __init__(self, store: Store, stage: str, version: str = "", prefix: str = "") -> None:
        self._store = store
        self._pipeline = os.environ.get("ORRERY_PIPELINE", "")
        self._run = os.environ.get("ORRERY_RUN", "")
        task = os.environ.get(TASK, "")
        self._fields = {"name": stage, "task": task, "version": version, "prefix": prefix, "started_at": utc_now()}
        self._started = time.monotonic()
        self._introduced = False

    def write(self, status: str, message: str = "", seconds: float | None = None) -> None:
        """Never fails a stage: a status that can't be written is one warning on stderr."""
        if not (self._pipeline and self._run):
            return
        elapsed = time.monotonic() - self._started if seconds is None else seconds
        record = StageStatus.model_validate(
            {**self._fields, "status": status, "message": message, "seconds": round(elapsed, 3)}
        )
        key = status_key(self._pipeline, self._run, record.name)
        try:
            if not self._introduced:
                introduce(self._store, self._pipeline, self._run)
                self._introduced = True
            self._store.overwrite(key, canonical_json(record).encode())
        except StoreError as error:
            print(f"warning: the status of {record.name} could not be written: {error}", file=sys.stderr, flush=True)
