"""A file of a drop: a plain file, an object in a store, or a member of a tar in either, read in place.

Nothing of a tar is ever unpacked. Of an object only the bytes that are asked for are read, by range.
"""

from __future__ import annotations

import hashlib
import io
import os
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from components.store.api import Store
from components.store.errors import IntegrityError
from components.store.files import temporary
from components.store.open import open_store

_PIECE = 8 << 20
"""Bytes of one request: a large member is fetched in pieces, so that memory stays bounded."""


class TooLarge(Exception):
    """The file is larger than what may be read of its kind."""


@dataclass(frozen=True)
class Blob:
    """`size` bytes from `offset` of `path`. `name` is how messages call it, below the drop."""

    path: str
    offset: int
    size: int
    name: str
    store: str = ""
    """the URL of the store in which `path` is a key; '' if it is a local file"""
    identity: str = ""
    """what the bytes are without reading them, where that is known: their hash, or a tar's hash and the place in it"""

    @classmethod
    def of_file(cls, path: Path, name: str) -> Blob:
        return cls(os.fspath(path), 0, path.stat().st_size, name)

    def member(self, name: str, offset: int, size: int) -> Blob:
        """A member of this blob, which is a tar: `size` bytes from `offset`."""
        identity = f"{self.identity}:{offset}:{size}" if self.identity else ""
        return replace(self, offset=self.offset + offset, size=size, name=f"{self.name}:{name}", identity=identity)

    def read(self, limit: int) -> bytes:
        """All bytes. Raises TooLarge beyond `limit`, OSError if the file ends before."""
        if self.size > limit:
            raise TooLarge(f"it has {self.size} bytes, more than the {limit} that are read")
        with self.open() as file:
            data = file.read(self.size)
        if len(data) != self.size:
            raise OSError(f"{self.name} ends after {len(data)} of {self.size} bytes")
        return data

    def raw(self) -> io.RawIOBase:
        """A seekable stream of these bytes only, without a buffer: each read is one request."""
        return _Window(self)

    def open(self) -> io.BufferedReader:
        """A seekable, buffered stream of these bytes only."""
        return io.BufferedReader(_Window(self), min(_PIECE, max(self.size, 1)) if self.store else 1 << 16)

    def sha256(self) -> str:
        """Hash of the bytes, in bounded memory."""
        with self.open() as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()

    def equals(self, other: Blob) -> bool:
        """Whether both hold the same bytes; read only if that is not known."""
        if self.size != other.size:
            return False
        return bool(self.identity and self.identity == other.identity) or self.sha256() == other.sha256()

    def bring(self, path: Path) -> Blob:
        """The same bytes in the local file `path`. Raises StoreError, and IntegrityError if they are not those."""
        part, digest, size = temporary(path.parent), hashlib.sha256(), 0
        with self.open() as stream, open(part, "wb") as file:
            while piece := stream.read(_PIECE):
                file.write(piece)
                digest.update(piece)
                size += len(piece)
        known = len(self.identity) == 64  # a member's own hash is not known before it was read
        if size != self.size or (known and digest.hexdigest() != self.identity):
            part.unlink()
            raise IntegrityError(f"{self.name} is not what was adopted: {self.path} was changed; adopt the drop again")
        os.replace(part, path)
        return replace(self, path=os.fspath(path), offset=0, store="")


@lru_cache(maxsize=4)
def opened(url: str) -> Store:
    """One connection per process and store."""
    return open_store(url)


class _Window(io.RawIOBase):
    """The part of a file or object that a blob is, as a stream of its own."""

    def __init__(self, blob: Blob) -> None:
        super().__init__()
        self._blob, self._at = blob, 0
        self._file = None if blob.store else open(blob.path, "rb", buffering=0)  # noqa: SIM115 - closed with this

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._blob.size}[whence]
        if base + offset < 0:
            raise OSError("seek before the start")
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        wanted = max(0, min(len(buffer), self._blob.size - self._at))
        if wanted == 0:
            return 0
        data = self._read(self._blob.offset + self._at, wanted)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def _read(self, start: int, length: int) -> bytes:
        if self._file is None:
            return opened(self._blob.store).read_range(self._blob.path, start, length)
        self._file.seek(start)
        return self._file.read(length)

    def close(self) -> None:
        if not self.closed and self._file is not None:
            self._file.close()
        super().close()
