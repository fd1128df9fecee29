"""LeRobot's conventions, version 3.0: what `meta/info.json`, `meta/stats.json` and `meta/tasks.parquet` hold.

Facts: LeRobot's own reader of this version. Feature names hold no `/`; a scalar has the shape [1]; an image's
statistics are those of its channels scaled to 0 .. 1, of the shape [3, 1, 1].
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from components.agibot import tables, videos
from components.agibot.checks.video import FORMAT
from components.agibot.columns import ACTION, STATE
from components.agibot.dataset import IMAGES
from components.agibot.statistics import Summary
from data_contracts.action import action_names
from data_contracts.embodiment import Embodiment

VERSION = "v3.0"
INDICES = {
    "timestamp": "float32",
    "frame_index": "int64",
    "episode_index": "int64",
    "index": "int64",
    "task_index": "int64",
}
"""The columns that every LeRobot dataset has, with their types."""


def features(robot: Embodiment, cameras: Sequence[str], codecs: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Every column and video with its type, shape and names. `codecs` is by camera, from `video_facts`."""
    out: dict[str, Any] = {}
    for space, names in ((space, action_names(space, robot.joints_per_arm)) for space in STATE):
        for column in (STATE[space], ACTION[space]):
            out[column] = {"dtype": "float32", "shape": [len(names)], "names": list(names)}
    for name in cameras:
        camera = next(c for c in robot.cameras if c.name == name)
        out[IMAGES + name] = {
            "dtype": "video",
            "shape": [camera.height, camera.width, 3],
            "names": ["height", "width", "channels"],
            "info": codecs[name],
        }
    return out | {name: {"dtype": kind, "shape": [1], "names": None} for name, kind in INDICES.items()}


def video_facts(path: Path, fps: int) -> dict[str, Any]:
    """What LeRobot notes of a camera's videos, read from one of them."""
    with av.open(str(path), "r", format=FORMAT) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        return {
            "video.height": context.height,
            "video.width": context.width,
            "video.codec": context.codec.canonical_name,
            "video.pix_fmt": context.pix_fmt,
            "video.is_depth_map": False,
            "video.fps": fps,
            "video.channels": 3,
            "has_audio": False,
        }


def info(robot: Embodiment, episodes: int, frames: int, tasks: int, described: dict[str, Any]) -> dict[str, Any]:
    """`meta/info.json`."""
    return {
        "codebase_version": VERSION,
        "robot_type": robot.name,
        "total_episodes": episodes,
        "total_frames": frames,
        "total_tasks": tasks,
        "chunks_size": tables.FILES_PER_CHUNK,
        "data_files_size_in_mb": tables.FILE_BYTES >> 20,
        "video_files_size_in_mb": videos.FILE_BYTES >> 20,
        "fps": robot.fps,
        "splits": {"train": f"0:{episodes}"},
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
        "features": described,
    }


def statistics(summary: Summary, image: bool = False) -> dict[str, Any]:
    """A feature's statistics by LeRobot's names."""
    values = {"min": summary.low, "max": summary.high, "mean": summary.mean, "std": summary.std}
    values |= {f"q{round(100 * share):02d}": value for share, value in summary.quantiles.items()}
    lists = {name: (value.reshape(-1, 1, 1) if image else value).tolist() for name, value in values.items()}
    return {**lists, "count": [summary.count]}


def write_tasks(path: Path, tasks: Sequence[str]) -> None:
    """`meta/tasks.parquet`: a data frame indexed by the instructions, as LeRobot's reader wants it."""
    frame = pd.DataFrame({"task_index": np.arange(len(tasks), dtype=np.int64)}, index=pd.Index(tasks, name="task"))
    frame.to_parquet(path)


def write_json(path: Path, document: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=4, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def indices(frames: int, fps: int, first: int, episode: int, task: int) -> dict[str, NDArray[Any]]:
    """The columns of `INDICES` for one episode whose first frame is number `first` of the dataset."""
    count = np.arange(frames, dtype=np.int64)
    return {
        "timestamp": (count / fps).astype(np.float32),
        "frame_index": count,
        "episode_index": np.full(frames, episode, np.int64),
        "index": first + count,
        "task_index": np.full(frames, task, np.int64),
    }
