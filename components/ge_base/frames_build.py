"""From a LeRobot dataset to the training table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from components.agibot.dataset import Dataset
from components.ge_base.config import FramesConfig
from components.ge_base.frames import COLUMNS, EpisodeRows, TableMeta, shrink, write_table
from components.store.errors import ConfigurationError, OrreryError
from components.telemetry.progress import progress
from data_contracts.lineage import Metric


def build_table(config: FramesConfig, dataset_folder: Path, out: Path) -> dict[str, Metric]:
    """Write the table of the dataset in `dataset_folder` into `out`.

    Raises:
        ConfigurationError: a wanted camera is not in the dataset.
        OrreryError: a video's frame count differs from the dataset's rows.
    """
    dataset = Dataset.open(dataset_folder)
    manifest = dataset.manifest
    absent = [camera for camera in config.cameras if camera not in manifest.cameras]
    if absent:
        raise ConfigurationError(
            f"frames.cameras names {absent}, but dataset {manifest.name} has {list(manifest.cameras)}; use those"
        )
    rows: list[EpisodeRows] = []
    for entry in manifest.episodes:
        start = rows[-1].stop if rows else 0
        held_out = entry.index % config.holdout_every == config.holdout_every - 1
        rows.append(
            EpisodeRows(
                index=entry.index,
                start=start,
                stop=start + entry.frames,
                instruction=entry.instruction,
                held_out=held_out,
            )
        )
    meta = TableMeta(
        embodiment=manifest.embodiment, cameras=config.cameras, image_height=config.image_height,
        image_width=config.image_width, fps=manifest.fps, episodes=tuple(rows),
    )  # fmt: skip

    def episode_frames(episode: EpisodeRows, camera: str) -> NDArray[np.uint8]:
        frames = dataset.frames(episode.index, camera, "rgba")
        small = [shrink(frame, config.image_height, config.image_width) for frame in frames]
        if len(small) != episode.stop - episode.start:
            raise OrreryError(
                f"episode {episode.index} of dataset {manifest.name}: camera {camera} has {len(small)} frames, its "
                f"table {episode.stop - episode.start} rows; publish the dataset again"
            )
        return np.stack(small)

    def episode_columns(episode: EpisodeRows) -> dict[str, NDArray[np.float32]]:
        return dataset.columns(episode.index, list(COLUMNS.values()))

    with progress(len(rows), "decoding", "episodes") as bar:
        write_table(out, meta, episode_frames, episode_columns, lambda: bar.advance(1))
    return {"episodes": len(rows), "frames": rows[-1].stop, "held_out": sum(r.held_out for r in rows)}
