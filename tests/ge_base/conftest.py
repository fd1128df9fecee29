"""A training table of a few synthetic episodes: each frame's brightness says which row it is."""

from pathlib import Path

import numpy as np
import pytest

from components.ge_base.frames import COLUMNS, EpisodeRows, FrameTable, TableMeta, write_table

LENGTHS = (30, 45, 20, 33)


@pytest.fixture(scope="session")
def table_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("table")
    rows, start = [], 0
    for index, length in enumerate(LENGTHS):
        rows.append(
            EpisodeRows(
                index=index, start=start, stop=start + length, instruction=f"press {index}", held_out=index == 3
            )
        )
        start += length
    meta = TableMeta(
        embodiment="agibot_g1", cameras=("head_color", "hand_left_color"), image_height=16, image_width=24, fps=30,
        episodes=tuple(rows),
    )  # fmt: skip
    rng = np.random.default_rng(0)

    def frames(episode: EpisodeRows, camera: str) -> np.ndarray:
        out = rng.integers(0, 40, (episode.stop - episode.start, 16, 24, 3), dtype=np.uint8)
        out[:, 0, 0, 0] = np.arange(episode.start, episode.stop)
        return out

    def columns(episode: EpisodeRows) -> dict[str, np.ndarray]:
        n = episode.stop - episode.start
        return {source: rng.normal(size=(n, 14 if "eef14" in source else 16)) for source in COLUMNS.values()}

    write_table(folder, meta, frames, columns, lambda: None)
    return folder


@pytest.fixture
def table(table_folder) -> FrameTable:
    return FrameTable.open(table_folder)
