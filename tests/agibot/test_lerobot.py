"""A published version must be a LeRobot v3.0 dataset for everybody else's tools, by LeRobot's own conventions."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.agibot.lerobot import INDICES

from .conftest import CAMERAS, Published

ARROW = {"float32": pa.float32(), "int64": pa.int64()}


@pytest.fixture
def info(published: Published) -> dict[str, Any]:
    return json.loads((published.folder / "meta/info.json").read_text())


@pytest.fixture
def episodes(published: Published) -> pd.DataFrame:
    return pq.read_table(published.folder / "meta/episodes/chunk-000/file-000.parquet").to_pandas()


def test_info(published: Published, info: dict[str, Any]) -> None:
    frames = sum(raw.frames for raw in published.good)
    assert {k: v for k, v in info.items() if k != "features"} == {
        "codebase_version": "v3.0",
        "robot_type": "agibot_g1",
        "total_episodes": 3,
        "total_frames": frames,
        "total_tasks": len({raw.entry()["task_name"] for raw in published.good}),
        "chunks_size": 1000,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "fps": 30,
        "splits": {"train": "0:3"},
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
    }


def test_features_are_the_columns_of_the_data(published: Published, info: dict[str, Any]) -> None:
    """LeRobot casts the table to its features; a column more or less, or another type, and it refuses the dataset."""
    schema = pq.read_schema(published.folder / "data/chunk-000/file-000.parquet")
    described = {name: f for name, f in info["features"].items() if f["dtype"] != "video"}
    assert set(schema.names) == set(described)
    for name, feature in described.items():
        assert "/" not in name
        kind = ARROW[feature["dtype"]]
        (width,) = feature["shape"]
        assert schema.field(name).type == (kind if name in INDICES else pa.list_(kind, width)), name
        if name not in INDICES:
            assert len(feature["names"]) == width


def test_videos_are_described_as_they_are(published: Published, info: dict[str, Any]) -> None:
    assert [k for k, f in info["features"].items() if f["dtype"] == "video"] == [
        f"observation.images.{c}" for c in CAMERAS
    ]
    feature = info["features"]["observation.images.head_color"]
    assert (feature["shape"], feature["names"]) == ([480, 640, 3], ["height", "width", "channels"])
    assert feature["info"] == {
        "video.height": 480, "video.width": 640, "video.codec": "h264", "video.pix_fmt": "yuv420p",
        "video.is_depth_map": False, "video.fps": 30, "video.channels": 3, "has_audio": False,
    }  # fmt: skip


def test_one_row_group_per_episode(published: Published) -> None:
    file = pq.ParquetFile(published.folder / "data/chunk-000/file-000.parquet")
    for group, raw in enumerate(published.good):
        table = file.read_row_group(group)
        assert len(table) == raw.frames
        assert set(table["episode_index"].to_pylist()) == {group}


def test_indices_count_through_the_dataset(published: Published) -> None:
    table = pq.read_table(published.folder / "data/chunk-000/file-000.parquet")
    assert table["index"].to_pylist() == list(range(len(table)))
    stamps = table["timestamp"].to_numpy()
    assert np.abs(stamps - table["frame_index"].to_numpy() / 30).max() < 1e-4, "LeRobot's tolerance"


def test_episodes_tile_the_data_and_the_videos(
    published: Published, info: dict[str, Any], episodes: pd.DataFrame
) -> None:
    """`from` of one is `to` of the one before, and every path that the templates give exists."""
    lengths = [raw.frames for raw in published.good]
    ends = np.cumsum(lengths)
    assert episodes["episode_index"].tolist() == [0, 1, 2]
    assert episodes["length"].tolist() == lengths
    assert episodes["dataset_to_index"].tolist() == ends.tolist()
    assert episodes["dataset_from_index"].tolist() == [0, *ends[:-1]]
    for camera in CAMERAS:
        key = f"observation.images.{camera}"
        np.testing.assert_allclose(episodes[f"videos/{key}/to_timestamp"], ends / 30, rtol=1e-12)
        np.testing.assert_allclose(episodes[f"videos/{key}/from_timestamp"], (ends - lengths) / 30, rtol=1e-12)
        for row in episodes.to_dict("records"):
            place = {n: row[f"videos/{key}/{n}"] for n in ("chunk_index", "file_index")}
            assert (published.folder / info["video_path"].format(video_key=key, **place)).is_file()
    for row in episodes.to_dict("records"):
        place = {n: row[f"data/{n}"] for n in ("chunk_index", "file_index")}
        assert (published.folder / info["data_path"].format(**place)).is_file()
        assert (row["meta/episodes/chunk_index"], row["meta/episodes/file_index"]) == (0, 0)


def test_tasks_are_indexed_by_their_text(published: Published, episodes: pd.DataFrame) -> None:
    tasks = pd.read_parquet(published.folder / "meta/tasks.parquet")
    assert tasks.columns.tolist() == ["task_index"]
    table = pq.read_table(published.folder / "data/chunk-000/file-000.parquet").to_pandas()
    for index, raw in enumerate(published.good):
        text = raw.entry()["task_name"]
        assert set(table.loc[table.episode_index == index, "task_index"]) == {tasks.loc[text].task_index}
        assert list(episodes["tasks"][index]) == [text]


def test_statistics_of_every_feature(published: Published, info: dict[str, Any], episodes: pd.DataFrame) -> None:
    stats = json.loads((published.folder / "meta/stats.json").read_text())
    assert set(stats) == set(info["features"])
    names = {"min", "max", "mean", "std", "count", "q01", "q10", "q50", "q90", "q99"}
    for name, feature in info["features"].items():
        assert set(stats[name]) == names
        shape = (3, 1, 1) if feature["dtype"] == "video" else tuple(feature["shape"])
        assert all(np.shape(stats[name][k]) == shape for k in names - {"count"}), name
        assert {f"stats/{name}/{k}" for k in names} <= set(episodes.columns)
        low, mean, high = (np.array(stats[name][k]) for k in ("min", "mean", "max"))
        assert (low <= mean + 1e-9).all()
        assert (mean <= high + 1e-9).all()
    rows = np.concatenate([published.dataset.columns(i, ["action"])["action"] for i in range(3)]).astype(np.float64)
    np.testing.assert_allclose(stats["action"]["std"], rows.std(axis=0), atol=1e-9)
    assert stats["action"]["count"] == [len(rows)]
    means = np.array([np.stack(m).ravel() for m in episodes["stats/observation.state/mean"]])
    weights = episodes["length"].to_numpy()
    np.testing.assert_allclose(
        np.average(means, axis=0, weights=weights), stats["observation.state"]["mean"], atol=1e-9
    )


def test_image_statistics_are_plausible(published: Published) -> None:
    """Scaled to 0 .. 1; a deviation near zero has ruined trainings elsewhere."""
    stats = json.loads((published.folder / "meta/stats.json").read_text())["observation.images.head_color"]
    pixels = np.concatenate([raw.decode("head_color")[::10, ::4, ::4] for raw in published.good]) / 255
    np.testing.assert_allclose(np.ravel(stats["mean"]), pixels.mean(axis=(0, 1, 2)), atol=0.02)
    np.testing.assert_allclose(np.ravel(stats["std"]), pixels.std(axis=(0, 1, 2)), atol=0.03)
    assert stats["count"] == [24]
