"""What becomes of episodes that can't be used: a report under each of their reason codes, pointing at the raw drop.

`quarantine/<reason code>/<dataset>/<version>/<task>-<episode>.json`, and beside it a film strip if there is one. No raw
file is copied. A version that breaks the dataset's contract leaves its reports under `quarantine/contract/`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from components.agibot.contract import DATA_DOCS, Judgement, require
from components.agibot.drop import NOWHERE, EpisodeSource
from components.agibot.examine import Examined, stem
from components.agibot.validate import count_reasons
from components.store.api import Store
from components.store.errors import AlreadyExists, OrreryError
from components.telemetry.report import Report, render
from data_contracts.base import canonical_json
from data_contracts.catalogue import catalogue

_UPLOADS = 4


def quarantine(
    store: Store,
    place: str,
    examined: Sequence[Examined],
    sources: dict[tuple[int, int], EpisodeSource],
    work: Path,
    origin: dict[str, str],
) -> int:
    """Write a report of everything unusable under `quarantine/<reason code>/<place>/`; how many there are.

    What an earlier start wrote is kept: equal inputs give equal reports.
    """
    bad = [e for e in examined if not e.usable]

    def write(key: str, data: bytes) -> None:
        with suppress(AlreadyExists):
            store.create(key, data)

    with ThreadPoolExecutor(_UPLOADS) as pool:
        for _ in pool.map(lambda item: write(*item), _objects(place, bad, sources, work, origin)):
            pass
    return len(bad)


def _objects(
    place: str,
    bad: Sequence[Examined],
    sources: dict[tuple[int, int], EpisodeSource],
    work: Path,
    origin: dict[str, str],
) -> Iterator[tuple[str, bytes]]:
    for found in bad:
        report = canonical_json(_report(found, sources.get(found.key), origin)).encode()
        strip = stem(work, *found.key)
        strip = strip.with_name(strip.name + ".jpg")
        picture = strip.read_bytes() if strip.exists() else b""
        for code in sorted({f.code for f in found.findings if f.severity == "error"}):
            key = f"quarantine/{code}/{place}/{_name(found)}"
            yield f"{key}.json", report
            if picture:
                yield f"{key}.jpg", picture


def _name(found: Examined) -> str:
    if found.task_id == NOWHERE:
        return "drop"
    return f"task-{found.task_id}" if found.episode_id == NOWHERE else f"{found.task_id}-{found.episode_id}"


def _report(found: Examined, source: EpisodeSource | None, origin: dict[str, str]) -> dict[str, Any]:
    """The verdict, and where the raw files lie: below the drop's prefix, `a.tar:b` being member b of the tar a."""
    files = [{"path": blob.name, "size": blob.size} for blob in source.blobs()] if source else []
    return {"source": origin, "files": files, **found.as_verdict().model_dump(mode="json")}


def keep_contract(store: Store, place: str, source: str, judgement: Judgement, page: Report) -> None:
    """Raises OrreryError if the contract is broken; then the reports of the version that is not to be are kept."""
    if judgement.broken:
        prefix = f"quarantine/contract/{place}"
        outcomes = canonical_json([asdict(o) for o in judgement.outcomes])
        documents = {"report.html": render(page), DATA_DOCS: judgement.data_docs, "outcomes.json": outcomes}
        for name, text in documents.items():
            with suppress(AlreadyExists):
                store.create(f"{prefix}/{name}", text.encode())
        require(judgement, source, prefix)


def nothing_usable(origin: str, place: str, examined: Sequence[Examined]) -> OrreryError:
    """The error for a drop without a single usable episode: the most frequent reasons, and what to do."""
    counts = count_reasons(examined)
    episodes = sum(NOWHERE not in e.key for e in examined)
    reasons = ", ".join(f"{code} ({n})" for code, n in list(counts.items())[:5])
    more = f" and {len(counts) - 5} more" if len(counts) > 5 else ""
    first = next(iter(counts))
    return OrreryError(
        f"none of the {episodes} episodes of {origin} can be used, so no dataset was published: {reasons}{more}. "
        f"{first}: {catalogue()[first].meaning} {catalogue()[first].mend} "
        f"Every episode's report is in the store under quarantine/<reason>/{place}/"
    )
