"""A part of a drop, made ready for publishing: what a shard leaves, and what a dataset version is put together from.

```
examined.jsonl                        what was found out about each of its episodes, in key order
rows.jsonl                            of each usable one: a row of `meta/episodes`, but for what its number decides
facts.json                            what LeRobot notes of each camera's videos
statistics/sketches.npz               of the usable ones' columns and action forms, to be added to those of other parts
data/ calibration/ videos/ strips/    as in a dataset (`components.agibot.dataset`), numbered from nought
```
A version refers to `calibration` and `videos` as they are; `data` it writes anew, with the episodes' numbers in it.
Memory does not grow with the part: tables are written episode by episode, videos packet by packet.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from components.agibot import lerobot
from components.agibot.columns import ACTION, STATE
from components.agibot.config import IntakeConfig
from components.agibot.dataset import IMAGES, SKETCHES, array_of
from components.agibot.drop import EpisodeSource, Key
from components.agibot.examine import Examined, stem
from components.agibot.page import MOST_SHOWN
from components.agibot.statistics import (
    FORMS,
    Rows,
    Sketches,
    add,
    in_form,
    levels,
    of_levels,
    of_rows,
    read_sketches,
    write_sketches,
)
from components.agibot.stored import forget, local_video
from components.agibot.tables import TableFiles, table_of
from components.agibot.verify import ends, require_pictures, require_rows
from components.agibot.videos import VideoJoiner, VideoPlace, video_path
from components.store.files import write_atomic
from data_contracts.base import canonical_json
from data_contracts.lineage import StageRecord

EXAMINED, ROWS, FACTS = "examined.jsonl", "rows.jsonl", "facts.json"
COLUMNS = (*STATE.values(), *ACTION.values())


def write_part(
    out: Path,
    config: IntakeConfig,
    work: Path,
    sources: dict[Key, EpisodeSource],
    examined: Sequence[Examined],
    advance: Callable[[], None] = lambda: None,
) -> None:
    """Write the part of `examined` into `out`; what was kept of the usable ones lies in `work`.

    Raises OrreryError if a file of the drop changed since it was examined.
    """
    usable = [e for e in examined if e.usable]
    fps = config.profile.robot(config.embodiment).fps
    rows, facts = [], {}
    sketches: Sketches = {}
    with ExitStack() as stack:
        data, calibration = (stack.enter_context(TableFiles(out / tree)) for tree in ("data", "calibration"))
        joiners = {c: stack.enter_context(VideoJoiner(out, IMAGES + c, fps)) for c in config.cameras}
        for found in usable:
            source, kept = sources[found.key], stem(work, *found.key)
            with np.load(kept.with_name(kept.name + ".npz"), allow_pickle=False) as arrays:
                columns = {name: arrays[name] for name in COLUMNS}
                row = _labels(source) | _place("data", data.add(table_of(columns)))
                if config.calibration:
                    poses = {c: arrays[f"calibration/{c}/camera_to_base"] for c in config.cameras}
                    row |= _place("calibration", calibration.add(table_of(poses))) | _intrinsics(arrays, config.cameras)
                row |= _statistics(arrays, config.cameras)
            add(sketches, with_forms(columns, config.chunk))
            for camera, joiner in joiners.items():
                blob = local_video(work, source, camera)
                assert blob is not None  # an episode without it is not usable
                row |= _video(IMAGES + camera, joiner.add(blob, found.frames), fps)
            forget(work, source)
            rows.append({"source/task_id": found.task_id, "source/episode_id": found.episode_id, **row})
            advance()
    _verify(out, config, work, usable, rows)
    if usable:
        facts = {c: lerobot.video_facts(video_path(out, IMAGES + c, 0, 0), fps) for c in config.cameras}
    _copy_strips(out, work, usable, [e for e in examined if not e.usable], config.strips)
    for name, lines in ((EXAMINED, map(Examined.model_dump_json, examined)), (ROWS, map(canonical_json, rows))):
        write_atomic(out / name, "".join(f"{line}\n" for line in lines).encode())
    lerobot.write_json(out / FACTS, facts)
    write_sketches(out / SKETCHES, sketches, {})


def _verify(
    out: Path, config: IntakeConfig, work: Path, usable: Sequence[Examined], rows: Sequence[dict[str, Any]]
) -> None:
    """Read back the first and last episode of each file. Raises OrreryError if one is not as it was examined."""
    fps, names = config.profile.robot(config.embodiment).fps, [f"videos/{IMAGES}{c}" for c in config.cameras]
    for tree in ("data", *names):
        for number in ends((r[f"{tree}/chunk_index"], r[f"{tree}/file_index"]) for r in rows):
            row, kept = rows[number], stem(work, *usable[number].key)
            file = (row[f"{tree}/chunk_index"], row[f"{tree}/file_index"])
            what = f"task {usable[number].task_id}, episode {usable[number].episode_id}"
            with np.load(kept.with_name(kept.name + ".npz"), allow_pickle=False) as arrays:
                if tree == "data":
                    wanted = {name: arrays[name] for name in COLUMNS}
                    require_rows(out / table_path(tree, *file), row["data/row_group"], wanted, what)
                    continue
                camera, start = tree.removeprefix(f"videos/{IMAGES}"), round(row[f"{tree}/from_timestamp"] * fps)
                path = video_path(out, IMAGES + camera, *file)
                require_pictures(path, start, fps, arrays[f"samples/{camera}"], arrays[f"sampled/{camera}"], what)


def _labels(source: EpisodeSource) -> dict[str, Any]:
    entry = source.entry
    assert entry is not None  # an episode that task_info does not list is not usable
    spans = entry.spans or ()
    return {
        "labels/scene": entry.init_scene_text,
        "labels/start_frame": [s.start for s in spans],
        "labels/end_frame": [s.end for s in spans],
        "labels/action_text": [s.text for s in spans],
        "labels/skill": [s.skill for s in spans],
    }


def _place(tree: str, place: Any) -> dict[str, int]:
    return {f"{tree}/chunk_index": place.chunk, f"{tree}/file_index": place.file, f"{tree}/row_group": place.row_group}


def _video(key: str, place: VideoPlace, fps: int) -> dict[str, Any]:
    """Timestamps are divided once from whole frames: sums of durations would drift."""
    return {
        f"videos/{key}/chunk_index": place.chunk,
        f"videos/{key}/file_index": place.file,
        f"videos/{key}/from_timestamp": place.start / fps,
        f"videos/{key}/to_timestamp": (place.start + place.frames) / fps,
    }


def _intrinsics(arrays: Any, cameras: Sequence[str]) -> dict[str, list[float]]:
    names = [f"calibration/{c}/{part}" for c in cameras for part in ("intrinsic", "distortion")]
    return {name: arrays[name].tolist() for name in names}


def _statistics(arrays: Any, cameras: Sequence[str]) -> dict[str, Any]:
    """The episode's own statistics, and how often each level occurs in its sampled images."""
    found = {name: lerobot.statistics(of_rows(arrays[name])) for name in COLUMNS}
    counted: dict[str, Any] = {}
    for camera in cameras:
        samples = arrays[f"samples/{camera}"]
        counts = levels(samples)
        counted[camera] = [len(samples), counts.tolist()]
        found[IMAGES + camera] = lerobot.statistics(of_levels(counts, len(samples)), image=True)
    return flat_statistics(found) | {"levels": counted}


def with_forms(columns: dict[str, NDArray[Any]], chunk: int) -> dict[str, Rows]:
    """All of an episode that statistics are made of: its `COLUMNS`, and each action space in the forms that differ."""
    rows: dict[str, Rows] = {name: np.asarray(values, np.float64) for name, values in columns.items()}
    for space in STATE:
        state, action = rows[STATE[space]], rows[ACTION[space]]
        rows |= {f"{space}/{form}": in_form(state, action, space, form, chunk) for form in FORMS if form != "absolute"}
    return rows


def flat_statistics(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Statistics by name as columns of `meta/episodes`."""
    return {f"stats/{name}/{key}": value for name, values in found.items() for key, value in values.items()}


def spread(count: int, of: int) -> list[int]:
    """`count` numbers below `of`, evenly spread, the first and the last among them."""
    return sorted({int(n) for n in np.linspace(0, of - 1, min(count, of)).round()}) if of else []


def _copy_strips(out: Path, work: Path, usable: list[Examined], bad: list[Examined], strips: int) -> None:
    """Film strips of some usable episodes, and of the bad ones that a report shows."""
    for episode in (*(usable[n] for n in spread(strips, len(usable))), *bad[:MOST_SHOWN]):
        path = stem(work, *episode.key)
        if (strip := path.with_name(path.name + ".jpg")).exists():
            (out / "strips").mkdir(exist_ok=True)
            shutil.copyfile(strip, out / "strips" / strip.name)


@dataclass(frozen=True)
class Part:
    """A part in a local folder. With a `record` it is a published shard, of which videos and calibration lie there."""

    folder: Path
    record: StageRecord | None = None

    @cached_property
    def examined(self) -> list[Examined]:
        return read_examined([self.folder / EXAMINED])

    def rows(self) -> dict[Key, dict[str, Any]]:
        """Of each usable episode. Not kept: those of all parts would not fit into memory."""
        with open(self.folder / ROWS, encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
        return {(row["source/task_id"], row["source/episode_id"]): row for row in rows}

    def sketches(self) -> Sketches:
        """Of all its usable episodes together."""
        return read_sketches(self.folder / SKETCHES)[0]

    @property
    def facts(self) -> dict[str, Any]:
        return json.loads((self.folder / FACTS).read_text(encoding="utf-8"))

    def columns(self, row: dict[str, Any]) -> dict[str, NDArray[Any]]:
        """`COLUMNS` of one episode, float32 (N, D)."""
        path = self.folder / table_path("data", row["data/chunk_index"], row["data/file_index"])
        table = pq.ParquetFile(path).read_row_group(row["data/row_group"])
        return {name: array_of(table.column(name).combine_chunks()) for name in COLUMNS}


def table_path(tree: str, chunk: int, file: int) -> str:
    return f"{tree}/chunk-{chunk:03d}/file-{file:03d}.parquet"


def read_examined(paths: Iterable[Path]) -> list[Examined]:
    """The episodes of files of JSON lines."""
    return list(_read(paths))


def _read(paths: Iterable[Path]) -> Iterator[Examined]:
    for path in paths:
        with open(path, "rb") as file:
            yield from map(Examined.model_validate_json, file)
