"""The registry: published versions, and the channels that name one of them each.

`models/<policy>/<version>/` is immutable; `channels/<policy>/<channel>.json` is the only thing that ever changes, by
compare-and-swap. A rollback moves one pointer, so it takes as long as one small write. A language model is published,
promoted and rolled back as a policy is, under its name.
"""

from __future__ import annotations

import getpass
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import ValidationError

from components.store.api import Store
from components.store.errors import ConfigurationError, Conflict, IntegrityError, NotFound, OrreryError
from components.store.records import find_records, first_problem, load_record, read_input, reference
from data_contracts.base import canonical_json
from data_contracts.lineage import StageRecord
from data_contracts.release import CHANNELS, Channel, ChannelEntry, ChannelPointer, Decision, Target

PUBLISH_STAGE = "release.publish"
GATE_STAGE = "release.gate"
CHECK_STAGE = "release.check"
POLICY_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_SWAPS = 50
"""Lost compare-and-swaps before giving up: each loss means that somebody else's change went in."""


@dataclass(frozen=True, slots=True)
class ModelLine:
    """One line of `orrery models list`."""

    name: str
    version: str
    channels: tuple[Channel, ...]
    published_at: str


def list_models(store: Store, policy: str | None = None) -> list[ModelLine]:
    """Published versions, newest first. What is only a stage's output (codecs, video networks, arms) is not listed."""
    records = list(_published(store, policy))
    named = {(r.name, c): current(store, r.name, c) for r in {r.name: r for r in records}.values() for c in CHANNELS}
    lines = [
        ModelLine(r.name, r.version, tuple(c for c in CHANNELS if named[r.name, c] == r.version), r.started_at)
        for r in records
    ]
    return sorted(lines, key=lambda line: line.published_at, reverse=True)


def resolve(store: Store, policy: str, channel: str | None = None, version: str | None = None) -> StageRecord:
    """The published version that a channel names, or the one whose version begins with `version`.

    Without either: the first of production, canary, candidate that is set.
    """
    check_policy(policy)
    if version is not None:
        found = [r for r in _published(store, policy) if r.version.startswith(version)]
        if len(found) != 1:
            have = [r.version for r in _published(store, policy)]
            raise ConfigurationError(
                f"{'no' if not found else 'more than one'} published version of {policy!r} begins with {version!r}; "
                f"published: {', '.join(have) or 'none'}"
            )
        return found[0]
    for candidate in (check_channel(channel),) if channel else reversed(CHANNELS):
        pointer = read_pointer(store, policy, candidate)
        if pointer is not None:
            return load_record(store, pointer.target.prefix, pointer.target.record_sha256)
    _known_policy(store, policy)
    raise ConfigurationError(
        f"{policy} has nothing in {channel or 'any channel'}; see `orrery models list`, "
        f"then `orrery models promote {policy}@VERSION --to {channel or 'production'}`"
    )


def promote(
    store: Store, policy: str, version: str, channel: str, *, reason: str = "", by: str | None = None
) -> ChannelPointer:
    """Let `channel` name `version`; nothing happens if it already does. Raises OrreryError without a passed gate."""
    check_channel(channel)
    record = resolve(store, policy, version=version)
    require_gate(store, record)
    target = _target(store, record)

    def change(pointer: ChannelPointer | None) -> ChannelEntry | None:
        if pointer is not None and pointer.target == target:
            return None
        return _entry("promote", target, by, reason)

    return _swap(store, policy, check_channel(channel), change)


def make_candidate(store: Store, policy: str, published: StageRecord, check: StageRecord) -> ChannelPointer:
    """Promote a published version to `candidate`, given the check that it passed. Raises ConfigurationError."""
    if check.stage != CHECK_STAGE or check.inputs.get("published") != published.as_input():
        raise ConfigurationError(f"{check.prefix} is not the check of {published.prefix}; run {CHECK_STAGE} on it")
    return promote(store, policy, published.version, "candidate", reason=f"checked: {check.prefix}")


def rollback(
    store: Store,
    policy: str,
    channel: str,
    *,
    to: str | None = None,
    expected: str | None = None,
    reason: str = "",
    by: str | None = None,
) -> ChannelPointer:
    """Return `channel` to what it named before (or to version `to`, which it named before).

    With `expected`, only if the channel still names that version: two people who roll back the same bad version at the
    same time then roll back once. Raises OrreryError when there is nothing to return to, Conflict.
    """
    channel = check_channel(channel)

    def change(pointer: ChannelPointer | None) -> ChannelEntry:
        if pointer is None:
            _known_policy(store, policy)
            raise ConfigurationError(f"{policy}@{channel} names nothing, so there is nothing to roll back")
        if expected is not None and not pointer.target.version.startswith(expected):
            raise Conflict(f"{policy}@{channel} names {pointer.target.version} now, not {expected}; see its history")
        earlier = [t for t in pointer.stack[:-1] if to is None or t.version.startswith(to)]
        if not earlier:
            wanted = f"version {to}" if to else "anything"
            raise OrreryError(
                f"{policy}@{channel} did not name {wanted} before {pointer.target.version}; see its history"
            )
        return _entry("rollback", earlier[-1], by, reason)

    return _swap(store, policy, channel, change)


def history(store: Store, policy: str, channel: str) -> tuple[ChannelEntry, ...]:
    """Every change of a channel, newest first; empty if it was never set."""
    pointer = read_pointer(store, policy, check_channel(channel))
    if pointer is None:
        _known_policy(store, policy)
        return ()
    return tuple(reversed(pointer.history))


def current(store: Store, policy: str, channel: Channel) -> str | None:
    """The version that a channel names now."""
    pointer = read_pointer(store, policy, channel)
    return pointer.target.version if pointer else None


def production_before(store: Store, policy: str, model_fingerprint: str) -> StageRecord | None:
    """The published version a candidate has to measure up to: the newest in production made from another model.

    A model is never compared with itself, so its gate keeps its inputs (and its version) after it was promoted.
    """
    pointer = read_pointer(store, policy, "production")
    for target in reversed(pointer.stack if pointer else ()):
        record = load_record(store, target.prefix, target.record_sha256)
        if record.inputs["model"].fingerprint != model_fingerprint:
            return record
    return None


def read_pointer(store: Store, policy: str, channel: Channel) -> ChannelPointer | None:
    found = _read_with_etag(store, policy, channel)
    return found[0] if found else None


def check_channel(channel: str) -> Channel:
    for known in CHANNELS:
        if channel == known:
            return known
    raise ConfigurationError(f"unknown channel {channel!r}; channels are {', '.join(CHANNELS)}")


def _swap(
    store: Store, policy: str, channel: Channel, change: Callable[[ChannelPointer | None], ChannelEntry | None]
) -> ChannelPointer:
    """Append the entry that `change(pointer)` gives, re-reading when somebody else was faster; None changes nothing."""
    for _ in range(_SWAPS):
        found = _read_with_etag(store, policy, channel)
        pointer, etag = found or (None, None)
        entry = change(pointer)
        if entry is None and pointer is not None:
            return pointer
        assert entry is not None  # only an existing pointer can be left as it is
        log = (*(pointer.history if pointer else ()), entry)
        new = ChannelPointer(policy=policy, channel=channel, target=entry.target, history=log)
        try:
            store.replace(_key(policy, channel), canonical_json(new).encode(), etag)
        except Conflict:
            continue
        return new
    raise Conflict(f"{policy}@{channel} changed {_SWAPS} times while this change was tried; try again")


def _read_with_etag(store: Store, policy: str, channel: Channel) -> tuple[ChannelPointer, str] | None:
    key = _key(policy, channel)
    try:
        data, etag = store.read_with_etag(key)
    except NotFound:
        return None
    try:
        return ChannelPointer.model_validate_json(data), etag
    except ValidationError as error:
        raise IntegrityError(f"{key} is not a channel pointer ({first_problem(error)}); restore it") from error


def _published(store: Store, policy: str | None) -> Iterator[StageRecord]:
    if policy is not None:
        check_policy(policy)
    for record in find_records(store, "models", policy):
        if record.stage == PUBLISH_STAGE and policy in (None, record.name):
            yield record


def check_policy(policy: str) -> str:
    if not POLICY_NAME.fullmatch(policy):
        raise ConfigurationError(f"{policy!r} is not a policy name; names are lower-case letters, digits, '-' and '_'")
    return policy


def _target(store: Store, record: StageRecord) -> Target:
    ref = reference(store, record)
    return Target(version=record.version, prefix=ref.prefix, record_sha256=ref.sha256)


def require_gate(store: Store, record: StageRecord) -> None:
    """A version enters a channel only with a gate that passed, for the model it was made from."""
    gate = record.inputs.get("gate")
    made_from = record.inputs.get("model")
    if gate is None or made_from is None:
        raise OrreryError(f"{record.prefix} was published without a gate; run the pipeline that publishes it")
    judged = read_input(store, gate)
    ref = next((o for o in judged.objects if o.path == "decision.json"), None)
    if judged.stage != GATE_STAGE or ref is None:
        raise IntegrityError(f"{gate.prefix} is not the gate that {record.prefix} was published with")
    decision = Decision.model_validate_json(store.read(f"{gate.prefix}/decision.json", ref.sha256))
    if not decision.passed or decision.model.fingerprint != made_from.fingerprint:
        raise OrreryError(f"{record.prefix} did not pass its gate; see {gate.prefix}/decision.json")


def _known_policy(store: Store, policy: str) -> None:
    names = sorted({r.name for r in _published(store, None)})
    if policy not in names:
        raise ConfigurationError(f"unknown policy {policy!r}; published: {', '.join(names) or 'none yet'}")


def _entry(action: str, target: Target, by: str | None, reason: str) -> ChannelEntry:
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    return ChannelEntry.model_validate(
        {"action": action, "target": target, "at": at, "by": by if by is not None else _user(), "reason": reason}
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's numeric user has no name
        return ""


def _key(policy: str, channel: Channel) -> str:
    return f"channels/{policy}/{channel}.json"


def as_json(lines: list[ModelLine]) -> str:
    """The document of `orrery models list --json`."""
    return json.dumps({"models": [{"name": m.name, "version": m.version, "channels": list(m.channels)} for m in lines]})
