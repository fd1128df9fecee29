"""A drop of one long episode, made from a short recorded one: its packets again and again, its motion to and fro."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from components.agibot.blob import Blob
from components.agibot.videos import VideoJoiner, video_path
from components.robots.raw_layout import EpisodeFiles


def stretch(drop: Path, out: Path, least: int) -> int:
    """Write a drop of the first episode of `drop` alone, of at least `least` frames; how many it has.

    Videos hold real encodes, repeated whole. States go forward and back, so that no joint jumps; all other numbers are
    the recorded ones, frame by frame.
    """
    (path,) = sorted((drop / "task_info").glob("task_*.json"))[:1]
    entry = json.loads(path.read_text())[0]
    task = int(path.stem.removeprefix("task_"))
    old, new = (EpisodeFiles(root, task, entry["episode_id"]) for root in (drop, out))
    with h5py.File(old.proprio) as file:
        length = len(file["timestamp"])
    times = -(-least // length)
    frames = times * length
    forward = np.arange(length)
    order = np.concatenate([forward if n % 2 == 0 else forward[::-1] for n in range(times)])
    _proprio(old.proprio, new.proprio, order)
    for video in sorted(old.video("x").parent.glob("*.mp4")):
        with VideoJoiner(out / "joined", video.stem, 30, file_bytes=1 << 40) as joiner:
            for _ in range(times):
                joiner.add(Blob.of_file(video, video.name), length)
        target = new.video(video.stem)
        target.parent.mkdir(parents=True, exist_ok=True)
        video_path(out / "joined", video.stem, 0, 0).rename(target)
    shutil.rmtree(out / "joined")
    for parameters in sorted(old.camera_folder.glob("*.json")):
        document = json.loads(parameters.read_text())
        document = [document[n] for n in order] if isinstance(document, list) else document
        new.camera_folder.mkdir(parents=True, exist_ok=True)
        (new.camera_folder / parameters.name).write_text(json.dumps(document))
    step = {**entry["label_info"]["action_config"][0], "start_frame": 0, "end_frame": frames}
    (out / "task_info").mkdir()
    (out / "task_info" / path.name).write_text(json.dumps([{**entry, "label_info": {"action_config": [step]}}]))
    return frames


def _proprio(old: Path, new: Path, order: np.ndarray) -> None:
    new.parent.mkdir(parents=True)
    with h5py.File(old) as source, h5py.File(new, "w") as target:

        def copy(name: str, node: Any) -> None:
            if not isinstance(node, h5py.Dataset):
                return
            if name == "timestamp":
                target[name] = node[0] + np.arange(len(order)) * 10**9 // 30
            elif name.endswith("/index"):
                target[name] = np.arange(len(order))
            else:
                target[name] = node[()][order] if node.size else node[()]

        source.visititems(copy)
