"""The dataset: how many episodes were taken, which were not and why, and film strips of some."""

from __future__ import annotations

from collections import Counter

from components.telemetry.report import Block, Cell, Details, Facts, Gallery, Row, Section, Table, Tone
from data_contracts.dataset import DatasetManifest
from data_contracts.lineage import StageRecord
from data_contracts.report import ValidationReport
from pipelines.estimate import spoken
from pipelines.report.reading import Reader

_TONES: dict[str, Tone] = {"accepted": "good", "repaired": "warn", "quarantined": "bad"}
MOST_STRIPS = 12


def sections(reader: Reader) -> list[Section]:
    return [s for record in reader.holding("manifest.json") for s in _section(reader, record)]


def _section(reader: Reader, record: StageRecord) -> list[Section]:
    manifest = reader.parse(record, "manifest.json", DatasetManifest)
    if manifest is None:
        return []
    total = manifest.summary
    blocks: list[Block] = [
        Facts(
            [
                ("Accepted", str(total.accepted)),
                ("Repaired", str(total.repaired)),
                ("Quarantined", str(total.quarantined)),
                ("Frames", f"{total.frames:,}"),
                ("Recorded", spoken(total.seconds)),
                ("Robot", manifest.embodiment),
            ]
        )
    ]
    strips = reader.paths(record, "strips/", ".png", ".jpg", ".gif")
    spread = strips[:: max(1, len(strips) // MOST_STRIPS)][:MOST_STRIPS]
    pictures = [p for path in spread for p in reader.shown(record, [path], _strip_caption(path, manifest))]
    if pictures:
        blocks.append(Gallery(pictures, wide=True))
    blocks.append(_instructions(manifest))
    validation = reader.parse(record, "report.json", ValidationReport) if _holds(record, "report.json") else None
    if validation is not None:
        blocks += _findings(validation)
    return [
        Section(
            f"Dataset {record.name}", blocks, lead=f"{', '.join(manifest.cameras)} at {manifest.fps} frames a second."
        )
    ]


def _holds(record: StageRecord, path: str) -> bool:
    return any(o.path == path for o in record.objects)


def _strip_caption(path: str, manifest: DatasetManifest) -> str:
    """The instruction of the episode whose number the strip's name carries, if it does."""
    digits = [int(part) for part in "".join(c if c.isdigit() else " " for c in path.rsplit("/", 1)[-1]).split()]
    for entry in manifest.episodes:
        if (digits and entry.episode_id in digits) or digits == [entry.index]:
            return f"Episode {entry.episode_id}: {entry.instruction}"
    return path.rsplit("/", 1)[-1]


def _instructions(manifest: DatasetManifest) -> Table:
    counts = Counter(e.instruction for e in manifest.episodes)
    frames = Counter[str]()
    for entry in manifest.episodes:
        frames[entry.instruction] += entry.frames
    most = counts.most_common(20)
    largest = max(counts.values(), default=1)
    rows: list[Row] = [[text, Cell(str(n), share=n / largest), f"{frames[text]:,}"] for text, n in most]
    if len(counts) > len(most):
        rows.append([f"and {len(counts) - len(most)} more", "", ""])
    return Table(["Instruction", "Episodes", "Frames"], rows)


def _findings(validation: ValidationReport) -> list[Block]:
    rows: list[Row] = [
        [
            str(e.task_id),
            str(e.episode_id),
            Cell(e.verdict, _TONES[e.verdict]),
            Cell(f.code, code=True),
            f.message,
            f.where,
        ]
        for e in validation.episodes
        for f in e.findings
    ]
    if not rows:
        return []
    table = Table(["Task", "Episode", "Verdict", "Reason", "What was found", "Where"], rows[:200])
    return [Details(f"{len(rows)} finding{'s' if len(rows) > 1 else ''}", [table], open=len(rows) <= 10)]
