"""What a report reads: the versions a run made or found, and the objects in them, verified and within a budget."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from components.store.api import Store
from components.store.errors import OrreryError
from components.store.records import load_record
from components.telemetry.report import Figure, Text, Tone, Video, media
from data_contracts.lineage import StageRecord, StageStatus
from pipelines import runs

Model = TypeVar("Model", bound=BaseModel)
LARGEST_MEDIA = 3 << 20
MEDIA_BUDGET = 24 << 20
"""Bytes of pictures and films in one report: it is sent around, and opened on phones."""


class Reader:
    """The versions of a run's stages, in the order in which the stages ran."""

    def __init__(self, store: Store, run: runs.Run):
        self.store, self.run = store, run
        self._left = MEDIA_BUDGET
        self.versions: list[tuple[StageStatus, StageRecord]] = []
        for _, status in run.stages:
            if status.prefix:
                record = self._record(status.prefix)
                if record is not None:
                    self.versions.append((status, record))

    def _record(self, prefix: str) -> StageRecord | None:
        try:
            return load_record(self.store, prefix)
        except OrreryError:
            return None

    def holding(self, path: str) -> Iterator[StageRecord]:
        """The run's versions that hold an object `path`."""
        for _, record in self.versions:
            if any(o.path == path for o in record.objects):
                yield record

    def read(self, record: StageRecord, path: str) -> bytes:
        """An object's bytes, checked against its hash. Raises KeyError, StoreError."""
        ref = record.object(path)
        return self.store.read(record.key_of(ref), ref.sha256)

    def parse(self, record: StageRecord, path: str, kind: type[Model]) -> Model | None:
        """An object as a contract; None if it is not one: a report shows what can be read."""
        try:
            return kind.model_validate_json(self.read(record, path))
        except (ValidationError, OrreryError, KeyError):
            return None

    def paths(self, record: StageRecord, prefix: str, *endings: str) -> list[str]:
        """Paths of a version under `prefix` with one of these endings, in order."""
        return sorted(o.path for o in record.objects if o.path.startswith(prefix) and o.path.endswith(endings))

    def media(self, record: StageRecord, path: str, caption: str, tone: Tone = "plain") -> Figure | Video | Text:
        """A picture or film, inlined if it fits the budget; else where it lies."""
        ref = record.object(path)
        if ref.size > min(LARGEST_MEDIA, self._left):
            return Text(f"{caption}: {ref.size / 1e6:.1f} MB, not shown here; it lies at {record.prefix}/{path}")
        self._left -= ref.size
        return media(path, self.read(record, path), caption, tone)

    def shown(self, record: StageRecord, paths: list[str], caption: str = "") -> list[Figure | Video]:
        """As many of these pictures and films as fit."""
        items = (self.media(record, path, caption or path.rsplit("/", 1)[-1]) for path in paths)
        return [item for item in items if not isinstance(item, Text)]
