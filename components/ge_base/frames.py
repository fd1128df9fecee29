"""The training table: every frame of a dataset at the network's size, with states, actions and instructions.

`frames.npy` uint8 (N, V, height, width, 3); `<column>.npy` float32 (N, D) for the state and action columns of both
action spaces; `episodes.json` says which rows are which episode. NumPy's format maps into memory and holds no pickles.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_contracts.base import Contract
from data_contracts.embodiment import Embodiment, load_embodiment

COLUMNS = {
    "state_joint": "observation.state",
    "action_joint": "action",
    "state_eef14": "observation.state.eef14",
    "action_eef14": "action.eef14",
}


class EpisodeRows(Contract):
    """Rows [start, stop) of the table are one episode."""

    index: int
    start: int
    stop: int
    instruction: str
    held_out: bool


class TableMeta(Contract):
    embodiment: str
    cameras: tuple[str, ...]
    image_height: int
    image_width: int
    fps: int
    episodes: tuple[EpisodeRows, ...]


@dataclass(frozen=True)
class FrameTable:
    """The training table, mapped into memory."""

    meta: TableMeta
    frames: NDArray[np.uint8]
    columns: dict[str, NDArray[np.float32]]

    @classmethod
    def open(cls, folder: Path) -> FrameTable:
        meta = TableMeta.model_validate_json((folder / "episodes.json").read_text())
        frames = np.load(folder / "frames.npy", mmap_mode="r", allow_pickle=False)
        columns = {name: np.load(folder / f"{name}.npy", allow_pickle=False) for name in COLUMNS}
        return cls(meta, frames, columns)

    @property
    def embodiment(self) -> Embodiment:
        return load_embodiment(self.meta.embodiment)

    def episodes(self, held_out: bool) -> list[EpisodeRows]:
        return [episode for episode in self.meta.episodes if episode.held_out == held_out]


def write_table(
    folder: Path,
    meta: TableMeta,
    episode_frames: Callable[[EpisodeRows, str], NDArray[np.uint8]],
    episode_columns: Callable[[EpisodeRows], dict[str, NDArray[np.float32]]],
    advance: Callable[[], None],
) -> None:
    """Write a table. `episode_frames(episode, camera)` gives uint8 (rows, height, width, 3); threads call it."""
    total = meta.episodes[-1].stop
    shape = (total, len(meta.cameras), meta.image_height, meta.image_width, 3)
    frames = np.lib.format.open_memmap(folder / "frames.npy", mode="w+", dtype=np.uint8, shape=shape)
    columns: dict[str, list[NDArray[np.float32]]] = {name: [] for name in COLUMNS}

    def fill(episode: EpisodeRows) -> None:
        for view, camera in enumerate(meta.cameras):
            frames[episode.start : episode.stop, view] = episode_frames(episode, camera)

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:  # decoding leaves Python's lock alone
        for _ in pool.map(fill, meta.episodes):
            advance()
    for episode in meta.episodes:
        values = episode_columns(episode)
        for name, source in COLUMNS.items():
            columns[name].append(values[source].astype(np.float32))
    frames.flush()
    for name, parts in columns.items():
        np.save(folder / f"{name}.npy", np.concatenate(parts), allow_pickle=False)
    (folder / "episodes.json").write_text(json.dumps(meta.model_dump(mode="json")))


def shrink(frame: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Area-average a frame (H, W, 3) to (height, width, 3): the one way a camera image becomes a network input.

    Recording, evaluation and serving clients all use it, so a policy never sees a differently resampled world. A fourth
    channel is not looked at, but saves a third of the time: Pillow then takes the frame's memory as it is.
    """
    from PIL import Image

    h, w, channels = frame.shape
    if channels == 4:
        image = Image.frombuffer("RGBX", (w, h), np.ascontiguousarray(frame), "raw", "RGBX", 0, 1)
    else:
        image = Image.fromarray(frame)
    if h % height == 0 and w % width == 0:
        small = image.reduce((w // width, h // height))
    else:
        small = image.resize((width, height), Image.Resampling.BOX)
    return np.asarray(small)[:, :, :3]
