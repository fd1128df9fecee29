"""Drops in shards, joined to a dataset: plan, examine, join.

A plan says how many shards; each examines its episodes and publishes a part of the dataset; the join compares the new
episodes with each other and with all that the dataset has, and publishes its next version. What a dataset has already
is not read again: an episode whose files lie where they lay is known by that, one that lies elsewhere by its hash.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from components.agibot.across import compare
from components.agibot.config import IntakeConfig
from components.agibot.contract import check_contract, write_data_docs
from components.agibot.drop import Drop, EpisodeSource, Key
from components.agibot.examine import Examined
from components.agibot.page import intake_page
from components.agibot.part import Part, write_part
from components.agibot.publish import Base, Version, write_version
from components.agibot.quarantine import keep_contract, nothing_usable, quarantine
from components.agibot.reading import Settings
from components.agibot.stored import open_adopted
from components.agibot.validate import about_drop, count_reasons, examine_episodes, make_settings, report
from components.store.api import Store
from components.store.errors import ConfigurationError
from components.store.stage import Workspace
from components.telemetry.progress import progress
from components.telemetry.report import write
from data_contracts.catalogue import finding
from data_contracts.dataset import DatasetManifest, EpisodeEntry, TakenDrop
from data_contracts.lineage import Metric, StageRecord
from data_contracts.reasons import Finding

_LAYOUT = ("embodiment", "cameras", "calibration", "chunk")
"""What two drops of one dataset must agree in."""


def settings_of(config: IntakeConfig) -> Settings:
    return make_settings(
        config.embodiment, config.cameras, config.calibration, config.repair, config.profile, config.decode
    )


def require_layout(config: IntakeConfig, parent: StageRecord) -> None:
    """Raises ConfigurationError if episodes of `config` can't be joined to `parent`."""
    wanted = config.model_dump(mode="json")
    other = [f"{k}: {parent.config.get(k)}, not {wanted[k]}" for k in _LAYOUT if parent.config.get(k) != wanted[k]]
    if other or not any(o.path.startswith("records/") for o in parent.objects):
        why = "; ".join(other) or "it was made before drops could be joined"
        raise ConfigurationError(
            f"the dataset {config.name} can't be joined to {parent.prefix} ({why}); give the new one another name: "
            "--set intake.name=NAME"
        )


def manifest_of(store: Store, record: StageRecord) -> DatasetManifest:
    ref = record.object("manifest.json")
    return DatasetManifest.model_validate_json(store.read(record.key_of(ref), ref.sha256))


def has_drop(manifest: DatasetManifest, raw: StageRecord, rules: str) -> bool:
    """Whether this drop was taken in by these rules: then there is nothing to do."""
    return any((d.fingerprint, d.rules) == (raw.fingerprint, rules) for d in manifest.drops)


def entries_of(manifest: DatasetManifest | None) -> dict[Key, EpisodeEntry]:
    return {(e.task_id, e.episode_id): e for e in manifest.episodes} if manifest is not None else {}


def unknown(drop: Drop, known: Mapping[Key, EpisodeEntry], cameras: Sequence[str]) -> list[Key]:
    """Episodes that the dataset lacks, or that lie elsewhere than its own of that name. In key order; reads nothing."""
    return [
        key
        for key, source in drop.episodes.items()
        if key not in known or not known[key].place or known[key].place != source.place(cameras)
    ]


def shard_of(keys: Sequence[Key], shard: int, shards: int) -> list[Key]:
    """The keys of one of `shards` shards: neighbours, which mostly lie in one tar."""
    return list(keys[len(keys) * shard // shards : len(keys) * (shard + 1) // shards])


def examine_shard(ws: Workspace, config: IntakeConfig, shard: int, shards: int) -> dict[str, Metric]:
    """Write the part of one shard into `ws.out`, and reports of what can't be used into the quarantine."""
    raw, parent = ws.inputs["raw"], ws.inputs.get("parent")
    drop, settings = open_adopted(ws.store, raw), settings_of(config)
    known = entries_of(manifest_of(ws.store, parent) if parent is not None else None)
    work = ws.scratch / "episodes"
    work.mkdir(exist_ok=True)
    keys = shard_of(unknown(drop, known, config.cameras), shard, shards)
    changed, sources = _told_apart(drop, keys, known, settings)
    with progress(len(sources), "validating", "episodes") as bar:
        examined = examine_episodes(sources, settings, work, advance=bar.advance)
    examined = sorted([*examined, *changed], key=lambda e: e.key) + (about_drop(drop) if shard == 0 else [])
    place, origin = f"{config.name}/{raw.version}", _origin(raw)
    quarantine(ws.store, place, examined, drop.episodes, work, origin)
    with progress(len(examined), "preparing", "episodes") as bar:
        write_part(ws.out, config, work, drop.episodes, examined, bar.advance)
    verdicts: dict[str, Metric] = dict(Counter(str(e.verdict) for e in examined))
    return {"episodes": len(sources), **verdicts, "known": len(keys) - len(sources) - len(changed)}


def _told_apart(
    drop: Drop, keys: Sequence[Key], known: Mapping[Key, EpisodeEntry], settings: Settings
) -> tuple[list[Examined], list[EpisodeSource]]:
    """Of episodes whose names the dataset knows: those that hold something else, refused. And the new ones."""
    changed, new = [], []
    for key in keys:
        source = drop.episodes[key]
        if key not in known:
            new.append(source)
        elif source.content(settings.cameras) != known[key].source_sha256:
            changed.append(_changed(source))
    return changed, new


def _changed(source: EpisodeSource) -> Examined:
    return Examined(
        task_id=source.task_id, episode_id=source.episode_id, verdict="quarantined",
        findings=(_other_content(source),),
        instruction=source.entry.task_name if source.entry else "",
    )  # fmt: skip


def _other_content(episode: EpisodeSource | Examined) -> Finding:
    message = f"the dataset has another episode {episode.episode_id} of task {episode.task_id}"
    return finding("duplicate.other-content", message)


def _origin(raw: StageRecord) -> dict[str, str]:
    return {"prefix": raw.prefix, "fingerprint": raw.fingerprint}


@dataclass(frozen=True)
class Joined:
    """What a drop adds to a dataset: episodes in key order with the part that each lies in."""

    kept: list[tuple[Examined, Part]]
    examined: list[Examined]
    """of the whole drop, without what the dataset had already"""
    already: int
    """how many of its episodes the dataset had, as others joined them meanwhile"""
    refused_late: frozenset[Key]
    """episodes that are usable on their own, but not beside the others"""


def decide(parts: Sequence[Part], known: Sequence[Examined], settings: Settings) -> Joined:
    """What the parts of a drop add to the episodes `known`. Reads records alone; equal parts give equal answers."""
    have = {e.key: e for e in known}
    by_key: dict[Key, Part] = {}
    fresh: list[Examined] = []
    about: list[Examined] = []
    already = 0
    for part in parts:
        for episode in part.examined:
            if episode.episode_id < 0:
                about.append(episode)
            elif episode.key in by_key or _same(have.get(episode.key), episode):
                already += episode.key not in by_key
            else:
                by_key[episode.key] = part
                fresh.append(_refused_if_other(episode, have))
    examined = compare(sorted(fresh, key=lambda e: e.key), settings, known)
    kept = [(e, by_key[e.key]) for e in examined if e.usable]
    usable = {e.key for part in parts for e in part.examined if e.usable}
    late = frozenset(e.key for e in examined if not e.usable and e.key in usable)
    return Joined(kept, [*examined, *about], already, late)


def _same(one: Examined | None, other: Examined) -> bool:
    return one is not None and other.usable and one.source_sha256 == other.source_sha256


def _refused_if_other(episode: Examined, have: Mapping[Key, Examined]) -> Examined:
    if not episode.usable or episode.key not in have:
        return episode
    found = (*episode.findings, _other_content(episode))
    return episode.model_copy(update={"verdict": "quarantined", "findings": found})


def write_joined(
    ws: Workspace, config: IntakeConfig, parts: Sequence[Part], joined: Joined, base: Base | None, rules: str
) -> dict[str, Metric]:
    """Write the version that has what `base` has and what a drop adds. Raises OrreryError if the contract is broken."""
    raw, settings, strips = ws.inputs["raw"], settings_of(config), gather_strips(ws.scratch, parts)
    known = base.known if base is not None else ()
    judgement = check_contract(joined.examined, known, config.profile.contract)
    page = intake_page(raw.prefix, joined.examined, settings, strips, judgement.outcomes, known)
    keep_contract(ws.store, f"{config.name}/{ws.version}", raw.prefix, judgement, page)
    document = report(raw.prefix, joined.examined, settings)
    refused = document.summary.quarantined
    drop = TakenDrop(**_origin(raw), rules=rules, added=len(joined.kept), refused=refused)
    version = Version(ws.out, ws.refer, config, base, joined.kept)
    manifest = write_version(version, document, drop)
    write(page, ws.out / "report.html")
    write_data_docs(ws.out, judgement)
    total = document.summary
    return {
        "episodes": len(manifest.episodes), "added": len(joined.kept), "accepted": total.accepted,
        "repaired": total.repaired, "quarantined": refused, "frames": version.frames,
        "reasons": ", ".join(f"{code} {n}" for code, n in count_reasons(joined.examined).items()),
    }  # fmt: skip


def gather_strips(folder: Path, parts: Sequence[Part]) -> Path:
    """One folder with the film strips of all parts, as reports want them."""
    strips = folder / "strips"
    strips.mkdir(exist_ok=True)
    for path in (path for part in parts for path in (part.folder / "strips").glob("*.jpg")):
        if not (strips / path.name).exists():
            (strips / path.name).symlink_to(path.resolve())
    return strips


def refuse(store: Store, config: IntakeConfig, raw: StageRecord, joined: Joined, strips: Path) -> None:
    """Write reports of what only the comparison with other episodes refused; shards wrote the others'."""
    late = [e for e in joined.examined if not e.usable and e.key in joined.refused_late]
    quarantine(store, f"{config.name}/{raw.version}", late, {}, strips, _origin(raw))


def require_some(store: Store, config: IntakeConfig, raw: StageRecord, joined: Joined, base: Base | None) -> None:
    """A drop that adds nothing is fine if the dataset has some of it. Raises OrreryError if none of it is usable."""
    if base is not None:
        drop = open_adopted(store, raw)
        if joined.already or len(unknown(drop, entries_of(base.manifest), config.cameras)) < len(drop.episodes):
            print(f"{raw.prefix} adds no episode to {base.record.prefix}", file=sys.stderr, flush=True)
            return
    raise nothing_usable(raw.prefix, f"{config.name}/{raw.version}", joined.examined)
