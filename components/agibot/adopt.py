"""Takes a raw drop that lies somewhere already into the store: lists and hashes it, and lays it out for publishing.

What lies below `raw/` of the store already is referred to, and never copied: a tar may be larger than this disk.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from components.agibot.config import AdoptConfig
from components.agibot.drop import files_below
from components.store.api import Stat, Store
from components.store.errors import ConfigurationError
from components.store.files import hash_file
from components.store.keys import check_key
from components.store.open import open_store
from components.store.stage import Workspace
from components.telemetry.progress import progress
from data_contracts.base import fingerprint
from data_contracts.lineage import ObjectRef

RAW = "raw/"
"""Where robots upload, and what the intake may read."""


@dataclass(frozen=True)
class Found:
    """One file of the drop, and where it can be had from."""

    ref: ObjectRef
    local: Path | None = None
    key: str = ""

    def file(self, store: Store) -> Path:
        """A local file with these bytes."""
        return self.local if self.local is not None else store.fetch(self.key, self.ref.sha256)


@dataclass(frozen=True)
class Upload:
    """What lies at the source, hashed."""

    store: Store
    """the store that holds it, if it is not a folder"""
    files: tuple[Found, ...]

    @property
    def fingerprint(self) -> str:
        """Hash over paths, sizes and hashes: the fingerprint that the adopted version has."""
        refs = sorted((f.ref for f in self.files), key=lambda r: r.path)
        return fingerprint([[r.path, r.size, r.sha256] for r in refs])

    def lay_out(self, out: Path) -> None:
        """Links to every file below `out`, under the drop's own names."""
        for found in self.files:
            _link(out / found.ref.path, found.file(self.store))

    def lay_into(self, ws: Workspace) -> None:
        """The same for a stage's output, but for what its store has below `raw/`: that is referred to."""
        for found in self.files:
            if self.store.url == ws.store.url and found.key.startswith(RAW):
                ws.refer(found.ref.path, found.key, found.ref.size, found.ref.sha256)
            else:
                _link(ws.out / found.ref.path, found.file(self.store))


def _link(path: Path, target: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target.absolute())


def find_upload(store: Store, config: AdoptConfig) -> Upload:
    """What `config.source` names: a folder or tar here, else a store's URL (`store`'s too), else a prefix in `store`.

    Raises ConfigurationError if nothing is there, or if it is not what `config.fingerprint` promises.
    """
    source = config.source
    local = Path(source).expanduser()
    if source.startswith(store.url + "/"):
        prefix = source.removeprefix(store.url + "/")
        upload = _from_store(store, prefix, source)
    elif "://" in source:
        upload = _from_store(open_store(source), "", source)
    elif local.exists():
        upload = Upload(store, tuple(_hash_files(local)))
    elif local.is_absolute():  # which no prefix is
        upload = Upload(store, ())
    else:
        upload = _from_store(store, source, source)
    if not upload.files:
        raise ConfigurationError(
            f"{source} holds no file: it must be a file or folder here, a prefix in {store.url}, or the URL of a store "
            "that holds them"
        )
    if config.fingerprint not in ("", upload.fingerprint):
        raise ConfigurationError(
            f"{source} has the fingerprint {upload.fingerprint}, not {config.fingerprint} as asked for: it was changed "
            "or is not complete; upload it again, or ask for the fingerprint it has"
        )
    return upload


def _hash_files(source: Path) -> Iterator[Found]:
    files = list(files_below(source)) if source.is_dir() else [(source, source.name)]
    with progress(len(files), "hashing", "files") as bar:
        for path, name in files:
            check_key(name)
            yield Found(ObjectRef(path=name, size=os.stat(path).st_size, sha256=hash_file(path)), local=path)
            bar.advance()


def _from_store(store: Store, prefix: str, source: str) -> Upload:
    objects = list(store.list(prefix))
    start = prefix.rstrip("/") + "/" if prefix else ""
    if prefix and not objects and (single := store.stat(prefix.rstrip("/"))):
        objects, start = [single], prefix.rstrip("/").rpartition("/")[0] + "/"
    files = []
    with progress(len(objects), "hashing", "objects") as bar:
        for stat in objects:
            ref = ObjectRef(path=stat.key.removeprefix(start), size=stat.size, sha256=_hash(store, stat))
            files.append(Found(ref, key=stat.key))
            bar.advance()
    return Upload(store, tuple(files))


def _hash(store: Store, listed: Stat) -> str:
    """The object's hash: as stored with it, else of its bytes."""
    known = listed.sha256 or (found.sha256 if (found := store.stat(listed.key)) else None)
    if known:
        return known
    digest = hashlib.sha256()
    for chunk in store.stream(listed.key):
        digest.update(chunk)
    return digest.hexdigest()
