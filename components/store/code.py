"""The fingerprint of a stage's source: a changed stage is another version. Files are hashed, nothing is imported.

A pipeline is compiled on one machine and runs in images that were built on another. The compiled steps carry the
fingerprints of the code that they were compiled from, and a stage whose image holds other code says so.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from components.store.errors import ConfigurationError

_ROOT = Path(__file__).resolve().parents[2]
"""The folder that holds the packages `components`, `data_contracts` and `pipelines`."""
_SKIPPED = {"__pycache__", ".mypy_cache", ".ruff_cache"}
_NOT_CODE = {".pyc", ".md"}

COMPILED_FROM = "ORRERY_CODE"
"""The environment variable of a compiled step with `folder_fingerprints()` of the pipeline's code, as JSON."""


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
        inside = [
            p for p in path.rglob("*") if p.is_file() and not _SKIPPED & set(p.parts) and p.suffix not in _NOT_CODE
        ]
        if not inside:
            raise ConfigurationError(f"the stage names its source {source!r}, but {path} holds no file")
        found.update({p.relative_to(_ROOT).as_posix(): p for p in inside})
    return found


@lru_cache(maxsize=1)
def folder_fingerprints() -> dict[str, str]:
    """The first 12 digits of the fingerprint of each folder that stages name as their source: `components/agibot`, …"""
    folders = [f"components/{init.parent.name}" for init in (_ROOT / "components").glob("*/__init__.py")]
    return {folder: source_fingerprint((folder,))[:12] for folder in (*sorted(folders), "data_contracts")}


def other_code(sources: Iterable[str] | None = None) -> str:
    """How this image's code differs from what the pipeline was compiled from, and the mend; '' where it does not.

    Only folders that hold one of `sources` count (None: all of them). What was not compiled is never refused.
    Raises ConfigurationError if the compiled fingerprints can't be read.
    """
    text = os.environ.get(COMPILED_FROM)
    if not text:
        return ""
    try:
        compiled = {str(folder): str(digest) for folder, digest in json.loads(text).items()}
    except (ValueError, AttributeError) as error:
        raise ConfigurationError(
            f"{COMPILED_FROM} is not the JSON that `orrery compile` writes ({error}); compile again"
        ) from error
    here = folder_fingerprints()
    looked_at = here.keys() if sources is None else {_folder(source) for source in sources}
    differ = [
        f"{folder} ({here.get(folder, 'absent')} here, {compiled[folder]} there)"
        for folder in sorted(looked_at)
        if folder in compiled and compiled[folder] != here.get(folder)
    ]
    if not differ:
        return ""
    image, revision = os.environ.get("ORRERY_IMAGE") or "this image", os.environ.get("ORRERY_REVISION") or "unknown"
    return (
        f"{image}, built of commit {revision}, holds other code than the pipeline was compiled from, in "
        f"{', '.join(differ)}; build the image from the commit that the pipeline was compiled from (make images), or "
        "compile the pipeline from the image's commit"
    )


def _folder(source: str) -> str:
    """The key of `folder_fingerprints()` below which a source lies."""
    return "/".join(source.split("/")[:2]) if source.startswith("components/") else source.split("/")[0]
