"""A TrainJob trains only while its step lives: the step renews a lease in the store, and the first node watches it.

A step deletes its TrainJob however it ends, unless it is killed without a word. That is what happens when a run is
terminated at Kubeflow Pipelines: KFP's launcher dies of Argo's SIGTERM at once, and the container with it. Such a
TrainJob would hold its GPUs until its run is deleted.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

from components.store.api import Store
from components.store.errors import NotFound, OrreryError, StoreError

BEAT_SECONDS = 30.0
LAPSE_SECONDS = 600.0
"""A lease that was not renewed for so long has lapsed: an API server or a store that is updated is away for less."""


class Lease:
    """Renews the lease at `key` while its context lasts. A store that is away is told, and asked again."""

    def __init__(self, store: Store, key: str) -> None:
        self._store, self._key = store, key
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)

    def __enter__(self) -> Lease:
        self._renew()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._thread.join(BEAT_SECONDS)

    def _run(self) -> None:
        while not self._over.wait(BEAT_SECONDS):
            self._renew()

    def _renew(self) -> None:
        try:
            self._store.overwrite(self._key, f"{time.time():.3f}\n".encode())
        except StoreError as error:
            print(f"warning: the TrainJob's lease could not be renewed: {error}", file=sys.stderr, flush=True)


def check(store: Store, key: str) -> None:
    """Raises OrreryError if the lease lapsed before this pod started; the nodes' clocks agree to a minute or so."""
    renewed = _read(store, key)
    age = time.time() - float(renewed) if renewed else 0.0
    if age > LAPSE_SECONDS:
        raise OrreryError(
            f"nobody waits for this training any more: its step did not renew {key} for {age:.0f} s; start the step "
            "again, it resumes from its last checkpoint"
        )


class Watch:
    """Whether somebody still renews the lease at `key`, by this machine's clock; when the store is away, time stops."""

    def __init__(self, store: Store, key: str) -> None:
        self._store, self._key = store, key
        self._last, self._since = "", time.monotonic()

    def lapsed(self) -> bool:
        try:
            renewed = _read(self._store, self._key)
        except StoreError:
            renewed = ""
        if not renewed or renewed != self._last:
            self._last, self._since = renewed, time.monotonic()
        return time.monotonic() - self._since > LAPSE_SECONDS


@contextmanager
def watching(store: Store, key: str, end: Callable[[], None]) -> Iterator[None]:
    """While this lasts, `end` is called, once, when the lease has lapsed."""
    over, watch = threading.Event(), Watch(store, key)

    def look() -> None:
        while not over.wait(BEAT_SECONDS):
            if watch.lapsed():
                print(f"nobody renews {key} any more: this training ends", file=sys.stderr, flush=True)
                end()
                return

    threading.Thread(target=look, name="lease-watch", daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _read(store: Store, key: str) -> str:
    """When it was renewed; '' if there is no lease, as a step of an older version makes none. Raises StoreError."""
    try:
        return store.read(key).decode().strip()
    except NotFound:
        return ""
