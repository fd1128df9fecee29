"""What may be a key: one rule for every backend, so that what works in a folder works in MinIO."""

from __future__ import annotations

from components.store.errors import ConfigurationError

INTERNAL = ".store"
"""The folder backend keeps its locks, hashes and half-written files here; no key may start with it."""

_MAX_KEY = 900  # S3 allows 1024 bytes; the rest is room for the store's own prefix
_MAX_SEGMENT = 240  # file systems allow 255 bytes; the rest is room for temporary suffixes


def check_key(key: str) -> str:
    """`key` itself if it is a valid one. Raises ConfigurationError that says what is wrong with it."""
    problem = _problem(key)
    if problem:
        raise ConfigurationError(
            f"{key!r} is not an object key: {problem}. Keys are relative, '/'-separated, printable names."
        )
    return key


def check_prefix(prefix: str) -> str:
    """`prefix` without its last slash, '' for everything. Raises ConfigurationError."""
    return check_key(prefix.removesuffix("/")) if prefix else ""


def _problem(key: str) -> str | None:
    if not key:
        return "it is empty"
    if "\\" in key:
        return "it holds a backslash"
    if not key.isprintable():
        return "it holds a control, separator or other unprintable character"
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        return "it is not valid Unicode"
    if size > _MAX_KEY:
        return f"it is longer than {_MAX_KEY} bytes"
    segments = key.split("/")
    if segments[0] == "":
        return "it is absolute"
    if segments[0] == INTERNAL:
        return f"{INTERNAL!r} is the store's own"
    for segment in segments:
        if segment == "":
            return "it has an empty segment"
        if segment in (".", ".."):
            return f"it has a {segment!r} segment"
        if len(segment.encode()) > _MAX_SEGMENT:
            return f"it has a segment longer than {_MAX_SEGMENT} bytes"
    return None
