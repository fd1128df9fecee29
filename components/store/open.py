"""From a URL to a store: a folder for a newcomer, MinIO for a team."""

from __future__ import annotations

import os
from pathlib import Path

from components.store.api import Store
from components.store.errors import ConfigurationError

DEFAULT = ".orrery/store"


def open_store(url: str | None = None) -> Store:
    """The store at `url`: a folder, `file:///folder` or `s3://bucket/prefix`.

    Without a URL, `ORRERY_STORE` names it, else it is the folder `.orrery/store` here. Raises ConfigurationError for a
    URL that names no store, StoreError if it can't be reached.
    """
    url = url or os.environ.get("ORRERY_STORE") or DEFAULT
    scheme, separator, rest = url.partition("://")
    if separator and scheme == "s3":
        from components.store.s3 import S3Store

        return S3Store.open(url)
    if separator and scheme != "file":
        raise ConfigurationError(
            f"{url!r} names no store: use a folder or s3://bucket/prefix (ORRERY_STORE, or the store option)"
        )
    from components.store.folder import FolderStore

    return FolderStore(Path(rest if separator else url))
