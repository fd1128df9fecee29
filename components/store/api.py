"""The one interface to objects: a folder and MinIO behave alike behind it, under concurrency and under outages.

Keys are relative, `/`-separated, without `.` or `..` segments; none may lie under another object's key (a folder can't
hold both). Every object carries the SHA-256 of its bytes, checked
when it is written and when it is read back. Every call is safe to
repeat; retries live in `components.store.retry` alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Stat:
    """What is known of an object without reading it. `etag` changes whenever the object does."""

    key: str
    size: int
    etag: str
    sha256: str | None


class Store(Protocol):
    """Objects by key. Raises only `components.store.errors`."""

    url: str
    """What `ORRERY_STORE` would be to reach this store again, without credentials."""

    def create(self, key: str, data: bytes) -> Stat:
        """Write an immutable object. Raises AlreadyExists if the key is taken (even by equal bytes)."""

    def create_file(self, key: str, path: Path, sha256: str | None = None) -> Stat:
        """`create` from a file, streamed in bounded memory. Raises IntegrityError if `sha256` is given and differs."""

    def replace(self, key: str, data: bytes, etag: str | None) -> Stat:
        """Compare-and-swap: write only if the object still has `etag` (None: only if absent). Raises Conflict."""

    def overwrite(self, key: str, data: bytes) -> Stat:
        """Write whatever is there. Only for status records (`runs/…`), never for artifacts."""

    def read(self, key: str, sha256: str | None = None) -> bytes:
        """The whole object, verified. Raises NotFound, IntegrityError."""

    def read_with_etag(self, key: str) -> tuple[bytes, str]:
        """The whole object and its etag, for a later `replace`."""

    def read_range(self, key: str, start: int, length: int) -> bytes:
        """`length` bytes from `start` (shorter at the end of the object). Not verified: a part has no hash."""

    def stream(self, key: str, chunk_size: int = 1 << 20) -> Iterator[bytes]:
        """The object in chunks, in bounded memory; raises IntegrityError after the last chunk if the hash differs."""

    def fetch(self, key: str, sha256: str) -> Path:
        """A verified, read-only local file with these bytes, cached by content (a folder may return its own file)."""

    def stat(self, key: str) -> Stat | None:
        """None if there is no such object."""

    def list(self, prefix: str) -> Iterator[Stat]:
        """Objects under a prefix in key order (`sha256` may be None here)."""

    def delete(self, key: str) -> None:
        """Remove an object if it is there. For checkpoints and scratch; artifacts are never deleted by a stage."""
