"""Records of published versions: written last, found by prefix, handed on by hash."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import ValidationError

from components.store.api import Store
from components.store.errors import AlreadyExists, ConfigurationError, IntegrityError, NotFound
from data_contracts.base import canonical_json
from data_contracts.lineage import InputRef, RecordRef, StageRecord

RECORD = "record.json"


def record_key(prefix: str) -> str:
    return f"{prefix}/{RECORD}"


def publish_record(store: Store, record: StageRecord) -> StageRecord:
    """Write the record: from now on the version exists. If somebody else was first, theirs is returned."""
    try:
        store.create(record_key(record.prefix), canonical_json(record).encode())
    except AlreadyExists:
        return load_record(store, record.prefix)
    return record


def load_record(store: Store, prefix: str, sha256: str | None = None) -> StageRecord:
    """The record of the version at `prefix`. Raises NotFound, IntegrityError."""
    try:
        data = store.read(record_key(prefix), sha256)
    except NotFound as error:
        raise NotFound(f"{store.url} holds no version {prefix}; run the stage that makes it first") from error
    try:
        record = StageRecord.model_validate_json(data)
    except ValidationError as error:
        raise IntegrityError(
            f"{record_key(prefix)} in {store.url} is not a stage record: {first_problem(error)}"
        ) from error
    if record.prefix != prefix:
        raise IntegrityError(
            f"{record_key(prefix)} in {store.url} describes {record.prefix}; it was put in the wrong place"
        )
    return record


def find_record(store: Store, prefix: str) -> StageRecord | None:
    """The record of the version at `prefix`, None if it was not published."""
    return load_record(store, prefix) if store.stat(record_key(prefix)) else None


def reference(store: Store, record: StageRecord) -> RecordRef:
    """What travels to the next stage: where the record lies, and the hash of its bytes as stored."""
    data = store.read(record_key(record.prefix))
    return RecordRef(prefix=record.prefix, sha256=hashlib.sha256(data).hexdigest())


def read_reference(store: Store, text: str) -> StageRecord:
    """The record that the RecordRef JSON `text` names, verified. Raises ConfigurationError for text that is none."""
    try:
        ref = RecordRef.model_validate_json(text)
    except ValidationError as error:
        raise ConfigurationError(f"{text[:80]!r} is no reference to a version: {first_problem(error)}") from error
    return load_record(store, ref.prefix, ref.sha256)


def read_input(store: Store, ref: InputRef) -> StageRecord:
    """The record of an input that lineage names. Raises IntegrityError if its bytes are not the ones that were used."""
    record = load_record(store, ref.prefix)
    if record.fingerprint != ref.fingerprint:
        raise IntegrityError(f"{ref.prefix} in {store.url} is not the version that was used: its objects differ")
    return record


def find_records(store: Store, kind: str, name: str | None = None, without: str = "") -> Iterator[StageRecord]:
    """Every published version of a kind, or of one name, in key order; not of names that end with `without`."""
    for found in store.list(f"{kind}/{name}" if name else kind):
        prefix, _, last = found.key.rpartition("/")
        if last == RECORD and prefix.count("/") == 2 and not (without and prefix.split("/")[1].endswith(without)):
            yield load_record(store, prefix)


def lay_out(store: Store, record: StageRecord, folder: Path, starts: Sequence[str]) -> Path:
    """Links in `folder` to verified local files with those objects of a version whose paths have one of `starts`."""
    folder.mkdir(parents=True, exist_ok=True)
    for ref in record.objects:
        if ref.path.startswith(tuple(starts)):
            (folder / ref.path).parent.mkdir(parents=True, exist_ok=True)
            (folder / ref.path).symlink_to(store.fetch(record.key_of(ref), ref.sha256).absolute())
    return folder


def first_problem(error: ValidationError) -> str:
    """The first complaint of a validation, in one line: field and reason."""
    problem = error.errors(include_url=False, include_context=False)[0]
    where = ".".join(str(part) for part in problem["loc"])
    return f"{where}: {problem['msg']}" if where else problem["msg"]
