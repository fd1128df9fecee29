"""Loads a dataset with the real `lerobot` library, as it is, and compares it with the raw drop that it was made from.

    PYTHON tests/agibot/lerobot_check.py DATASET DROP

PYTHON is one that has `lerobot` (and h5py): 0.4 reads v3, 0.3 reads v2.1 (`orrery datasets export`). DROP is a folder.
Frames of the first, a middle and the last episode are compared: the first, a middle and the last frame of each, all
cameras and joint angles. Nothing of this project is imported, and no network is used.
"""

from __future__ import annotations

import json
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import av
import h5py
import numpy as np


def raw_frame(drop: Path, task: int, episode: int, camera: str, wanted: int) -> np.ndarray:
    with av.open(str(drop / "observations" / str(task) / str(episode) / "videos" / f"{camera}.mp4")) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number == wanted:
                return frame.to_ndarray(format="rgb24")
    raise SystemExit(f"episode {episode}, {camera}: the raw video has no frame {wanted}")


def sources(folder: Path) -> list[tuple[int, int, int]]:
    """Task, episode and frames of every episode of the dataset, in order."""
    if (folder / "manifest.json").exists():
        rows = json.loads((folder / "manifest.json").read_text())["episodes"]
        return [(r["task_id"], r["episode_id"], r["frames"]) for r in rows]
    rows = [json.loads(line) for line in (folder / "meta" / "episodes.jsonl").read_text().splitlines()]
    return [(r["source"]["task_id"], r["source"]["episode_id"], r["length"]) for r in rows]


def check(folder: Path, drop: Path) -> None:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    dataset = LeRobotDataset("local/checked", root=folder, video_backend="pyav")
    episodes = sources(folder)
    assert len(dataset) == sum(frames for *_, frames in episodes), "frames"
    assert dataset.num_episodes == len(episodes), "episodes"
    starts = np.cumsum([0, *(frames for *_, frames in episodes)])
    compared = 0
    for index in sorted({0, len(episodes) // 2, len(episodes) - 1}):
        task, episode, frames = episodes[index]
        joints = h5py.File(drop / "proprio_stats" / str(task) / str(episode) / "proprio_stats.h5")[
            "state/joint/position"
        ][:]
        for k in (0, frames // 2, frames - 1):
            row: dict[str, Any] = dataset[int(starts[index]) + k]
            assert (int(row["episode_index"]), int(row["frame_index"])) == (index, k), (index, k)
            assert isinstance(row["task"], str)
            state = row["observation.state"].numpy()
            per_arm = joints.shape[1] // 2
            both = np.concatenate([state[:per_arm], state[per_arm + 1 : 2 * per_arm + 1]])
            np.testing.assert_allclose(both, joints[k], atol=1e-5, err_msg=f"episode {index}, row {k}")
            for key in dataset.meta.video_keys:
                shown = (row[key].numpy().transpose(1, 2, 0) * 255).round()
                raw = raw_frame(drop, task, episode, key.rpartition(".")[2], k).astype(float)
                error = float(np.abs(shown - raw).mean())
                assert error < 1.5, f"episode {index}, row {k}, {key}: {error:.1f} levels from the raw frame"
                compared += 1
    stats = dataset.meta.stats
    assert stats["action"]["mean"].shape == dataset[0]["action"].shape, "statistics"
    print(
        f"lerobot {version('lerobot')} loads {folder} ({dataset.meta.info['codebase_version']}): {len(episodes)} "
        f"episodes, {len(dataset)} frames; {compared} frames and their rows are those of the raw drop"
    )


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    check(Path(sys.argv[1]), Path(sys.argv[2]))
