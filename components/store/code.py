"""The fingerprint of a stage's source: a changed stage is another version. Files are hashed, nothing is imported."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from components.store.errors import ConfigurationError

_ROOT = Path(__file__).resolve().parents[2]
"""The folder that holds the packages `components`, `data_contracts` and `pipelines`."""
_SKIPPED = {"__pycache__", ".mypy_cache", ".ruff_cache"}


@lru_cache(maxsize=256)
def source_fingerprint(sources: tuple[str, ...]) -> str:
    """SHA-256 over the names and bytes of every file of `sources`: folders or files below the installed packages.

    Raises ConfigurationError if one is missing, since a stage whose code is not hashed would never run again.
    """
    digest = hashlib.sha256()
    for name, path in sorted(_files(sources).items()):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{name}\0{content}\n".encode())
    return digest.hexdigest()


def _files(sources: tuple[str, ...]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for source in sources:
        path = _ROOT / source
        if path.is_file():
            found[source] = path
            continue
        inside = [p for p in path.rglob("*") if p.is_file() and not _SKIPPED & set(p.parts) and p.suffix != ".pyc"]
        if not inside:
            raise ConfigurationError(f"the stage names its source {source!r}, but {path} holds no file")
        found.update({p.relative_to(_ROOT).as_posix(): p for p in inside})
    return found
