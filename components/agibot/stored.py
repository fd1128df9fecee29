"""A drop that lies in a store: its files by reference, its tars by an index of their headers, kept beside the datasets.

`datasets/tar-indices/<hash of the tar>-<hash of its name>.json` is made once per tar, by whoever needs it first.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from components.agibot.blob import Blob
from components.agibot.drop import Drop, EpisodeSource, inventory, open_drop
from components.agibot.examine import Job, stem
from components.agibot.tar_index import TarIndex, index_blob
from components.store.api import Store
from components.store.errors import AlreadyExists, ConfigurationError, IntegrityError, NotFound
from components.store.folder import FolderStore
from components.store.open import open_store
from data_contracts.lineage import ObjectRef, StageRecord

INDICES = "datasets/tar-indices"
_FORMAT = "1"
"""Raised when an index of the same tar would hold something else."""
_AHEAD = 4
"""Episodes that are fetched while others are examined."""
_INDEX = TypeAdapter(TarIndex)


def open_adopted(store: Store, raw: StageRecord) -> Drop:
    """The inventory of an adopted drop. Of tars, only headers are read; of other files, only task_info.

    Raises StoreError, and IntegrityError if a tar is not the one that was adopted.
    """
    return inventory((_blob(store, raw, ref) for ref in raw.objects), lambda tar: index_of(store, tar))


def open_source(source: str, store: Callable[[], Store] = open_store) -> Drop:
    """The inventory of a drop that nobody adopted: a folder or tar here, `s3://bucket/prefix`, or a place in `store`.

    Of tars in a store, only headers are read. Raises ConfigurationError if nothing is there, StoreError.
    """
    local, scheme = Path(source).expanduser(), "://" in source
    if not scheme and (local.exists() or local.is_absolute()):
        return open_drop(local)
    above, _, name = source.rstrip("/").rpartition("/")
    place = open_store(above) if scheme else store()
    prefix = name if scheme else source.strip("/")
    found = list(place.list(prefix + "/"))
    if not found and (single := place.stat(prefix)):
        found, prefix = [single], prefix.rpartition("/")[0]
    if not found:
        raise ConfigurationError(
            f"{source} is not there: it must be a folder or tar here, s3://bucket/prefix, or a place in {place.url}"
        )
    names = ((stat, stat.key.removeprefix(prefix + "/") if prefix else stat.key) for stat in found)
    return inventory(_object(place, stat.key, stat.size, name) for stat, name in names)


def _blob(store: Store, raw: StageRecord, ref: ObjectRef) -> Blob:
    key = raw.key_of(ref)
    if ref.path.endswith(".tar"):  # of other files, all bytes are read, and then checked
        found = store.stat(key)
        if found is None or found.size != ref.size or found.sha256 not in (None, ref.sha256):
            raise IntegrityError(f"{ref.path} is not what was adopted: {key} was changed; adopt the drop again")
    return _object(store, key, ref.size, ref.path, ref.sha256)


def _object(store: Store, key: str, size: int, name: str, identity: str = "") -> Blob:
    """An object as a blob: in a folder's store it is a local file."""
    if isinstance(store, FolderStore):
        return Blob(os.fspath(store.root / key), 0, size, name, identity=identity)
    return Blob(key, 0, size, name, store.url, identity)


def index_of(store: Store, tar: Blob) -> TarIndex:
    """The index of a tar whose hash is its identity: from the store, else made and kept there."""
    name = hashlib.sha256(f"{_FORMAT} {tar.name}".encode()).hexdigest()[:8]
    key = f"{INDICES}/{tar.identity}-{name}.json"
    with suppress(NotFound, ValidationError):
        return _INDEX.validate_json(store.read(key))
    index = index_blob(tar)
    with suppress(AlreadyExists):
        store.create(key, _INDEX.dump_json(index))
    return index


class Jobs(Sequence[Job]):
    """Jobs whose episodes are brought to this machine shortly before they are needed; a context manager.

    It is not done by the process that examines an episode: an outage of the store must not be held against it.
    """

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._jobs = jobs
        self._coming: dict[int, Future[Job]] = {}
        self._pool = ThreadPoolExecutor(_AHEAD)

    def __len__(self) -> int:
        return len(self._jobs)

    def __getitem__(self, number):  # type: ignore[no-untyped-def, override] # never sliced
        for n in range(number, min(number + _AHEAD, len(self._jobs))):
            if n not in self._coming:
                self._coming[n] = self._pool.submit(bring, self._jobs[n])
        return self._coming[number].result()

    def __enter__(self) -> Jobs:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(cancel_futures=True)


def bring(job: Job) -> Job:
    """The job with every file that it uses on this machine, below its scratch folder."""
    blobs = job.source.used(job.settings.cameras)
    if not any(blob.store for blob in blobs.values()):
        return job
    folder = fetched(Path(job.scratch or job.folder), job.source)
    folder.mkdir(parents=True, exist_ok=True)
    parts = {tree: dict(files) for tree, files in job.source.parts.items()}
    for (tree, path), blob in blobs.items():
        parts[tree][path] = blob.bring(folder / hashlib.sha256(f"{tree}/{path}".encode()).hexdigest()[:32])
    return replace(job, source=replace(job.source, parts=parts))


def fetched(work: Path, source: EpisodeSource) -> Path:
    """The folder with an episode's files that were brought here."""
    path = stem(work, source.task_id, source.episode_id)
    return path.with_name(path.name + ".raw")


def forget(work: Path, source: EpisodeSource) -> None:
    """Free the room of what was brought here."""
    shutil.rmtree(fetched(work, source), ignore_errors=True)


def local_video(work: Path, source: EpisodeSource, camera: str) -> Blob | None:
    """A camera's video, on this machine: brought here now if a killed start's is gone."""
    blob = source.video(camera)
    if blob is None or not blob.store:
        return blob
    path = fetched(work, source) / hashlib.sha256(f"observations/videos/{camera}.mp4".encode()).hexdigest()[:32]
    if path.exists():
        return replace(blob, path=os.fspath(path), offset=0, store="")
    path.parent.mkdir(parents=True, exist_ok=True)
    return blob.bring(path)
