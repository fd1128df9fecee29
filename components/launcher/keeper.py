"""Checkpoints of a training whose pods may vanish: each is copied to the store, and the newest comes back from there.

`checkpoints/<stage>/<version>/kept/step-<step>-<pod>/`: the files, and last `kept.json`, which names them. A training
that runs twice at once harms nobody: a sample is a function of seed and step, so both make the same checkpoints.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

from components.launcher.order import Piece, download
from components.store.api import Store
from components.store.errors import IntegrityError, NotFound, StoreError
from components.store.files import hash_file
from components.training.job import SNAPSHOTS
from data_contracts.base import Contract, canonical_json

LOOK_SECONDS = 2.0
_KEPT = "kept.json"


class Kept(Contract):
    """A whole checkpoint: the loop's folder of it, its log and its snapshots so far."""

    step: int
    pieces: tuple[Piece, ...]


class Keeper:
    """Copies each new checkpoint in `scratch` to the store while its context lasts; only the first node does."""

    def __init__(self, store: Store, prefix: str, scratch: Path) -> None:
        self._store, self._prefix, self._scratch = store, prefix, scratch
        self._mark = uuid.uuid4().hex[:8]
        self._step = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)

    def restore(self) -> int:
        """Put the newest whole checkpoint of the store into `scratch`; its step, 0 if there is none."""
        for folder in sorted(self._folders(), reverse=True):
            try:
                kept = Kept.model_validate_json(self._store.read(f"{folder}/{_KEPT}"))
                download(self._store, kept.pieces, self._scratch)
            except NotFound:  # a newer one came, and this one went
                continue
            except IntegrityError as error:
                print(f"warning: an older checkpoint is taken: {error}", file=sys.stderr, flush=True)
                continue
            self._step = kept.step
            return kept.step
        return 0

    def clear(self) -> None:
        """The training is over: its checkpoints are of no more use."""
        for folder in self._folders():
            self._remove(folder)

    def __enter__(self) -> Keeper:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        over = False
        while not over:  # once more after the end: a pod that is evicted has a minute
            over = self._over.wait(LOOK_SECONDS)
            try:
                self._keep_newest()
            except (FileNotFoundError, StoreError) as error:  # a newer one took its place; or none can be kept now
                if isinstance(error, StoreError):
                    print(f"warning: a checkpoint could not be kept: {error}", file=sys.stderr, flush=True)

    def _keep_newest(self) -> None:
        steps = sorted(int(path.name.removeprefix("checkpoint-")) for path in self._scratch.glob("checkpoint-*"))
        if not steps or steps[-1] <= self._step:
            return
        step = steps[-1]
        folder = f"{self._prefix}/kept/step-{step:09d}-{self._mark}"
        held = self._scratch / ".kept"
        shutil.rmtree(held, ignore_errors=True)
        try:
            for file in self._files(step):
                own = held / file.relative_to(self._scratch)
                own.parent.mkdir(parents=True, exist_ok=True)
                os.link(file, own)  # the loop removes a checkpoint as soon as it has a newer one
            pieces = []
            for file in sorted(path for path in held.rglob("*") if path.is_file()):
                path, digest = file.relative_to(held).as_posix(), hash_file(file)
                key = f"{folder}/{path}"
                if path.endswith(".jsonl"):  # it grows while it is read
                    data = file.read_bytes()
                    digest = self._store.create(key, data).sha256 or digest
                else:
                    self._store.create_file(key, file, digest)
                pieces.append(Piece(path=path, key=key, sha256=digest))
            self._store.create(f"{folder}/{_KEPT}", canonical_json(Kept(step=step, pieces=tuple(pieces))).encode())
        finally:
            shutil.rmtree(held, ignore_errors=True)
        self._step = step
        for other in self._folders():
            if other < f"{self._prefix}/kept/step-{step:09d}":
                self._remove(other)

    def _files(self, step: int) -> Iterator[Path]:
        for part in (f"checkpoint-{step}", SNAPSHOTS):
            yield from (path for path in sorted((self._scratch / part).glob("*")) if not path.name.startswith("."))
        yield from self._scratch.glob("losses.jsonl")

    def _folders(self) -> list[str]:
        """The key prefixes of the whole checkpoints."""
        found = self._store.list(f"{self._prefix}/kept/")
        return [stat.key.removesuffix(f"/{_KEPT}") for stat in found if stat.key.endswith(f"/{_KEPT}")]

    def _remove(self, folder: str) -> None:
        self._store.delete(f"{folder}/{_KEPT}")  # first: what is half gone must not be taken for whole
        for stat in list(self._store.list(f"{folder}/")):
            self._store.delete(stat.key)
