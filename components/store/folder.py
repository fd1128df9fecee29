"""A store in a folder: every object is a plain file at its key; hashes, locks and half-written files lie in `.store/`.

An object is made visible by one `link` (create) or `rename` (replace) of a file that was written and synced before. Its
hash is written first, under the key's lock; while an object is being replaced its hash file lists the old and the new
hash, so a reader at any moment, and after a kill at any moment, finds the hash of the bytes it reads.
"""

from __future__ import annotations

import hashlib
import os
import stat as modes
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from components.store.api import Stat
from components.store.errors import (
    AlreadyExists,
    ConfigurationError,
    Conflict,
    IntegrityError,
    NotFound,
    StoreError,
)
from components.store.files import (
    CHUNK,
    Verified,
    explain_os_error,
    locked,
    read_chunks,
    sync_folder,
    temporary,
    write_atomic,
    write_durably,
)
from components.store.keys import INTERNAL, check_key, check_prefix

_LOCK_SECONDS = 60.0
_LOCK_STRIPES = 256
_ABANDONED_SECONDS = 3600.0
_ABSENT = object()


class FolderStore:
    """`components.store.api.Store` over a folder on a local file system."""

    def __init__(self, root: Path) -> None:
        self.root = Path(os.path.realpath(root.expanduser()))
        self.url = str(self.root)
        self._internal = self.root / INTERNAL
        self._verified = Verified()
        if self.root.exists() and not self.root.is_dir():
            raise ConfigurationError(
                f"the store {self.root} is a file; set ORRERY_STORE to a folder or to s3://bucket/prefix"
            )
        self._sweep()

    def __repr__(self) -> str:
        return f"FolderStore({self.url!r})"

    # -- writing ---------------------------------------------------------------------------------------------------

    def create(self, key: str, data: bytes) -> Stat:
        path = self._path(key)
        if path.is_file():
            raise AlreadyExists(f"{key} is already in {self.url}; objects are never overwritten")
        return self._publish(key, iter((data,)), expect=None, sha256=None)

    def create_file(self, key: str, path: Path, sha256: str | None = None) -> Stat:
        if self._path(key).is_file():
            raise AlreadyExists(f"{key} is already in {self.url}; objects are never overwritten")
        return self._publish(key, read_chunks(path), expect=None, sha256=sha256)

    def replace(self, key: str, data: bytes, etag: str | None) -> Stat:
        try:
            return self._publish(key, iter((data,)), expect=etag, sha256=None)
        except AlreadyExists as error:
            raise Conflict(f"{key} was created by somebody else meanwhile; read it and decide again") from error

    def overwrite(self, key: str, data: bytes) -> Stat:
        return self._publish(key, iter((data,)), expect=_ABSENT, sha256=None)

    def delete(self, key: str) -> None:
        path = self._path(key)
        with self._explained(f"deleting {key}"), self._lock(key):
            path.unlink(missing_ok=True)
            self._hashes(key).unlink(missing_ok=True)
            self._prune(path.parent, self.root)
            self._prune(self._hashes(key).parent, self._internal)

    def _publish(self, key: str, chunks: Iterator[bytes], expect: object, sha256: str | None) -> Stat:
        """Write beside, then show at once. `expect`: None absent, an etag that, `_ABSENT` anything."""
        target = self._path(key)
        part = temporary(self._internal / "tmp")
        try:
            with self._explained(f"writing {key}"):
                size, digest = write_durably(part, chunks)
                if sha256 is not None and digest != sha256:
                    raise IntegrityError(f"{key}: the bytes to write have SHA-256 {digest}, not {sha256} as promised")
                os.chmod(part, 0o444)
                with self._lock(key):
                    self._show(key, part, target, digest, expect)
        finally:
            part.unlink(missing_ok=True)
        return Stat(key=key, size=size, etag=digest, sha256=digest)

    def _show(self, key: str, part: Path, target: Path, digest: str, expect: object) -> None:
        if target.is_dir():
            raise StoreError(f"{key} is a folder of other objects in {self.url}; choose another key")
        current = self.stat(key)
        if expect is None and current is not None:
            raise AlreadyExists(f"{key} is already in {self.url}; objects are never overwritten")
        if isinstance(expect, str) and (current is None or current.etag != expect):
            raise Conflict(f"{key} changed since it was read; read it again and decide again")
        self._make_folder(key, target)
        old = [current.sha256] if current and current.sha256 and current.sha256 != digest else []
        hashes = self._hashes(key)
        write_atomic(hashes, "\n".join([*old, digest]).encode())
        self._move(key, part, target, only_if_absent=expect is None)
        if old:
            write_atomic(hashes, digest.encode())

    def _move(self, key: str, part: Path, target: Path, only_if_absent: bool) -> None:
        for _ in range(10):
            try:
                (os.link if only_if_absent else os.replace)(part, target)
                sync_folder(target.parent)
                return
            except FileExistsError as error:
                raise AlreadyExists(f"{key} is already in {self.url}; objects are never overwritten") from error
            except FileNotFoundError:  # a delete of a neighbour pruned the folder that was just made
                self._make_folder(key, target)
        raise StoreError(f"writing {key}: its folder in {self.url} vanishes again and again")

    def _make_folder(self, key: str, target: Path) -> None:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise StoreError(f"{key} lies under another object of {self.url}; choose another key") from error

    # -- reading ---------------------------------------------------------------------------------------------------

    def read(self, key: str, sha256: str | None = None) -> bytes:
        data, digest = self._read(key)
        if sha256 is not None and digest != sha256:
            raise IntegrityError(f"{key} in {self.url} has SHA-256 {digest}, not {sha256} as promised")
        return data

    def read_with_etag(self, key: str) -> tuple[bytes, str]:
        for _ in range(100):
            data, digest = self._read(key)
            now = self.stat(key)
            if now is not None and now.sha256 in (digest, None):
                return data, now.etag
        raise StoreError(f"{key} in {self.url} changes faster than it can be read; try again")

    def read_range(self, key: str, start: int, length: int) -> bytes:
        if start < 0 or length < 0:
            raise ConfigurationError(f"read_range of {key}: start {start} and length {length} must not be negative")
        with self._explained(f"reading {key}"), open(self._file(key), "rb") as file:
            file.seek(start)
            return file.read(length)

    def stream(self, key: str, chunk_size: int = CHUNK) -> Iterator[bytes]:
        digest = hashlib.sha256()
        with self._explained(f"reading {key}"), open(self._file(key), "rb") as file:
            expected = self._known(key)
            opened = os.fstat(file.fileno())
            while chunk := file.read(chunk_size):
                digest.update(chunk)
                yield chunk
            if expected and digest.hexdigest() not in expected and self._same(key, opened):
                raise self._corrupt(key, digest.hexdigest(), expected)

    def fetch(self, key: str, sha256: str) -> Path:
        path = self._file(key)
        with self._explained(f"reading {key}"):
            digest = self._verified.hash(path)
        if digest != sha256:
            raise self._corrupt(key, digest, (sha256,))
        return path

    def stat(self, key: str) -> Stat | None:
        path = self._path(key)
        with self._explained(f"reading {key}"):
            try:
                status = os.stat(path)
            except (FileNotFoundError, NotADirectoryError):
                return None
            if not modes.S_ISREG(status.st_mode):
                return None
            known = self._known(key)
            if len(known) > 1:  # a replace was cut short, or is under way: the bytes say which it is
                known = (hashlib.sha256(path.read_bytes()).hexdigest(),)
        if known:
            return Stat(key=key, size=status.st_size, etag=known[0], sha256=known[0])
        # a file that somebody laid here by hand: it has no promised hash
        etag = f"{status.st_mtime_ns:x}-{status.st_size:x}-{status.st_ino:x}"
        return Stat(key=key, size=status.st_size, etag=etag, sha256=None)

    def list(self, prefix: str) -> Iterator[Stat]:
        prefix = check_prefix(prefix)
        folder = self._path(prefix) if prefix else self.root
        with self._explained(f"listing {prefix}"):
            for key in self._walk(folder, f"{prefix}/" if prefix else ""):
                found = self.stat(key)
                if found is not None:
                    yield found

    def _walk(self, folder: Path, prefix: str) -> Iterator[str]:
        try:
            with os.scandir(folder) as entries:
                here = [(e.name, e.is_dir(follow_symlinks=False), e.is_symlink()) for e in entries]
        except (FileNotFoundError, NotADirectoryError):
            return
        # 'a-b' sorts before 'a/b' as S3 sees it, so a folder sorts as its name with the slash
        for name, is_folder, is_link in sorted(here, key=lambda e: e[0] + "/" if e[1] else e[0]):
            if is_link or (not prefix and name == INTERNAL):
                continue
            if is_folder:
                yield from self._walk(folder / name, f"{prefix}{name}/")
            else:
                yield prefix + name

    def _read(self, key: str) -> tuple[bytes, str]:
        """The object and its hash, verified against the promised one."""
        with self._explained(f"reading {key}"):
            for _ in range(100):
                with open(self._file(key), "rb") as file:
                    opened = os.fstat(file.fileno())
                    data = file.read()
                expected = self._known(key)
                digest = hashlib.sha256(data).hexdigest()
                if not expected or digest in expected:
                    return data, digest
                if self._same(key, opened):
                    raise self._corrupt(key, digest, expected)
        raise StoreError(f"{key} in {self.url} changes faster than it can be read; try again")

    # -- places ----------------------------------------------------------------------------------------------------

    def _path(self, key: str) -> Path:
        path = self.root / check_key(key)
        if os.path.realpath(path) != str(path):
            raise StoreError(
                f"{key} passes a symbolic link in {self.url}; the store follows none, replace it by the files"
            )
        return path

    def _file(self, key: str) -> Path:
        path = self._path(key)
        if not path.is_file():
            raise NotFound(f"there is no {key} in {self.url}")
        return path

    def _hashes(self, key: str) -> Path:
        return self._internal / "sha256" / key

    def _known(self, key: str) -> tuple[str, ...]:
        """The promised hashes: one, two while it is being replaced, none for a file laid here by hand."""
        try:
            lines = self._hashes(key).read_text("ascii", errors="replace").split()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return ()
        return tuple(line for line in lines if len(line) == 64)

    def _same(self, key: str, opened: os.stat_result) -> bool:
        """Whether the file at `key` is still the one that was opened."""
        try:
            return os.path.samestat(os.stat(self._path(key)), opened)
        except FileNotFoundError:
            return False

    def _lock(self, key: str) -> AbstractContextManager[None]:
        stripe = int(hashlib.sha256(key.encode()).hexdigest(), 16) % _LOCK_STRIPES
        return locked(self._internal / "locks" / f"{stripe:02x}", _LOCK_SECONDS)

    def _corrupt(self, key: str, digest: str, expected: tuple[str, ...]) -> IntegrityError:
        return IntegrityError(
            f"{key} in {self.url} is damaged: its bytes have SHA-256 {digest}, not {expected[-1]} as written; "
            "restore it from a copy, or delete its version and run the stage again"
        )

    def _prune(self, folder: Path, stop: Path) -> None:
        """Remove folders that a delete left empty."""
        while folder != stop and stop in folder.parents:
            try:
                folder.rmdir()
            except OSError:
                return
            folder = folder.parent

    def _sweep(self) -> None:
        """Remove what killed writers left half-written: nobody writes to a file for an hour without touching it."""
        with suppress(OSError):  # nothing was written yet, or this store is for reading only
            for entry in os.scandir(self._internal / "tmp"):
                with suppress(FileNotFoundError):
                    if time.time() - entry.stat().st_mtime > _ABANDONED_SECONDS:
                        os.unlink(entry.path)

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise NotFound(f"{what}: {error.filename} is gone from {self.url}") from error
        except OSError as error:
            raise explain_os_error(error, what, self.url) from error
