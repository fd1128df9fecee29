"""Runs as the store remembers them: ids, records, stages, and what `orrery runs` says of them.

`runs/<pipeline>/<run>/run.json` is one pipeline's part of a run; `orrery demo` runs several pipelines under one run id
and adds a part of its own, `runs/demo/<run>/run.json`, that speaks for the whole.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from components.store.api import Store
from components.store.errors import ConfigurationError, IntegrityError, NotFound
from components.store.status import run_key, status_key
from data_contracts.base import canonical_json
from data_contracts.lineage import RunRecord, StageStatus

if TYPE_CHECKING:
    from pipelines.recipes.base import Recipe

GROUP = "demo"
INTERRUPTED = "the run was interrupted; start it again, finished stages are not repeated"
_ENDED = {"status": "failed", "message": INTERRUPTED}
"""What a record that still says `running` says of a run that is gone."""
_UNREADABLE = (ValidationError, NotFound, IntegrityError)
_RUN_KEY = re.compile(r"^runs/([a-z0-9_]+)/([A-Za-z0-9._-]+)/(run\.json|stages/[A-Za-z0-9._-]+\.json)$")


@dataclass(frozen=True)
class Run:
    """One run: its parts by pipeline, in the order in which they started; its stages are read when asked for."""

    run: str
    parts: tuple[RunRecord, ...]
    store: Store
    keys: tuple[tuple[str, str], ...]
    """(pipeline, key) of every stage's status."""

    @cached_property
    def stages(self) -> tuple[tuple[str, StageStatus], ...]:
        """(pipeline, status) of every stage, in the order in which they ended, else started."""
        stages: list[tuple[str, StageStatus]] = []
        for pipeline, stage_key in self.keys:
            with contextlib.suppress(*_UNREADABLE):
                stages.append((pipeline, StageStatus.model_validate_json(self.store.read(stage_key))))
        ended = [(part.pipeline, name) for part in self.parts for name in part.stages]
        place = {stage: i for i, stage in enumerate(ended)}
        stages.sort(key=lambda item: (place.get((item[0], item[1].name), len(place)), item[1].started_at))
        if self.head.status != "running":
            stages = [(p, s.model_copy(update=_ENDED) if s.status == "running" else s) for p, s in stages]
        return tuple(stages)

    @property
    def head(self) -> RunRecord:
        """The part that speaks for the whole: the group's if there is one."""
        return next((part for part in self.parts if part.pipeline == GROUP), self.parts[0])

    def document(self) -> dict[str, object]:
        """What `orrery runs show --json` prints."""
        stages = [s.model_dump(include={"name", "status", "seconds", "version"}) for _, s in self.stages]
        return {"run": self.run, "pipeline": self.head.pipeline, "status": self.head.status, "stages": stages}

    def summary(self) -> dict[str, object]:
        """One entry of `orrery runs list --json`."""
        head = self.head
        return {"run": self.run, "pipeline": head.pipeline, "recipe": head.recipe, "status": head.status,
                "started_at": head.started_at, "seconds": head.seconds, "stages": len(self.keys)}  # fmt: skip


def new_id(recipe: str) -> str:
    """A run id that sorts by time and says its recipe."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{recipe}-{secrets.token_hex(2)}"


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def begun(run: str, pipeline: str, recipe: Recipe) -> RunRecord:
    """The record of a run that starts now."""
    return RunRecord(
        run=run, pipeline=pipeline, recipe=recipe.name, policy=recipe.judged(),
        config=json.loads(canonical_json(recipe)), status="running", started_at=now(),
    )  # fmt: skip


def write(store: Store, record: RunRecord) -> None:
    store.overwrite(run_key(record.pipeline, record.run), canonical_json(record).encode())


def write_stage(store: Store, pipeline: str, run: str, status: StageStatus) -> None:
    store.overwrite(status_key(pipeline, run, status.name), canonical_json(status).encode())


def read_all(store: Store) -> list[Run]:
    """Every run, newest first. A record that cannot be read is left out: a status never stops a listing."""
    parts: dict[str, list[RunRecord]] = {}
    stage_keys: dict[str, list[tuple[str, str]]] = {}
    for found in store.list("runs/"):
        match = _RUN_KEY.match(found.key)
        if not match:
            continue
        pipeline, run, tail = match.groups()
        if tail == "run.json":
            with contextlib.suppress(*_UNREADABLE):
                part = RunRecord.model_validate_json(store.read(found.key))
                parts.setdefault(run, []).append(part)
        else:
            stage_keys.setdefault(run, []).append((pipeline, found.key))
    return sorted(
        (_assemble(store, run, records, stage_keys.get(run, [])) for run, records in parts.items()),
        key=lambda run: (run.head.started_at, run.run),
        reverse=True,
    )


def find(store: Store, name: str = "last") -> Run:
    """The run `name`, `last`, or the one run whose id starts with `name`.

    Raises:
        ConfigurationError: there is none, or several; the message says which there are.
    """
    runs = read_all(store)
    if not runs:
        raise ConfigurationError(f"there are no runs in {store.url}; `orrery demo` makes one")
    if name == "last":
        return runs[0]
    fitting = [run for run in runs if run.run == name] or [run for run in runs if run.run.startswith(name)]
    if len(fitting) != 1:
        which = "several runs start" if fitting else "no run starts"
        listed = ", ".join(run.run for run in (fitting or runs)[:8])
        raise ConfigurationError(f"{which} with {name!r}; there are: {listed}")
    return fitting[0]


def _assemble(store: Store, run: str, parts: list[RunRecord], keys: list[tuple[str, str]]) -> Run:
    parts = sorted(parts, key=lambda part: part.started_at)
    if any(part.status == "running" for part in parts) and not is_alive(run):
        parts = [part.model_copy(update=_ENDED) if part.status == "running" else part for part in parts]
    return Run(run, tuple(parts), store, tuple(keys))


# A run of this machine holds a lock on a file of its own for as long as its process lives, however it dies.


def home() -> Path:
    """Where this machine keeps what is its own: locks, logs, reports."""
    return Path(os.environ.get("ORRERY_HOME", ".orrery"))


@contextlib.contextmanager
def alive(run: str) -> Iterator[None]:
    """Mark `run` as running here, until the end of the block or of this process."""
    path = home() / "locks" / f"{run}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    path.unlink(missing_ok=True)  # not after a failure: a run whose end could not be recorded must not look alive


def is_alive(run: str) -> bool:
    """Whether `run` may still be running: not if it was started on this machine and its process is gone."""
    try:
        with (home() / "locks" / f"{run}.lock").open("r") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return True  # it runs on another machine, or did
    return False
