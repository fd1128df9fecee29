"""A small real drop, recorded once per test session by the real recorder, and copies of it to damage."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from components.agibot.across import compare
from components.agibot.config import AdoptConfig, IntakeConfig
from components.agibot.dataset import Dataset
from components.agibot.drop import open_drop
from components.agibot.examine import Examined, Job, examine
from components.agibot.reading import Settings
from components.agibot.stages import adopt, intake
from components.robots.config import RecordConfig, TaskPlan
from components.robots.raw_layout import EpisodeFiles
from components.store.api import Store
from components.store.open import open_store
from data_contracts.lineage import StageRecord
from data_contracts.reasons import Finding

CAMERAS = ("head_color", "hand_left_color")
SETTINGS = Settings("agibot_g1", CAMERAS)
HEAD_ONLY = Settings("agibot_g1", CAMERAS[:1])
INTAKE = IntakeConfig(name="small", cameras=CAMERAS, chunk=10, strips=2)
RECORDING = RecordConfig(name="intake", tasks=(TaskPlan(task="press"),), episodes=3, cameras=CAMERAS)


@dataclass(frozen=True)
class RawEpisode:
    """One episode of a drop of folders, read and damaged with nothing but h5py, PyAV and json."""

    files: EpisodeFiles

    @property
    def key(self) -> tuple[int, int]:
        return self.files.task_id, self.files.episode_id

    @property
    def root(self) -> Path:
        return self.files.root

    @property
    def task_info(self) -> Path:
        return self.root / "task_info" / f"task_{self.files.task_id}.json"

    @property
    def frames(self) -> int:
        return len(self.array("timestamp"))

    def array(self, key: str) -> NDArray[Any]:
        with h5py.File(self.files.proprio) as file:
            return file[key][()]

    @contextmanager
    def proprio(self) -> Iterator[h5py.File]:
        with h5py.File(self.files.proprio, "r+") as file:
            yield file

    def put(self, key: str, values: NDArray[Any]) -> None:
        """Replace one array of proprio_stats.h5."""
        with self.proprio() as file:
            del file[key]
            file[key] = values

    def entry(self) -> dict[str, Any]:
        return next(e for e in json.loads(self.task_info.read_text()) if e["episode_id"] == self.files.episode_id)

    def edit_entry(self, change: Callable[[dict[str, Any]], object]) -> None:
        """Change this episode's entry of task_info."""
        entries = json.loads(self.task_info.read_text())
        change(next(e for e in entries if e["episode_id"] == self.files.episode_id))
        self.task_info.write_text(json.dumps(entries))

    def parameters(self, name: str) -> Path:
        return self.files.camera_folder / f"{name}.json"

    def decode(self, camera: str) -> NDArray[np.uint8]:
        """All frames of a camera, (N, height, width, 3)."""
        with av.open(str(self.files.video(camera))) as container:
            return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


@dataclass(frozen=True)
class RawDrop:
    root: Path

    @property
    def episodes(self) -> list[RawEpisode]:
        found = []
        for path in sorted((self.root / "task_info").glob("task_*.json")):
            task_id = int(path.stem.removeprefix("task_"))
            ids = sorted(e["episode_id"] for e in json.loads(path.read_text()))
            found += [RawEpisode(EpisodeFiles(self.root, task_id, i)) for i in ids]
        return found

    def copy(self, root: Path, episodes: int | list[RawEpisode]) -> RawDrop:
        """The first `episodes` of this drop, or those named, in a folder of their own, which may be damaged."""
        kept = self.episodes[:episodes] if isinstance(episodes, int) else episodes
        for tree in ("observations", "parameters", "proprio_stats"):
            for episode in kept:
                part = Path(tree) / str(episode.files.task_id) / str(episode.files.episode_id)
                shutil.copytree(self.root / part, root / part)
        (root / "task_info").mkdir()
        for path in {e.task_info for e in kept}:
            ids = {e.files.episode_id for e in kept if e.task_info == path}
            entries = [e for e in json.loads(path.read_text()) if e["episode_id"] in ids]
            (root / "task_info" / path.name).write_text(json.dumps(entries))
        return RawDrop(root)

    def add_copy(self, episode: RawEpisode, episode_id: int) -> RawEpisode:
        """The same episode once more, under another id."""
        for tree in ("observations", "parameters", "proprio_stats"):
            folder = self.root / tree / str(episode.files.task_id)
            shutil.copytree(folder / str(episode.files.episode_id), folder / str(episode_id))
        entries = json.loads(episode.task_info.read_text())
        entries.append({**episode.entry(), "episode_id": episode_id})
        episode.task_info.write_text(json.dumps(entries))
        return RawEpisode(EpisodeFiles(self.root, episode.files.task_id, episode_id))


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> RawDrop:
    """Three short recorded episodes of `press`. Not to be changed."""
    from components.robots.record import record_drop

    folder = tmp_path_factory.mktemp("recorded")
    record_drop(RECORDING, 5, folder / "out", folder / "scratch", workers=min(2, len(os.sched_getaffinity(0))))
    return RawDrop(folder / "out")


@pytest.fixture
def one(recorded: RawDrop, tmp_path: Path) -> RawEpisode:
    """A copy of the first episode alone."""
    return recorded.copy(tmp_path / "drop", 1).episodes[0]


@pytest.fixture
def three(recorded: RawDrop, tmp_path: Path) -> RawDrop:
    """A copy of the whole drop."""
    return recorded.copy(tmp_path / "drop", 3)


@dataclass(frozen=True)
class Published:
    """A drop, and the dataset version that the intake made of it."""

    store: Store
    raw: RawDrop
    adopted: StageRecord
    record: StageRecord

    @property
    def folder(self) -> Path:
        return Path(self.store.url) / self.record.prefix

    @property
    def dataset(self) -> Dataset:
        return Dataset.open(self.folder)

    @property
    def good(self) -> list[RawEpisode]:
        """The episodes that were published, in their order."""
        return self.raw.episodes[:3]


@pytest.fixture(scope="session")
def published(recorded: RawDrop, tmp_path_factory: pytest.TempPathFactory) -> Published:
    """A drop of all kinds, taken in: the second episode's commands need placing, the fourth one's video is empty."""
    folder = tmp_path_factory.mktemp("published")
    raw = recorded.copy(folder / "drop", 3)
    second = raw.episodes[1]
    second.put("action/joint/index", np.arange(0, second.frames, 2))
    second.put("action/joint/position", second.array("action/joint/position")[::2])
    bad = raw.add_copy(raw.episodes[0], raw.episodes[2].files.episode_id + 5)
    bad.files.video("head_color").write_bytes(b"")
    store = open_store(str(folder / "store"))
    adopted = adopt(store, AdoptConfig(source=str(raw.root)), 0)
    return Published(store, raw, adopted, intake(store, INTAKE, 0, adopted))


def examine_all(root: Path, settings: Settings = HEAD_ONLY) -> list[Examined]:
    """Every episode of a drop, examined in this process."""
    return compare([examine(Job(source, settings)) for source in open_drop(root).episodes.values()], settings)


def findings(root: Path, settings: Settings = HEAD_ONLY) -> list[Finding]:
    """Everything that is found about a drop, its episodes and itself."""
    about = open_drop(root).findings.values()
    return [f for e in examine_all(root, settings) for f in e.findings] + [f for found in about for f in found]
