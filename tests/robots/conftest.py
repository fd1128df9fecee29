"""What the robots' tests share: simulations, and a drop made once per test session by the real recorder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from components.robots.config import RecordConfig, TaskPlan
from components.robots.env import Env
from data_contracts.lineage import Metric

CAMERAS = ("head_color", "hand_left_color", "hand_right_color")
DROP = RecordConfig(name="test-drop", tasks=(TaskPlan(task="press", level=1),), episodes=2, noise_share=0.5)
DROP_SEED = 3


def tree_hashes(root: Path) -> dict[str, str]:
    """SHA-256 of every file below `root`, by its name."""
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def decode(path: Path) -> NDArray[np.uint8]:
    """All frames of a video, (N, height, width, 3)."""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


@dataclass(frozen=True)
class RawEpisode:
    """One episode of a drop of folders, read with nothing but h5py, PyAV and json."""

    root: Path
    task_id: int
    episode_id: int

    def _folder(self, tree: str) -> Path:
        return self.root / tree / str(self.task_id) / str(self.episode_id)

    @property
    def labels(self) -> dict[str, Any]:
        entries = json.loads((self.root / f"task_info/task_{self.task_id}.json").read_text())
        return next(e for e in entries if e["episode_id"] == self.episode_id)

    def proprio(self) -> dict[str, NDArray[Any]]:
        found: dict[str, NDArray[Any]] = {}
        with h5py.File(self._folder("proprio_stats") / "proprio_stats.h5") as file:
            file.visititems(lambda name, node: found.update({name: node[()]}) if hasattr(node, "shape") else None)
        return found

    def video(self, camera: str) -> Path:
        return self._folder("observations") / "videos" / f"{camera}.mp4"

    def parameters(self, name: str) -> Any:
        return json.loads((self._folder("parameters") / "parameters" / "camera" / f"{name}.json").read_text())

    def intrinsic(self, view: str) -> NDArray[np.float64]:
        k = self.parameters(f"{view}_intrinsic_params")["intrinsic"]
        return np.array([[k["fx"], 0, k["ppx"]], [0, k["fy"], k["ppy"]], [0, 0, 1]])

    def camera_to_base(self, view: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Rotations (N, 3, 3) and translations (N, 3) of the aligned extrinsics."""
        poses = [p["extrinsic"] for p in self.parameters(f"{view}_extrinsic_params_aligned")]
        return np.array([p["rotation_matrix"] for p in poses]), np.array([p["translation_vector"] for p in poses])


def raw_episodes(root: Path) -> list[RawEpisode]:
    found = []
    for path in sorted((root / "task_info").glob("task_*.json")):
        task_id = int(path.stem.removeprefix("task_"))
        found += [RawEpisode(root, task_id, e["episode_id"]) for e in json.loads(path.read_text())]
    return found


@dataclass(frozen=True)
class RecordedDrop:
    root: Path
    metrics: dict[str, Metric]

    @property
    def episodes(self) -> list[RawEpisode]:
        return raw_episodes(self.root)


@pytest.fixture(scope="session")
def drop(tmp_path_factory: pytest.TempPathFactory) -> RecordedDrop:
    """Two recorded episodes of `press`, the second one disturbed, recorded by two workers."""
    from components.robots.record import record_drop

    folder = tmp_path_factory.mktemp("drop")
    metrics = record_drop(DROP, DROP_SEED, folder / "out", folder / "scratch", workers=2)
    return RecordedDrop(folder / "out", metrics)


Make = Callable[[str, str, int], Env]


@pytest.fixture(scope="session")
def make() -> Iterator[Make]:
    """Simulations by (embodiment, task, level), each built once."""
    built: dict[tuple[str, str, int], Env] = {}

    def get(embodiment: str, task: str, level: int) -> Env:
        key = (embodiment, task, level)
        if key not in built:
            built[key] = Env(*key)
        return built[key]

    yield get
    for env in built.values():
        env.close()
