"""The head of a dataset: `datasets/<name>/head.json` names its last version, and is changed by compare-and-swap alone.

Drops are joined one after another: whoever joins one holds the dataset's claim meanwhile. A claim may be lost to a
machine that seemed dead, so it only spares work; that no episode is lost, the swap decides.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import ValidationError

from components.store.api import Store
from components.store.claim import Claim
from components.store.errors import Conflict, IntegrityError, NotFound
from components.store.files import cache_root, locked
from components.store.records import load_record, reference
from data_contracts.base import canonical_json
from data_contracts.lineage import RecordRef, StageRecord

_WAIT_SECONDS = 24 * 3600.0


def head_key(name: str) -> str:
    return f"datasets/{name}/head.json"


def read_head(store: Store, name: str) -> tuple[StageRecord | None, str | None]:
    """The last version of the dataset `name` and the head's etag; None and None if it has no head."""
    try:
        data, etag = store.read_with_etag(head_key(name))
    except NotFound:
        return None, None
    try:
        ref = RecordRef.model_validate_json(data)
    except ValidationError as error:
        raise IntegrityError(f"{head_key(name)} in {store.url} names no version; restore it") from error
    return load_record(store, ref.prefix, ref.sha256), etag


def move_head(store: Store, record: StageRecord, etag: str | None) -> bool:
    """Let the head name `record`, if it still has `etag` (None: if there is none). False if it was moved meanwhile."""
    try:
        store.replace(head_key(record.name), canonical_json(reference(store, record)).encode(), etag)
    except Conflict:
        return False
    return True


def make_head(store: Store, record: StageRecord) -> StageRecord:
    """Let a version of its own begin a dataset that has no head yet; one that has keeps it. Gives `record`."""
    if store.stat(head_key(record.name)) is None:
        move_head(store, record, None)
    return record


@contextmanager
def joining(store: Store, name: str) -> Iterator[None]:
    """Wait until nobody else joins a drop to the dataset `name`. Raises StoreError after a day."""
    place = hashlib.sha256(f"{store.url}/{name}".encode()).hexdigest()[:16]
    lock, claim = cache_root() / "joining" / f"{place}.lock", Claim(store, f"claims/datasets/{name}/head.json")
    with locked(lock, _WAIT_SECONDS), claim:
        claim.take(lambda: False, _WAIT_SECONDS)
        yield
