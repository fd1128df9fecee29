"""A file of a drop: a plain file, or a member of a tar read in place. Nothing of a tar is ever unpacked."""

from __future__ import annotations

import hashlib
import io
import os
from dataclasses import dataclass
from pathlib import Path


class TooLarge(Exception):
    """The file is larger than what may be read of its kind."""


@dataclass(frozen=True)
class Blob:
    """`size` bytes from `offset` of the local file `path`. `name` is how messages call it, below the drop."""

    path: str
    offset: int
    size: int
    name: str

    @classmethod
    def of_file(cls, path: Path, name: str) -> Blob:
        return cls(os.fspath(path), 0, path.stat().st_size, name)

    def read(self, limit: int) -> bytes:
        """All bytes. Raises TooLarge beyond `limit`, OSError if the file ends before."""
        if self.size > limit:
            raise TooLarge(f"it has {self.size} bytes, more than the {limit} that are read")
        with open(self.path, "rb") as file:
            file.seek(self.offset)
            data = file.read(self.size)
        if len(data) != self.size:
            raise OSError(f"{self.name} ends after {len(data)} of {self.size} bytes")
        return data

    def open(self) -> io.BufferedReader:
        """A seekable stream of these bytes only."""
        return io.BufferedReader(_Window(self), 1 << 16)

    def sha256(self) -> str:
        """Hash of the bytes, in bounded memory."""
        with self.open() as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()


class _Window(io.RawIOBase):
    """The part of a file that a blob is, as a stream of its own."""

    def __init__(self, blob: Blob) -> None:
        super().__init__()
        self._file = open(blob.path, "rb", buffering=0)  # noqa: SIM115 - closed with this stream
        self._start, self._size, self._at = blob.offset, blob.size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError("seek before the start")
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        wanted = max(0, min(len(buffer), self._size - self._at))
        if wanted == 0:
            return 0
        self._file.seek(self._start + self._at)
        data = self._file.read(wanted)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()
