"""The intake's stages. Importing this file is cheap: HDF5 and video libraries are imported when there is work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pydantic import ValidationError

from components.agibot.config import AdoptConfig, IntakeConfig
from components.store.api import Store
from components.store.code import source_fingerprint
from components.store.errors import ConfigurationError
from components.store.files import scratch_folder
from components.store.records import first_problem, lay_out, load_record, read_reference, reference
from components.store.stage import Workspace, run_stage
from components.store.status import StatusWriter
from data_contracts.base import Contract, canonical_json, fingerprint
from data_contracts.lineage import Metric, RecordRef, StageRecord

SOURCES = ("components/agibot", "data_contracts")
EXAMINE, JOIN = "agibot.examine", "agibot.join"
SHARDS = ".shards"
"""What a dataset's name ends with for the versions that its shards publish: they lie beside it."""
NOTHING = "0/0"
"""The shard of a drop that was taken in before."""
MOST_SHARDS = 400
"""Beyond this, shards grow instead: KFP hands the list of their parts, up to 200 bytes each, to the join in one
argument of a process, and Linux allows 128 KiB of that."""


def adopt(store: Store, config: AdoptConfig, seed: int) -> StageRecord:
    """Take a raw drop that lies somewhere already into the store, as an immutable version.

    The version is named by what is there now: a drop that has grown since is another version.
    """
    from components.agibot.adopt import find_upload

    upload = find_upload(store, config)
    found = config.model_copy(update={"fingerprint": upload.fingerprint})

    def build(ws: Workspace) -> Mapping[str, Metric]:
        upload.lay_into(ws)
        return {"files": len(upload.files), "bytes": sum(f.ref.size for f in upload.files)}

    return run_stage(
        store=store, stage="agibot.adopt", kind="raw", name=config.name, inputs={}, config=found, seed=seed,
        sources=("components/agibot/adopt.py", "components/agibot/stages.py"), build=build,
    )  # fmt: skip


def intake(store: Store, config: IntakeConfig, seed: int, raw: StageRecord) -> StageRecord:
    """Validate a raw drop, quarantine what is bad, publish the rest as a dataset version of its own.

    It is the one that drops are joined to, if the dataset has none yet.
    """
    from components.agibot.head import make_head

    def build(ws: Workspace) -> Mapping[str, Metric]:
        from components.agibot.intake import take_in

        return take_in(ws, config)

    record = run_stage(
        store=store, stage="agibot.intake", kind="datasets", name=config.name, inputs={"raw": raw}, config=config,
        seed=seed, sources=SOURCES, build=build,
    )  # fmt: skip
    return make_head(store, record)


class Plan(NamedTuple):
    """How a drop is examined: the version that it is joined to (None: the first), and the shards, as `0/8`."""

    parent: StageRecord | None
    shards: list[str]


def plan(store: Store, config: IntakeConfig, seed: int, raw: StageRecord) -> Plan:
    """Into how many shards a drop falls, without what its dataset has already. Reads tars' headers, once per tar."""
    from components.agibot import join as library
    from components.agibot.head import read_head
    from components.agibot.stored import open_adopted

    parent, _ = read_head(store, config.name)
    manifest = None
    if parent is not None:
        library.require_layout(config, parent)
        manifest = library.manifest_of(store, parent)
        if library.has_drop(manifest, raw, rules(config, seed)):
            return Plan(parent, [NOTHING])
    drop = open_adopted(store, raw)
    new = library.unknown(drop, library.entries_of(manifest), config.cameras)
    count = min(max(1, -(-len(new) // config.shard)), MOST_SHARDS)
    return Plan(parent, [f"{n}/{count}" for n in range(count)])


def examine(
    store: Store, config: IntakeConfig, seed: int, raw: StageRecord, parent: StageRecord | None, shard: str
) -> StageRecord:
    """Validate one shard of a drop, quarantine what is bad, and make the rest ready to be joined to the dataset.

    With nothing to examine the dataset's version itself is handed on.
    """
    if shard == NOTHING and parent is not None:
        return parent
    number, shards = _shard(shard)

    def build(ws: Workspace) -> Mapping[str, Metric]:
        from components.agibot.join import examine_shard

        return examine_shard(ws, config, number, shards)

    inputs = {"raw": raw} | ({"parent": parent} if parent is not None else {})
    return run_stage(
        store=store, stage=f"{EXAMINE}-{number + 1}-of-{shards}", kind="datasets", name=f"{config.name}{SHARDS}",
        inputs=inputs, config=config, seed=seed, sources=SOURCES, build=build,
    )  # fmt: skip


class Shard(Contract):
    """A shard as it travels through a loop of KFP, whose local runner hands a task nothing but its item."""

    raw: RecordRef
    parent: RecordRef | None
    shard: str


def plan_shards(store: Store, config: IntakeConfig, seed: int, raw: StageRecord) -> tuple[str, ...]:
    """The shards of a drop, each all that `examine_planned` needs."""
    found = plan(store, config, seed, raw)
    parent = reference(store, found.parent) if found.parent is not None else None
    return tuple(canonical_json(Shard(raw=reference(store, raw), parent=parent, shard=shard)) for shard in found.shards)


def examine_planned(store: Store, config: IntakeConfig, seed: int, shard: str) -> StageRecord:
    """`examine` for one of `plan_shards`. Raises ConfigurationError for text that is none."""
    try:
        given = Shard.model_validate_json(shard)
    except ValidationError as error:
        raise ConfigurationError(f"{shard[:80]!r} is no shard of a plan: {first_problem(error)}") from error
    raw = load_record(store, given.raw.prefix, given.raw.sha256)
    parent = load_record(store, given.parent.prefix, given.parent.sha256) if given.parent is not None else None
    return examine(store, config, seed, raw, parent, given.shard)


def join(store: Store, config: IntakeConfig, seed: int, raw: StageRecord, parts: list[str]) -> StageRecord:
    """Join a drop's shards to the dataset: its next version, or the last one if nothing is new.

    Whoever joins another drop meanwhile comes before or after it; neither loses an episode.
    """
    from components.agibot.head import joining, move_head, read_head

    every = {r.prefix: r for r in (read_reference(store, part) for part in parts)}  # a retry may name one twice
    records = [r for r in every.values() if r.stage.startswith(EXAMINE)]
    while True:
        with joining(store, config.name):
            head, etag = read_head(store, config.name)
            record = _join_to(store, config, seed, raw, records, head)
            if record == head:  # the run shows what it found, as if it had made it
                StatusWriter(store, JOIN, record.version, record.prefix).write("cached")
                return record
            if move_head(store, record, etag):
                return record


def _join_to(
    store: Store, config: IntakeConfig, seed: int, raw: StageRecord, parts: list[StageRecord], head: StageRecord | None
) -> StageRecord:
    from components.agibot import join as library
    from components.agibot.part import Part
    from components.agibot.publish import Base

    with scratch_folder("join-") as folder:
        base = None
        if head is not None:
            library.require_layout(config, head)
            base = Base(head, lay_out(store, head, folder / "base", ("manifest.json", "records/", "statistics/")))
            if not parts or library.has_drop(base.manifest, raw, rules(config, seed)):
                return head
        wanted = ("examined.jsonl", "rows.jsonl", "facts.json", "statistics/", "data/", "strips/")
        local = [Part(lay_out(store, r, folder / r.version, wanted), r) for r in parts]
        joined = library.decide(local, base.known if base else (), library.settings_of(config))
        library.refuse(store, config, raw, joined, library.gather_strips(folder, local))
        if not joined.kept:
            library.require_some(store, config, raw, joined, base)
            assert head is not None  # else it is an error that nothing is usable
            return head

        def build(ws: Workspace) -> Mapping[str, Metric]:
            return library.write_joined(ws, config, local, joined, base, rules(config, seed))

        inputs = {"raw": raw} | ({"parent": head} if head is not None else {})
        inputs |= {f"part-{number:04d}": part for number, part in enumerate(parts)}
        return run_stage(
            store=store, stage=JOIN, kind="datasets", name=config.name, inputs=inputs, config=config,
            seed=seed, sources=SOURCES, build=build,
        )  # fmt: skip


def rules(config: IntakeConfig, seed: int) -> str:
    """Fingerprint of all that decides about an episode."""
    return fingerprint([config.model_dump(mode="json"), seed, source_fingerprint(SOURCES)])


def _shard(text: str) -> tuple[int, int]:
    number, _, shards = text.partition("/")
    if not (number.isdecimal() and shards.isdecimal() and int(number) < int(shards)):
        raise ConfigurationError(f"{text!r} names no shard; write 0/8 for the first of eight")
    return int(number), int(shards)
