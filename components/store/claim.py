"""Who may publish a version now: one builder among all machines, for as long as it is alive.

The lock of `run_stage` keeps builders of one machine apart. Between machines a claim in the store does: a small object,
taken by compare-and-swap and refreshed while its holder lives. Whoever sees it stand still for a lease takes it over.
Clocks of machines are never compared.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import uuid
from collections.abc import Callable
from types import TracebackType

from components.store.api import Store
from components.store.errors import Conflict, NotFound, StoreError
from components.store.files import cache_root, temporary

LEASE_SECONDS = 90.0
_BEAT_SECONDS = 15.0
_LOOK_SECONDS = 1.0


class Claim:
    """The claim on `key`, once `take` returned true. Leaving the context gives it up."""

    def __init__(self, store: Store, key: str) -> None:
        self._store, self._key = store, key
        self._owner = _place()
        self._etag: str | None = None
        self._lost = False
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._beat = threading.Thread(target=self._keep, daemon=True)

    def take(self, give_up: Callable[[], bool], timeout: float) -> bool:
        """Wait for the claim; False as soon as `give_up()`. Raises StoreError after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        seen, since, told = "", time.monotonic(), False
        while not give_up():
            owner, etag = self._look()
            if etag != seen:
                seen, since = etag or "", time.monotonic()
            # an own claim was left by a killed process: the machine's lock proves that it is gone
            if etag is None or owner == self._owner or time.monotonic() - since > LEASE_SECONDS:
                if self._write(etag):
                    self._beat.start()
                    return True
                continue
            if time.monotonic() > deadline:
                raise StoreError(f"another machine has held {self._key} for {timeout:.0f} s; stop it, then start again")
            if not told:
                told = True
                print(f"another machine publishes {self._key}; waiting for it", file=sys.stderr, flush=True)
            time.sleep(_LOOK_SECONDS)
        return False

    def confirm(self) -> None:
        """Raises Conflict if somebody else took the claim over."""
        if self._lost or not self._write(self._etag):
            self._lost = True
            raise Conflict(f"{self._key} was taken over by another machine, since this one did not answer for a while")

    def __enter__(self) -> Claim:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._beat.is_alive():
            self._beat.join(LEASE_SECONDS)
        if self._etag is not None and not self._lost:
            try:
                self._store.delete(self._key)
            except StoreError as problem:  # it expires by itself
                print(f"warning: {self._key} could not be given up: {problem}", file=sys.stderr, flush=True)

    def _look(self) -> tuple[str, str | None]:
        """Owner and etag of the claim as it stands, etag None if nobody holds it."""
        try:
            data, etag = self._store.read_with_etag(self._key)
        except NotFound:
            return "", None
        try:
            return str(json.loads(data)["owner"]), etag
        except (ValueError, KeyError, TypeError):
            return "", etag

    def _write(self, etag: str | None) -> bool:
        with self._lock:
            value = json.dumps({"owner": self._owner, "beat": uuid.uuid4().hex}).encode()
            try:
                self._etag = self._store.replace(self._key, value, self._etag or etag).etag
            except Conflict:
                return False
            return True

    def _keep(self) -> None:
        while not self._stop.wait(_BEAT_SECONDS):
            try:
                if not self._write(self._etag):
                    self._lost = True
                    return
            except StoreError:
                continue  # an outage: `confirm` decides


def _place() -> str:
    """An identity of this machine's cache, made once: builders that share it share the lock too."""
    path = cache_root() / "place.id"
    try:
        return path.read_text()
    except FileNotFoundError:
        part = temporary(path.parent)
        part.write_text(uuid.uuid4().hex)
        try:
            os.link(part, path)
        except FileExistsError:
            pass
        finally:
            part.unlink(missing_ok=True)
        return path.read_text()
