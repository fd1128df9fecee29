"""Uploading a finished version: objects first, its record last, one publisher at a time."""

from __future__ import annotations

import hashlib
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from components.store.api import Store
from components.store.claim import Claim
from components.store.errors import AlreadyExists, Conflict
from components.store.records import find_record, load_record, publish_record
from data_contracts.lineage import ObjectRef, StageRecord

UPLOADS = 4


def publish(store: Store, record: StageRecord, out: Path, timeout: float) -> StageRecord:
    """Upload the record's own objects from `out` and write it; the record that stands in the end (perhaps another's).

    Objects that an unfinished attempt left are kept if they are equal, else replaced: no record names them yet.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            return _publish_once(store, record, out, max(0.0, deadline - time.monotonic()))
        except Conflict:
            if time.monotonic() > deadline:
                raise


def _publish_once(store: Store, record: StageRecord, out: Path, timeout: float) -> StageRecord:
    def published() -> bool:
        return find_record(store, record.prefix) is not None

    with Claim(store, f"claims/{record.prefix}.json") as claim:
        if not claim.take(published, timeout):
            return load_record(store, record.prefix)
        own = [ref for ref in record.objects if not ref.key]
        with ThreadPoolExecutor(UPLOADS) as pool:
            for _ in pool.map(lambda ref: _put(store, claim, record.key_of(ref), ref, out), own):
                pass
        claim.confirm()
        return publish_record(store, record)


def _put(store: Store, claim: Claim, key: str, ref: ObjectRef, out: Path) -> None:
    try:
        store.create_file(key, out / ref.path, ref.sha256)
        return
    except AlreadyExists:
        if _hash(store, key) == ref.sha256:
            return
    claim.confirm()
    store.delete(key)
    try:
        store.create_file(key, out / ref.path, ref.sha256)
    except AlreadyExists as error:
        raise Conflict(f"{key} was written by another machine meanwhile") from error


def _hash(store: Store, key: str) -> str | None:
    found = store.stat(key)
    if found is None or found.sha256:
        return found.sha256 if found else None
    digest = hashlib.sha256()
    for chunk in store.stream(key):
        digest.update(chunk)
    return digest.hexdigest()
