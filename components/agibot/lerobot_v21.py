"""Exports a published version as LeRobot v2.1: one table and one video per episode, for tools that do not read v3 yet.

Facts: LeRobot's own reader of that version. Videos are cut from v3's files packet by packet, without decoding: each
episode begins with a key frame of its own encode.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pyarrow.parquet as pq

from components.agibot import lerobot
from components.agibot.checks.video import FORMAT
from components.agibot.dataset import IMAGES, Dataset, EpisodeRow
from components.agibot.tables import table_of
from components.agibot.videos import video_path
from components.store.errors import ConfigurationError, OrreryError

VERSION = "v2.1"
CHUNK = 1000
"""Episodes in one folder."""
DATA_PATH = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
VIDEO_PATH = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
_STATISTICS = ("min", "max", "mean", "std", "count")


def export(dataset: Dataset, out: Path, advance: Callable[[], None] = lambda: None) -> None:
    """Write `dataset` into the new folder `out`; a failed or killed start leaves nothing there.

    Raises ConfigurationError if `out` is there already, OrreryError if a video does not hold what is promised.
    """
    if out.exists():
        raise ConfigurationError(f"{out} is there already; name a new folder, or remove it")
    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    (part / "meta").mkdir(parents=True)
    names = [n for n, feature in dataset.info["features"].items() if feature["dtype"] != "video"]
    tasks: dict[str, int] = {}
    for row in dataset.episodes:
        columns = dataset.columns(row.index, names)
        (text,) = row.values["tasks"]
        tasks[text] = int(columns["task_index"][0])
        path = _place(part, DATA_PATH, row.index)
        pq.write_table(table_of(columns), path)
        for camera in dataset.manifest.cameras:
            _cut(dataset, row, camera, _place(part, VIDEO_PATH, row.index, IMAGES + camera))
        advance()
    _write_meta(dataset, part, tasks)
    os.replace(part, out)


def _place(root: Path, template: str, index: int, key: str = "") -> Path:
    path = root / template.format(episode_chunk=index // CHUNK, episode_index=index, video_key=key)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _cut(dataset: Dataset, row: EpisodeRow, camera: str, out: Path) -> None:
    """Copy an episode's packets from the file that it shares with others; frame k gets the time k/fps."""
    key, fps = f"videos/{IMAGES}{camera}", dataset.manifest.fps
    first = round(row.values[f"{key}/from_timestamp"] * fps)
    path = video_path(dataset.folder, IMAGES + camera, *row.file(key))
    with av.open(str(path), "r", format=FORMAT) as source, av.open(str(out), "w", format="mp4") as target:
        stream = source.streams.video[0]
        assert stream.time_base is not None  # an MP4 track always has one
        ticks = 1 / (fps * stream.time_base)
        copy = target.add_stream_from_template(stream)
        copy.time_base = Fraction(1, fps)
        if first:
            source.seek(int(first * ticks), stream=stream, backward=True)
        taken = 0
        for packet in source.demux(stream):
            if packet.pts is None or packet.dts is None:
                continue
            shown = round(packet.pts / ticks) - first
            if 0 <= shown < row.length:
                delayed = round(packet.dts / ticks) - first
                packet.stream, packet.time_base = copy, Fraction(1, fps)
                packet.pts, packet.dts, packet.duration = shown, delayed, 1
                target.mux(packet)
                taken += 1
            if taken == row.length:
                break
    if taken != row.length:
        raise OrreryError(f"{path.name} holds {taken} of the {row.length} frames of episode {row.index}")


def _write_meta(dataset: Dataset, out: Path, tasks: dict[str, int]) -> None:
    info = dict(dataset.info)
    for name in ("data_files_size_in_mb", "video_files_size_in_mb"):
        info.pop(name, None)
    episodes, cameras = len(dataset.episodes), len(dataset.manifest.cameras)
    info |= {
        "codebase_version": VERSION, "total_videos": episodes * cameras, "total_chunks": -(-episodes // CHUNK),
        "chunks_size": CHUNK, "data_path": DATA_PATH, "video_path": VIDEO_PATH,
    }  # fmt: skip
    lerobot.write_json(out / "meta" / "info.json", info)
    rows = [{"task_index": n, "task": text} for text, n in sorted(tasks.items(), key=lambda item: item[1])]
    _write_lines(out / "meta" / "tasks.jsonl", rows)
    lengths = [
        {"episode_index": r.index, "tasks": r.values["tasks"], "length": r.length, "source": _source(r)}
        for r in dataset.episodes
    ]
    _write_lines(out / "meta" / "episodes.jsonl", lengths)
    _write_lines(out / "meta" / "episodes_stats.jsonl", list(_statistics(dataset)))


def _source(row: EpisodeRow) -> dict[str, int]:
    return {name: row.values[f"source/{name}"] for name in ("task_id", "episode_id")}


def _statistics(dataset: Dataset) -> Iterator[dict[str, Any]]:
    """Of every episode, as v3 has them; v2.1 knows no quantiles."""
    features = list(dataset.info["features"])
    for path in sorted((dataset.folder / "meta" / "episodes").glob("*/*.parquet")):
        names = ["episode_index", *(f"stats/{f}/{s}" for f in features for s in _STATISTICS)]
        for row in pq.read_table(path, columns=names).to_pylist():
            stats = {f: {s: row[f"stats/{f}/{s}"] for s in _STATISTICS} for f in features}
            yield {"episode_index": row["episode_index"], "stats": stats}


def _write_lines(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
