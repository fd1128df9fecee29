"""What changed from one dataset version to another: episodes that came, went, were mended or refused, and drift."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field

from data_contracts.base import Contract
from data_contracts.dataset import DatasetManifest, EpisodeEntry
from data_contracts.report import EpisodeVerdict, ValidationReport


class EpisodeKey(Contract):
    """An episode by its ids in the raw drop."""

    task_id: int
    episode_id: int


class Refusal(EpisodeKey):
    """An episode that was not taken, and the reasons."""

    codes: tuple[str, ...]


class VersionChanges(Contract):
    """The document of `orrery datasets diff`. `repaired`, `accepted` and `refused` are the newer version's, unless the
    older one has the same of the same episode."""

    added: tuple[EpisodeKey, ...]
    removed: tuple[EpisodeKey, ...]
    changed: tuple[EpisodeKey, ...] = Field(description="in both, but made from other raw files")
    repaired: tuple[EpisodeKey, ...]
    accepted: tuple[EpisodeKey, ...] = Field(default=(), description="by hand, in spite of errors")
    refused: tuple[Refusal, ...]
    drift: dict[str, float] = Field(
        description="by action space: the largest shift of a dimension's mean, in the older version's deviations"
    )


def changes(
    old: DatasetManifest, old_report: ValidationReport, new: DatasetManifest, new_report: ValidationReport
) -> VersionChanges:
    """What `new` has otherwise than `old`."""
    before, after = ({(e.task_id, e.episode_id): e for e in m.episodes} for m in (old, new))
    return VersionChanges(
        added=_keys(after.keys() - before.keys()),
        removed=_keys(before.keys() - after.keys()),
        changed=_keys(k for k in before.keys() & after.keys() if before[k].source_sha256 != after[k].source_sha256),
        repaired=_keys(_repaired(new.episodes) - _repaired(old.episodes)),
        accepted=_keys(_accepted(new.episodes) - _accepted(old.episodes)),
        refused=tuple(sorted(_refused(new_report) - _refused(old_report), key=lambda r: (r.task_id, r.episode_id))),
        drift=drift(old, new),
    )


def _keys(ids: Iterable[tuple[int, int]]) -> tuple[EpisodeKey, ...]:
    return tuple(EpisodeKey(task_id=t, episode_id=e) for t, e in sorted(ids))


def _repaired(episodes: tuple[EpisodeEntry, ...]) -> set[tuple[int, int]]:
    return {(e.task_id, e.episode_id) for e in episodes if e.repaired}


def _accepted(episodes: tuple[EpisodeEntry, ...]) -> set[tuple[int, int]]:
    return {(e.task_id, e.episode_id) for e in episodes if e.accepted}


def _refused(report: ValidationReport) -> set[Refusal]:
    return {
        Refusal(task_id=e.task_id, episode_id=e.episode_id, codes=_errors(e))
        for e in report.episodes
        if e.verdict == "quarantined"
    }


def _errors(episode: EpisodeVerdict) -> tuple[str, ...]:
    return tuple(sorted({f.code for f in episode.findings if f.severity == "error"}))


def drift(old: DatasetManifest, new: DatasetManifest) -> dict[str, float]:
    """By action space: the largest shift of a dimension's mean, in the older version's deviations.

    Absolute actions only: the other forms follow them. A space that one of them lacks is left out.
    """
    out: dict[str, float] = {}
    for was in (s for s in old.statistics if s.form == "absolute"):
        now = next((s for s in new.statistics if (s.space, s.form) == (was.space, was.form)), None)
        if now is not None and len(now.normalisation.mean) == len(was.normalisation.mean):
            pairs = zip(now.normalisation.mean, was.normalisation.mean, was.normalisation.std, strict=True)
            out[was.space] = round(max(abs(a - b) / std for a, b, std in pairs), 4)
    return out
