"""What `orrery runs` shows of a stage: written beside the run, for people; nothing decides by it."""

from __future__ import annotations

import os
import sys
import time
from datetime import UTC, datetime

from components.store.api import Store
from components.store.errors import StoreError
from data_contracts.base import canonical_json
from data_contracts.lineage import StageStatus

TASK = "ORRERY_TASK"
"""Environment of a step: its task's name in the pipeline."""


def utc_now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def status_key(pipeline: str, run: str, stage: str) -> str:
    return f"runs/{pipeline}/{run}/stages/{stage}.json"


class StatusWriter:
    """Writes a stage's status where ORRERY_PIPELINE and ORRERY_RUN say, or nowhere outside a run."""

    def __init__(self, store: Store, stage: str, version: str = "", prefix: str = "") -> None:
        self._store = store
        self._pipeline = os.environ.get("ORRERY_PIPELINE", "")
        self._run = os.environ.get("ORRERY_RUN", "")
        task = os.environ.get(TASK, "")
        self._fields = {"name": stage, "task": task, "version": version, "prefix": prefix, "started_at": utc_now()}
        self._started = time.monotonic()

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
            self._store.overwrite(key, canonical_json(record).encode())
        except StoreError as error:
            print(f"warning: the status of {record.name} could not be written: {error}", file=sys.stderr, flush=True)
