"""Local files, done safely: hashing in bounded memory, atomic writes, locks with deadlines, the cache's place."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from components.store.errors import StoreError

CHUNK = 1 << 20


def cache_root() -> Path:
    """Where downloads, scratch and locks lie on this machine: `ORRERY_CACHE`, else `~/.cache/orrery`."""
    given = os.environ.get("ORRERY_CACHE")
    base = Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "orrery"
    return base.expanduser().absolute()


def hash_file(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Verified:
    """Remembers which files were hashed by this process, so that each is read once while it does not change."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[tuple[int, int, int], str]] = {}

    def hash(self, path: Path) -> str:
        status = os.stat(path)
        identity = (status.st_ino, status.st_size, status.st_mtime_ns)
        known = self._seen.get(str(path))
        if known and known[0] == identity:
            return known[1]
        digest = hash_file(path)
        self._seen[str(path)] = (identity, digest)
        return digest


def temporary(folder: Path) -> Path:
    """A new name in `folder` that no other process or thread uses."""
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{os.getpid()}-{uuid.uuid4().hex}.part"


def write_durably(path: Path, chunks: Iterator[bytes | memoryview]) -> tuple[int, str]:
    """Write `chunks` to a new file and fsync it; the size and the SHA-256 of what was written."""
    digest, size = hashlib.sha256(), 0
    with open(path, "xb") as file:
        for chunk in chunks:
            file.write(chunk)
            digest.update(chunk)
            size += len(chunk)
        file.flush()
        os.fsync(file.fileno())
    return size, digest.hexdigest()


def read_chunks(path: Path, chunk_size: int = CHUNK) -> Iterator[bytes]:
    with open(path, "rb") as file:
        while chunk := file.read(chunk_size):
            yield chunk


def sync_folder(folder: Path) -> None:
    """Make renames and links in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomic(path: Path, data: bytes) -> None:
    """Write a small file so that readers see all of it or the old one."""
    part = temporary(path.parent)
    try:
        part.write_bytes(data)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


_held: set[int] = set()


def _drop_locks_in_child() -> None:
    """A forked worker must not keep its parent's locks alive when the parent is killed."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_drop_locks_in_child)


@contextmanager
def locked(path: Path, timeout: float, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold an exclusive lock between processes and threads; the kernel frees it when its holder dies.

    `waiting` is called once if somebody else holds it. Raises StoreError after `timeout` seconds.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    _held.add(descriptor)
    try:
        _acquire(descriptor, path, timeout, waiting)
        yield
    finally:
        if descriptor in _held:  # not in a forked child, which has closed it already
            _held.discard(descriptor)
            os.close(descriptor)


_OWNED = ".owned"
"""Marks a scratch folder whose owner has locked it: without it, a folder is too new to judge, or not ours."""


@contextmanager
def scratch_folder(name: str = "") -> Iterator[Path]:
    """A new folder `orrery-{name}…` below the system's temporary one, for the length of the block.

    A killed process leaves its folder behind. So each is locked by its owner while that lives, and who makes a new one
    first removes those that nobody holds.
    """
    for folder in Path(tempfile.gettempdir()).glob("orrery-*"):
        with suppress(OSError):  # another user's, held, or gone meanwhile
            _remove_if_left(folder)
    folder = Path(tempfile.mkdtemp(prefix=f"orrery-{name}"))
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    _held.add(descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        (folder / _OWNED).touch()
        yield folder
    finally:
        if descriptor in _held:  # not in a forked child: the folder is its parent's
            shutil.rmtree(folder, ignore_errors=True)
            _held.discard(descriptor)
            os.close(descriptor)


def _remove_if_left(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if os.fstat(descriptor).st_uid == os.geteuid() and (folder / _OWNED).exists():
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, path: Path, timeout: float, waiting: Callable[[], None] | None) -> None:
    deadline, pause, told = time.monotonic() + timeout, 0.001, False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EINTR):
                raise
        if time.monotonic() > deadline:
            raise StoreError(
                f"another process has held the lock {path} for {timeout:.0f} s; end it, or start again later"
            )
        if waiting and not told:
            waiting()
            told = True
        time.sleep(pause)
        pause = min(2 * pause, 0.1 if timeout < 600 else 1.0)


def explain_os_error(error: OSError, what: str, where: str) -> StoreError:
    """The message a person needs for a failed file operation."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreError(f"{what}: the disk that holds {where} is full; free some space there, or use another disk")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return StoreError(f"{what}: no permission to write or read in {where}; mend its owner or mode")
    return StoreError(f"{what}: {error.strerror or error} ({where})")
