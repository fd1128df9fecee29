"""Reads a published dataset version: LeRobot v3 files beside `manifest.json`.

```
meta/info.json meta/stats.json meta/tasks.parquet meta/episodes/chunk-000/file-000.parquet
data/chunk-000/file-000.parquet                 one row group per episode
videos/<camera key>/chunk-000/file-000.mp4      several episodes per file
calibration/chunk-000/file-000.parquet          camera to base per frame, for every camera
records/file-000.jsonl                          how each episode was examined: one file per drop that was joined
statistics/sketches.npz                         what statistics of more episodes are made from
report.html data_docs.html                      for people: the intake's report, and how the contract was kept
```
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from components.store.errors import OrreryError
from data_contracts.dataset import DatasetManifest

MANIFEST = "manifest.json"
RECORDS = "records"
SKETCHES = "statistics/sketches.npz"
IMAGES = "observation.images."


@dataclass(frozen=True)
class EpisodeRow:
    """One row of `meta/episodes`, as it is there; LeRobot's keys by their names."""

    values: dict[str, Any]

    @property
    def index(self) -> int:
        return int(self.values["episode_index"])

    @property
    def length(self) -> int:
        return int(self.values["length"])

    @property
    def spans(self) -> list[tuple[int, int, str, str]]:
        """Labelled steps: start, end (half open), text, skill."""
        names = ("start_frame", "end_frame", "action_text", "skill")
        return list(zip(*(self.values[f"labels/{name}"] for name in names), strict=True))

    def file(self, kind: str) -> tuple[int, int]:
        """Chunk and file index of `data` or `videos/<key>`."""
        return int(self.values[f"{kind}/chunk_index"]), int(self.values[f"{kind}/file_index"])


class Dataset:
    """A dataset version in a local folder. Reading is lazy; one instance serves one thread, but for `frames`."""

    def __init__(self, folder: Path, manifest: DatasetManifest) -> None:
        self.folder, self.manifest = folder, manifest
        self._open: tuple[Path, Any] | None = None

    @classmethod
    def open(cls, folder: Path) -> Dataset:
        """The dataset in `folder`. Raises OrreryError if it holds none."""
        try:
            manifest = DatasetManifest.model_validate_json((folder / MANIFEST).read_bytes())
        except (OSError, ValidationError) as error:
            raise OrreryError(f"{folder} holds no dataset version: {MANIFEST}: {str(error).splitlines()[0]}") from error
        return cls(folder, manifest)

    @cached_property
    def info(self) -> dict[str, Any]:
        """LeRobot's `meta/info.json`."""
        return json.loads((self.folder / "meta" / "info.json").read_text(encoding="utf-8"))

    @cached_property
    def episodes(self) -> list[EpisodeRow]:
        """Every episode's row of `meta/episodes`, in order, without its statistics."""
        import pyarrow.parquet as pq

        rows: list[EpisodeRow] = []
        for path in sorted((self.folder / "meta" / "episodes").glob("*/*.parquet")):
            file = pq.ParquetFile(path)
            names = [n for n in file.schema_arrow.names if not n.startswith("stats/")]
            rows += [EpisodeRow(values) for values in file.read(columns=names).to_pylist()]
        return rows

    def columns(self, episode_index: int, names: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Columns of one episode: (N, D) for vectors, (N,) for scalars.

        Raises KeyError for a column that is not there.
        """
        return self._columns("data", episode_index, names)

    def camera_to_base(self, episode_index: int, camera: str) -> NDArray[np.float32]:
        """(N, 4, 4) camera to robot base, metres, OpenCV axes. Raises KeyError without calibration of this camera."""
        rows = self._columns("calibration", episode_index, [camera])[camera].reshape(-1, 3, 4)
        last = np.broadcast_to(np.array([0, 0, 0, 1], np.float32), (len(rows), 1, 4))
        return np.concatenate([rows, last], axis=1)

    def intrinsics(self, episode_index: int, camera: str) -> NDArray[np.float32]:
        """(3, 3) pinhole matrix in pixels of the published video. Raises KeyError without calibration."""
        fx, fy, cx, cy = self._episode(episode_index).values[f"calibration/{camera}/intrinsic"]
        return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], np.float32)

    def frames(
        self, episode_index: int, camera: str, pixels: Literal["rgb24", "rgba"] = "rgb24"
    ) -> Iterator[NDArray[np.uint8]]:
        """Every frame of one camera, uint8 (H, W, 3) RGB or (H, W, 4), decoded in order.

        Raises KeyError, OrreryError.
        """
        from components.agibot.videos import read_frames, video_path

        episode, key = self._episode(episode_index), f"videos/{IMAGES}{camera}"
        if f"{key}/from_timestamp" not in episode.values:
            raise KeyError(f"dataset {self.manifest.name} has no camera {camera!r}; it has {self.manifest.cameras}")
        start = round(episode.values[f"{key}/from_timestamp"] * self.manifest.fps)
        path = video_path(self.folder, IMAGES + camera, *episode.file(key))
        return read_frames(path, start, episode.length, self.manifest.fps, pixels)

    def _episode(self, episode_index: int) -> EpisodeRow:
        if not 0 <= episode_index < len(self.episodes):
            raise KeyError(
                f"dataset {self.manifest.name} has episodes 0 .. {len(self.episodes) - 1}, no {episode_index}"
            )
        return self.episodes[episode_index]

    def _columns(self, tree: str, episode_index: int, names: Iterable[str]) -> dict[str, NDArray[Any]]:
        wanted, episode = list(names), self._episode(episode_index)
        chunk, file = episode.file(tree)
        parquet = self._parquet(self.folder / tree / f"chunk-{chunk:03d}" / f"file-{file:03d}.parquet")
        absent = [n for n in wanted if n not in parquet.schema_arrow.names]
        if absent:
            raise KeyError(f"dataset {self.manifest.name} has no {tree} columns {absent}")
        group = int(episode.values[f"{tree}/row_group"])
        table = parquet.read_row_group(group, columns=wanted)
        if len(table) != episode.length:
            raise OrreryError(f"{tree} of episode {episode_index} has {len(table)} rows, {episode.length} are promised")
        return {name: array_of(table.column(name).combine_chunks()) for name in wanted}

    def _parquet(self, path: Path) -> Any:
        import pyarrow.parquet as pq

        if self._open is None or self._open[0] != path:
            self._open = (path, pq.ParquetFile(path))
        return self._open[1]


def array_of(column: Any) -> NDArray[Any]:
    import pyarrow as pa

    if pa.types.is_fixed_size_list(column.type):
        return column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), column.type.list_size)
    return column.to_numpy(zero_copy_only=False)
