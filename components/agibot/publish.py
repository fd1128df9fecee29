"""Writes a dataset version from parts: LeRobot v3 files, film strips, and the manifest that says what is in it.

The layout is `components.agibot.dataset`'s. A version that is joined to another keeps all of that one's files, by
reference, and puts new episodes into files of their own behind them: so numbers, timestamps and indices of the old ones
stay right, and none of them is read. Episodes lie in the order in which they came, so equal drops give equal bytes.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from components.agibot import lerobot
from components.agibot.columns import ACTION, STATE
from components.agibot.config import IntakeConfig
from components.agibot.dataset import IMAGES, MANIFEST, RECORDS, SKETCHES
from components.agibot.drop import EpisodeSource, Key
from components.agibot.examine import Examined
from components.agibot.part import Part, flat_statistics, read_examined, spread, table_path, with_forms, write_part
from components.agibot.statistics import (
    FORMS,
    Sketches,
    Summary,
    add,
    merge,
    normalisation,
    of_levels,
    of_rows,
    read_sketches,
    write_sketches,
)
from components.agibot.tables import FILES_PER_CHUNK, TableFiles, table_of
from components.agibot.verify import require_rows
from components.agibot.videos import video_path
from components.store.files import write_atomic
from components.telemetry.progress import progress
from data_contracts.dataset import DatasetManifest, EpisodeEntry, SpaceStatistics, TakenDrop
from data_contracts.embodiment import Embodiment
from data_contracts.lineage import StageRecord
from data_contracts.report import Summary as Total
from data_contracts.report import ValidationReport

_BATCH = 500
"""Episodes whose rows of `meta/episodes` are written together."""
_KEPT = ("data/", "calibration/", "videos/", "meta/episodes/", f"{RECORDS}/")
"""What a joined version takes over of its parent as it is."""

_Proof = tuple[int, dict[str, NDArray[Any]], str]
"""What a row group of a file must hold, and whose it is."""
Refer = Callable[[str, str, int, str], None]
"""`components.store.stage.Workspace.refer`."""


@dataclass(frozen=True)
class Base:
    """The version that new episodes are joined to: its record, and a local folder with its small files."""

    record: StageRecord
    folder: Path

    @cached_property
    def manifest(self) -> DatasetManifest:
        return DatasetManifest.model_validate_json((self.folder / MANIFEST).read_bytes())

    @cached_property
    def known(self) -> list[Examined]:
        """Its episodes, as they were examined."""
        return read_examined(sorted((self.folder / RECORDS).iterdir()))

    def files(self, tree: str) -> int:
        """How many files it has in a tree; new ones are numbered from there."""
        return sum(o.path.startswith(f"{tree}/") for o in self.record.objects)


@dataclass
class Version:
    """The dataset that is being written into `out`: the episodes of `base`, then `kept`."""

    out: Path
    refer: Refer
    config: IntakeConfig
    base: Base | None
    kept: Sequence[tuple[Examined, Part]]
    sketches: Sketches = field(default_factory=dict)
    levels: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    """how often each level occurs in each channel, by camera, over the frames that were sampled"""
    entries: list[EpisodeEntry] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.base is not None:
            self.sketches, self.levels = read_sketches(self.base.folder / SKETCHES)
            self.entries = list(self.base.manifest.episodes)
        self.frames = sum(e.frames for e in self.entries)
        self.tasks: dict[str, int] = {}
        for text in (*(e.instruction for e in self.entries), *(e.instruction for e, _ in self.kept)):
            self.tasks.setdefault(text, len(self.tasks))

    @property
    def robot(self) -> Embodiment:
        return self.config.profile.robot(self.config.embodiment)

    def files(self, tree: str) -> int:
        return self.base.files(tree) if self.base is not None else 0


def publish(
    out: Path,
    config: IntakeConfig,
    work: Path,
    sources: dict[Key, EpisodeSource],
    examined: Sequence[Examined],
    report: ValidationReport,
    origin: dict[str, str],
) -> DatasetManifest:
    """Write the usable ones of `examined` into `out`, as a version of their own; what was kept lies in `work`.

    Raises OrreryError if a file of the drop changed since it was examined.
    """
    part = Part(work.with_name(f"{work.name}.part"))
    shutil.rmtree(part.folder, ignore_errors=True)
    usable = [e for e in examined if e.usable]
    with progress(len(usable), "publishing", "episodes") as bar:
        write_part(part.folder, config, work, sources, examined, bar.advance)
    version = Version(out, _never, config, None, [(e, part) for e in usable])
    return write_version(version, report, TakenDrop(**origin, added=len(usable), refused=len(examined) - len(usable)))


def write_version(version: Version, report: ValidationReport, drop: TakenDrop) -> DatasetManifest:
    """Write a version whose new episodes come from `drop`; `report` is about that drop alone."""
    if version.base is not None:
        for ref in version.base.record.objects:
            if ref.path.startswith(_KEPT):
                version.refer(ref.path, version.base.record.key_of(ref), ref.size, ref.sha256)
    with progress(len(version.kept), "joining", "episodes") as bar:
        for _ in _write_episodes(version):
            bar.advance()
    summaries = {name: sketch.summary() for name, sketch in version.sketches.items()}
    _write_meta(version, summaries)
    write_sketches(version.out / SKETCHES, version.sketches, version.levels)
    lines = "".join(f"{e.model_copy(update={'findings': ()}).model_dump_json()}\n" for e, _ in version.kept)
    write_atomic(version.out / RECORDS / f"file-{version.files(RECORDS):03d}.jsonl", lines.encode())
    _copy_strips(version)
    manifest = _manifest(version, summaries, report, drop)
    lerobot.write_json(version.out / "report.json", report.model_dump(mode="json"))
    lerobot.write_json(version.out / MANIFEST, manifest.model_dump(mode="json"))
    return manifest


def _never(path: str, key: str, size: int, sha256: str) -> None:
    raise AssertionError(f"{path}: a version of its own refers to nothing")


# Episodes: data, calibration, videos, meta/episodes


def _write_episodes(version: Version) -> Iterator[EpisodeEntry]:
    """Write everything that is per episode; yields each when it is done."""
    trees = ["calibration"] if version.config.calibration else []
    trees += [f"videos/{IMAGES}{camera}" for camera in version.config.cameras]
    files, schema, rows = _Files(version), _schema(version), []
    prepared, proofs = _Prepared(version), dict[str, tuple[_Proof, _Proof]]()
    with ExitStack() as stack:
        data, meta = (
            stack.enter_context(TableFiles(version.out / tree, first=version.files(tree)))
            for tree in ("data", "meta/episodes")
        )
        for number, (found, part) in enumerate(version.kept):
            row, entry = prepared.row(part, found.key), _entry(len(version.entries), found)
            indices = lerobot.indices(
                entry.frames, version.robot.fps, version.frames, entry.index, version.tasks[found.instruction]
            )
            columns = part.columns(row)
            for tree in trees:
                row |= files.place(part, tree, row)
            row |= _place_of(data.add(table_of(columns | indices)))
            row |= _identity(entry, version.frames)
            row |= flat_statistics({name: lerobot.statistics(of_rows(_matrix(v))) for name, v in indices.items()})
            prepared.take_statistics(part, columns)
            _take_counts(version, indices, row.pop("levels"))
            version.entries.append(entry)
            version.frames += entry.frames
            rows.append(row)
            proof = (row["data/row_group"], columns | indices, f"episode {entry.index}")
            table = table_path("data", row["data/chunk_index"], row["data/file_index"])
            proofs[table] = (proofs.get(table, (proof,))[0], proof)
            if len(rows) == _BATCH or number + 1 == len(version.kept):
                chunk, file = meta.next_file()
                places = {"meta/episodes/chunk_index": chunk, "meta/episodes/file_index": file}
                meta.add(pa.Table.from_pylist([r | places for r in rows], schema=schema))
                rows.clear()
            yield entry
    for table, first_and_last in proofs.items():
        for row_group, wanted, what in first_and_last:
            require_rows(version.out / table, row_group, wanted, what)


class _Prepared:
    """What the parts have ready, one part at a time: their episodes' rows, and the sums of their statistics.

    A part that is taken whole, as nearly all are, adds its statistics at once; of another one, of which the comparison
    with the others refused something, each episode's are made anew.
    """

    def __init__(self, version: Version) -> None:
        self._version = version
        self._taken = Counter(part.folder for _, part in version.kept)
        self._part: Part | None = None
        self._rows: dict[Key, dict[str, Any]] = {}
        self._whole: set[Path] = set()

    def row(self, part: Part, key: Key) -> dict[str, Any]:
        """A row of `meta/episodes`, to be changed."""
        if part is not self._part:
            self._part, self._rows = part, part.rows()
            if len(self._rows) == self._taken[part.folder] and part.folder not in self._whole:
                self._whole.add(part.folder)
                merge(self._version.sketches, part.sketches())
        return dict(self._rows[key])

    def take_statistics(self, part: Part, columns: dict[str, NDArray[Any]]) -> None:
        """Those of an episode, if its part's do not hold them already."""
        if part.folder not in self._whole:
            add(self._version.sketches, with_forms(columns, self._version.config.chunk))


class _Files:
    """Takes files of parts into the version as they are, each once, and numbers them anew."""

    def __init__(self, version: Version) -> None:
        self._version = version
        self._numbers: dict[tuple[Path, str], int] = {}
        self._next: dict[str, int] = {}

    def place(self, part: Part, tree: str, row: dict[str, Any]) -> dict[str, int]:
        """Chunk and number in the version of the file of `tree` that `row` names in its part."""
        names = (f"{tree}/chunk_index", f"{tree}/file_index")
        path = _path(tree, *(row[name] for name in names))
        known = self._numbers.get((part.folder, path))
        if known is None:
            known = self._numbers[part.folder, path] = self._next.get(tree, self._version.files(tree))
            self._next[tree] = known + 1
            self._take(part, path, _path(tree, *divmod(known, FILES_PER_CHUNK)))
        return dict(zip(names, divmod(known, FILES_PER_CHUNK), strict=True))

    def _take(self, part: Part, path: str, name: str) -> None:
        if part.record is not None:
            ref = part.record.object(path)
            self._version.refer(name, part.record.key_of(ref), ref.size, ref.sha256)
            return
        target = self._version.out / name
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(part.folder / path, target)


def _path(tree: str, chunk: int, file: int) -> str:
    if tree.startswith("videos/"):
        return video_path(Path(), tree.removeprefix("videos/"), chunk, file).as_posix()
    return table_path(tree, chunk, file)


def _place_of(place: Any) -> dict[str, int]:
    return {"data/chunk_index": place.chunk, "data/file_index": place.file, "data/row_group": place.row_group}


def _identity(entry: EpisodeEntry, first: int) -> dict[str, Any]:
    return {
        "episode_index": entry.index,
        "tasks": [entry.instruction],
        "length": entry.frames,
        "dataset_from_index": first,
        "dataset_to_index": first + entry.frames,
    }


def _entry(index: int, found: Examined) -> EpisodeEntry:
    return EpisodeEntry(
        index=index, task_id=found.task_id, episode_id=found.episode_id, instruction=found.instruction,
        frames=found.frames, repaired=found.verdict == "repaired", repairs=found.repairs, accepted=found.accepted,
        source_sha256=found.source_sha256, place=found.place,
    )  # fmt: skip


def _take_counts(version: Version, indices: dict[str, NDArray[Any]], levels: dict[str, Any]) -> None:
    """Add an episode to the version's statistics: its numbers in the version, and its pictures' levels."""
    add(version.sketches, {name: _matrix(values) for name, values in indices.items()})
    for camera, (samples, counts) in levels.items():
        part = np.column_stack([np.asarray(counts, np.int64), np.full(3, samples)])
        version.levels[camera] = version.levels.get(camera, 0) + part


def _matrix(values: NDArray[Any]) -> NDArray[np.float64]:
    """(N,) or (N, D) -> (N, D), in double precision."""
    return values.astype(np.float64).reshape(len(values), -1)


def _schema(version: Version) -> pa.Schema:
    """The columns of `meta/episodes`, spelled out: an episode without labels must not change their types."""
    integer, text, real = pa.int64(), pa.string(), pa.float64()
    fields = {"episode_index": integer, "tasks": pa.list_(text), "length": integer}
    fields |= {name: integer for name in ("dataset_from_index", "dataset_to_index")}
    fields |= {name: integer for name in ("source/task_id", "source/episode_id")}
    fields |= {"labels/scene": text, "labels/start_frame": pa.list_(integer), "labels/end_frame": pa.list_(integer)}
    fields |= {"labels/action_text": pa.list_(text), "labels/skill": pa.list_(text)}
    for tree in ("data", "calibration") if version.config.calibration else ("data",):
        fields |= {f"{tree}/{name}": integer for name in ("chunk_index", "file_index", "row_group")}
    for camera in version.config.cameras:
        key = f"videos/{IMAGES}{camera}"
        fields |= {f"{key}/chunk_index": integer, f"{key}/file_index": integer}
        fields |= {f"{key}/from_timestamp": real, f"{key}/to_timestamp": real}
        if version.config.calibration:
            fields |= {f"calibration/{camera}/{part}": pa.list_(pa.float32()) for part in ("intrinsic", "distortion")}
    fields |= {"meta/episodes/chunk_index": integer, "meta/episodes/file_index": integer}
    names = [*STATE.values(), *ACTION.values(), *lerobot.INDICES, *(IMAGES + c for c in version.config.cameras)]
    for name in names:
        kind = pa.list_(pa.list_(pa.list_(real))) if name.startswith(IMAGES) else pa.list_(real)
        fields |= {
            f"stats/{name}/{key}": kind for key in ("min", "max", "mean", "std", "q01", "q10", "q50", "q90", "q99")
        }
        fields[f"stats/{name}/count"] = pa.list_(integer)
    return pa.schema(list(fields.items()))


# The dataset as a whole: statistics, meta, strips, manifest


def _write_meta(version: Version, summaries: dict[str, Summary]) -> None:
    robot, config, meta = version.robot, version.config, version.out / "meta"
    described = lerobot.features(robot, config.cameras, version.kept[0][1].facts)
    totals = (len(version.entries), version.frames, len(version.tasks))
    lerobot.write_json(meta / "info.json", lerobot.info(robot, *totals, described))
    stats = {name: lerobot.statistics(summaries[name]) for name in described if name in summaries}
    for camera, counts in version.levels.items():
        stats[IMAGES + camera] = lerobot.statistics(of_levels(counts[:, :256], int(counts[0, 256])), image=True)
    lerobot.write_json(meta / "stats.json", stats)
    lerobot.write_tasks(meta / "tasks.parquet", list(version.tasks))


def _copy_strips(version: Version) -> None:
    """Film strips of `strips` of the new episodes, spread evenly over those that have one."""
    strips = [part.folder / "strips" / f"{e.task_id}-{e.episode_id}.jpg" for e, part in version.kept]
    there = [strip for strip in strips if strip.exists()]
    for number in spread(version.config.strips, len(there)):
        target = version.out / "strips" / there[number].name
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(there[number], target)


def _manifest(
    version: Version, summaries: dict[str, Summary], report: ValidationReport, drop: TakenDrop
) -> DatasetManifest:
    statistics = []
    for space in STATE:
        for form in FORMS:
            summary = summaries[ACTION[space] if form == "absolute" else f"{space}/{form}"]
            q01, q99 = (tuple(summary.quantiles[share].tolist()) for share in (0.01, 0.99))
            scale = normalisation(summary, space, form)
            statistics.append(SpaceStatistics(space=space, form=form, normalisation=scale, q01=q01, q99=q99))
    base = version.base.manifest if version.base is not None else None
    return DatasetManifest(
        name=version.config.name, embodiment=version.config.embodiment, fps=version.robot.fps,
        cameras=version.config.cameras, episodes=tuple(version.entries), statistics=tuple(statistics),
        summary=_total(base.summary, report.summary) if base is not None else report.summary,
        source={"prefix": drop.prefix, "fingerprint": drop.fingerprint},
        parent=version.base.record.prefix if version.base is not None else "",
        drops=(*(base.drops if base is not None else ()), drop),
        state_statistics={s: normalisation(summaries[STATE[s]], s, "absolute") for s in STATE},
    )  # fmt: skip


def _total(a: Total, b: Total) -> Total:
    return Total(**{name: value + b.model_dump()[name] for name, value in a.model_dump().items()})
