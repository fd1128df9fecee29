"""A version exported as LeRobot v2.1: the layout that its reader wants, and the same rows and frames.

The real reader is run by hand (`lerobot_check.py`): no environment of this project holds it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow.parquet as pq
import pytest

from components.agibot import lerobot_v21
from components.agibot.lerobot_v21 import export
from components.store.errors import ConfigurationError, OrreryError

from .conftest import CAMERAS, Published


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_row_and_frame_is_there(published: Published, tmp_path: Path) -> None:
    """Cutting a shared file must take each episode's own packets, the last one's too."""
    out = tmp_path / "v21"
    export(published.dataset, out)
    info = json.loads((out / "meta/info.json").read_text())
    frames = [raw.frames for raw in published.good]
    assert (info["codebase_version"], info["total_videos"], info["total_chunks"]) == ("v2.1", 6, 1)
    assert [row["length"] for row in lines(out / "meta/episodes.jsonl")] == frames
    assert [row["task_index"] for row in lines(out / "meta/tasks.jsonl")] == list(range(info["total_tasks"]))
    stats = lines(out / "meta/episodes_stats.jsonl")
    assert [s["episode_index"] for s in stats] == [0, 1, 2]
    first = 0
    for index, raw in enumerate(published.good):
        place = {"episode_chunk": 0, "episode_index": index}
        table = pq.read_table(out / info["data_path"].format(**place))
        assert table["index"].to_pylist() == list(range(first, first + raw.frames))
        mean = np.array(table["action"].to_pylist(), np.float64).mean(axis=0)
        np.testing.assert_allclose(stats[index]["stats"]["action"]["mean"], mean, atol=1e-6)
        with av.open(
            str(out / info["video_path"].format(video_key=f"observation.images.{CAMERAS[0]}", **place))
        ) as file:
            shown = [(frame.pts * frame.time_base, frame.to_ndarray(format="rgb24")) for frame in file.decode(video=0)]
        assert [round(30 * time) for time, _ in shown] == list(range(raw.frames))
        assert (np.stack([image for _, image in shown]) == raw.decode(CAMERAS[0])).all()
        first += raw.frames


def test_a_folder_that_is_there_is_left_alone_and_a_failure_leaves_none(
    published: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(ConfigurationError, match="is there already"):
        export(published.dataset, tmp_path / "there")

    def fails(*_: object) -> None:
        raise OrreryError("the disk is full")

    monkeypatch.setattr(lerobot_v21, "_write_meta", fails)
    with pytest.raises(OrreryError, match="full"):
        export(published.dataset, tmp_path / "out")
    assert not (tmp_path / "out").exists()
