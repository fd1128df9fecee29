"""Writes the AgiBot-World raw layout: what a robot's data logger uploads, as folders or as tars.

```
task_info/task_{task}.json                                       a list of episodes with their labels
observations/{task}/{episode}/videos/{camera}.mp4                RGB, 30 fps
observations/{task}/{episode}/depth/head_depth_{frame:06d}.png   16 bit, mm
parameters/{task}/{episode}/parameters/camera/{view}_*.json      intrinsics, extrinsics
proprio_stats/{task}/{episode}/proprio_stats.h5                  states and actions
```

As tars: `observations/{task}/{a}-{b}.tar` holds `{episode}/...`; `parameters/{a}-{b}.tar` and
`proprio_stats/{a}-{b}.tar` span all tasks and hold `{task}/{episode}/...`; a and b are the smallest and the largest
episode id inside.

Equal data gives equal bytes: no file holds the time of its writing. Source: the AgiBot-World data card and its users'
reports (reference, B1-B5).
"""

from __future__ import annotations

import json
import os
import shutil
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from components.robots.video import write_depth, write_video

Array = NDArray[np.float64]
EMPTY: Array = np.zeros(0)
"""What the layout stores for a quantity that the robot does not measure."""


@dataclass(frozen=True)
class States:
    """Measured at each of N frames; left before right. A part that a robot lacks stays empty."""

    effector_position: Array
    """(N, 2) gripper actuator, raw unit (AgiBot G1: 0 open .. 120 closed)"""
    end_position: Array
    """(N, 2, 3) flange, m, robot base frame"""
    end_orientation: Array
    """(N, 2, 4) flange quaternion xyzw"""
    joint_position: Array
    """(N, 2J) rad"""
    head_position: Array = field(default_factory=EMPTY.copy)
    """(N, 2) yaw, pitch, rad"""
    waist_position: Array = field(default_factory=EMPTY.copy)
    """(N, 2) pitch rad, lift m"""
    joint_current_value: Array = field(default_factory=EMPTY.copy)
    """(N, 2J) raw motor current"""
    robot_position: Array = field(default_factory=EMPTY.copy)
    """(N, 3) odometry, m, z = 0"""
    robot_orientation: Array = field(default_factory=EMPTY.copy)
    """(N, 4) odometry quaternion xyzw, yaw only"""


@dataclass(frozen=True)
class Actions:
    """Commands at each of N frames. An `*_index` lists the frames at which the source sent commands to that part;
    at all other frames the action repeats the state, as the layout does."""

    effector_position: Array
    """(N, 2) 0 open .. 1 closed"""
    end_position: Array
    """(N, 2, 3) m"""
    end_orientation: Array
    """(N, 2, 4) xyzw"""
    joint_position: Array
    """(N, 2J) rad"""
    head_position: Array = field(default_factory=EMPTY.copy)
    waist_position: Array = field(default_factory=EMPTY.copy)
    robot_velocity: Array = field(default_factory=EMPTY.copy)
    """(N, 2) m/s forward, rad/s yaw"""
    effector_index: NDArray[np.int64] = field(default_factory=lambda: EMPTY.astype(np.int64))
    end_index: NDArray[np.int64] = field(default_factory=lambda: EMPTY.astype(np.int64))
    joint_index: NDArray[np.int64] = field(default_factory=lambda: EMPTY.astype(np.int64))
    head_index: NDArray[np.int64] = field(default_factory=lambda: EMPTY.astype(np.int64))
    waist_index: NDArray[np.int64] = field(default_factory=lambda: EMPTY.astype(np.int64))
    robot_index: NDArray[np.int64] = field(default_factory=lambda: EMPTY.astype(np.int64))


@dataclass(frozen=True)
class CameraTrack:
    """One camera over an episode. `frames` None: its video was streamed to `EpisodeFiles.video` already."""

    name: str
    """with its kind, as the video's file: `head_color`, `hand_left_color`, `head_center_fisheye_color`"""
    width: int
    height: int
    intrinsic: Array
    """(3, 3) pinhole, pixels"""
    extrinsics: Array
    """(N, 4, 4) camera to robot base, OpenCV axes (x right, y down, z forward)"""
    frames: Iterable[NDArray[np.uint8]] | None = None

    @property
    def view(self) -> str:
        """The name that its parameter files carry."""
        return self.name.removesuffix("_color")


@dataclass(frozen=True)
class ActionSpan:
    """One labelled part of an episode, half open: frames `start_frame` .. `end_frame - 1`."""

    start_frame: int
    end_frame: int
    action_text: str
    skill: str


@dataclass(frozen=True)
class EpisodeLabels:
    """One entry of `task_info`."""

    task_id: int
    episode_id: int
    task_name: str
    init_scene_text: str
    spans: tuple[ActionSpan, ...]

    def entry(self) -> dict[str, Any]:
        return {
            "episode_id": self.episode_id,
            "label_info": {"action_config": [vars(span) for span in self.spans]},
            "task_name": self.task_name,
            "init_scene_text": self.init_scene_text,
        }


@dataclass(frozen=True)
class EpisodeData:
    """Everything of one episode that the layout holds."""

    labels: EpisodeLabels
    timestamps: NDArray[np.int64]
    """(N,) ns"""
    states: States
    actions: Actions
    cameras: tuple[CameraTrack, ...]
    depth: Iterable[NDArray[np.uint16]] | None = None
    """head depth, (height, width) mm per frame; None: there is none, or it was streamed to `EpisodeFiles.depth`"""
    fps: int = 30


@dataclass(frozen=True)
class EpisodeFiles:
    """Where an episode's files lie below a drop that is laid out as folders."""

    root: Path
    task_id: int
    episode_id: int

    def _part(self, tree: str) -> Path:
        return self.root / tree / str(self.task_id) / str(self.episode_id)

    def video(self, camera: str) -> Path:
        return self._part("observations") / "videos" / f"{camera}.mp4"

    def depth(self, frame: int) -> Path:
        return self._part("observations") / "depth" / f"head_depth_{frame:06d}.png"

    @property
    def camera_folder(self) -> Path:
        return self._part("parameters") / "parameters" / "camera"

    @property
    def proprio(self) -> Path:
        return self._part("proprio_stats") / "proprio_stats.h5"


_UNMEASURED = {
    "state/effector": ("force",),
    "state/end": ("angular", "velocity", "wrench"),
    "state/head": ("effort", "velocity"),
    "state/joint": ("effort", "velocity"),
    "state/robot": ("orientation_drift", "position_drift"),
    "state/waist": ("effort", "velocity"),
    "action/effector": ("force",),
    "action/end": ("angular", "velocity", "wrench"),
    "action/head": ("effort", "velocity"),
    "action/joint": ("effort", "velocity"),
    "action/robot": ("orientation", "orientation_drift", "position", "position_drift"),
    "action/waist": ("effort", "velocity"),
}
"""Keys that exist in AgiBot-World's files but hold nothing, shape (0,)."""


def proprio_datasets(episode: EpisodeData) -> dict[str, NDArray[Any]]:
    """Every dataset of `proprio_stats.h5` by key. Raises ValueError where lengths or widths contradict."""
    frames = len(episode.timestamps)
    datasets: dict[str, NDArray[Any]] = {"timestamp": _checked("timestamp", episode.timestamps, frames, np.int64)}
    for group, arrays in (("state", vars(episode.states)), ("action", vars(episode.actions))):
        for name, values in arrays.items():
            part, _, quantity = name.partition("_")
            key = f"{group}/{part}/{quantity}"
            if quantity == "index":
                datasets[key] = _checked_index(key, values, frames)
            else:
                datasets[key] = _checked(key, values, frames, np.float64)
    for group, quantities in _UNMEASURED.items():
        datasets.update({f"{group}/{quantity}": EMPTY for quantity in quantities})
    for key, shape in (("end/position", (2, 3)), ("end/orientation", (2, 4)), ("effector/position", (2,))):
        for group in ("state", "action"):
            got = datasets[f"{group}/{key}"].shape[1:]
            if got != shape:
                raise ValueError(f"{group}/{key} must be (N, {', '.join(map(str, shape))}); each frame has {got}")
    return dict(sorted(datasets.items()))


def _checked(key: str, values: NDArray[Any], frames: int, dtype: Any) -> NDArray[Any]:
    if values.size and len(values) != frames:
        raise ValueError(f"{key} has {len(values)} rows, the episode {frames} frames")
    if values.size and not np.isfinite(values).all():
        raise ValueError(f"{key} holds values that are not finite")
    return np.ascontiguousarray(values, dtype=dtype)


def _checked_index(key: str, values: NDArray[np.int64], frames: int) -> NDArray[np.int64]:
    index = np.ascontiguousarray(values, dtype=np.int64)
    if index.size and (index[0] < 0 or index[-1] >= frames or (np.diff(index) <= 0).any()):
        raise ValueError(f"{key} must rise strictly within 0 .. {frames - 1}")
    return index


def write_episode(folder: Path, episode: EpisodeData) -> EpisodeFiles:
    """Write one episode into the folder layout below `folder`; all but its entry in `task_info`.

    Frames are consumed one at a time. Raises ValueError if arrays, videos or labels contradict the number of frames.
    """
    labels, frames = episode.labels, len(episode.timestamps)
    if frames == 0:
        raise ValueError(f"episode {labels.episode_id} has no frames")
    files = EpisodeFiles(folder, labels.task_id, labels.episode_id)
    datasets = proprio_datasets(episode)
    _check_spans(labels, frames)
    for camera in episode.cameras:
        path = files.video(camera.name)
        if camera.frames is not None:
            written = write_video(path, camera.frames, camera.width, camera.height, episode.fps)
            if written != frames:
                raise ValueError(f"{camera.name} gave {written} frames, the episode has {frames}")
        elif not path.is_file():
            raise ValueError(f"{camera.name} has no frames, and {path} was not written before")
        _write_camera(files.camera_folder, camera, frames)
    if episode.depth is not None:
        for frame, image in enumerate(episode.depth):
            write_depth(files.depth(frame), image)
    _write_proprio(files.proprio, datasets)
    return files


def _check_spans(labels: EpisodeLabels, frames: int) -> None:
    for span in labels.spans:
        if not 0 <= span.start_frame < span.end_frame <= frames:
            raise ValueError(f"label {span} does not fit into {frames} frames")


def _write_proprio(path: Path, datasets: Mapping[str, NDArray[Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w", libver="earliest", track_order=False) as file:
        for key, values in datasets.items():
            file.create_dataset(key, data=values, track_times=False)


def _write_camera(folder: Path, camera: CameraTrack, frames: int) -> None:
    """Intrinsics, the default extrinsics (those of the first frame) and the aligned ones, one per frame."""
    if camera.extrinsics.shape != (frames, 4, 4):
        raise ValueError(f"{camera.name} has extrinsics {camera.extrinsics.shape}; {(frames, 4, 4)} are needed")
    k = camera.intrinsic
    intrinsic = {
        "fx": float(k[0, 0]), "fy": float(k[1, 1]), "ppx": float(k[0, 2]), "ppy": float(k[1, 2]),
        "k1": 0.0, "k2": 0.0, "p1": 0.0, "p2": 0.0, "k3": 0.0,
    }  # fmt: skip
    poses = [
        {"extrinsic": {"rotation_matrix": pose[:3, :3].tolist(), "translation_vector": pose[:3, 3].tolist()}}
        for pose in np.asarray(camera.extrinsics, np.float64)
    ]
    write_json(folder / f"{camera.view}_intrinsic_params.json", {"intrinsic": intrinsic})
    write_json(folder / f"{camera.view}_extrinsic_params.json", poses[0])
    write_json(folder / f"{camera.view}_extrinsic_params_aligned.json", poses)


def write_json(path: Path, value: Any) -> None:
    """One JSON file, keys in their given order, no NaN."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False, allow_nan=False), encoding="utf-8")


def write_task_info(folder: Path, episodes: Iterable[EpisodeLabels]) -> list[Path]:
    """`task_info/task_{id}.json` for every task of `episodes`, episodes in the order of their ids."""
    tasks: dict[int, list[EpisodeLabels]] = {}
    for labels in sorted(episodes, key=lambda e: (e.task_id, e.episode_id)):
        tasks.setdefault(labels.task_id, []).append(labels)
    paths = []
    for task_id, entries in tasks.items():
        path = folder / "task_info" / f"task_{task_id}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps([e.entry() for e in entries], ensure_ascii=False, indent=2, allow_nan=False)
        path.write_text(text + "\n", encoding="utf-8")
        paths.append(path)
    return paths


def link_tree(source: Path, target: Path) -> None:
    """The files below `source` also below `target`: hard links where the file system can, else copies."""
    for path in sorted(source.rglob("*")):
        if path.is_file():
            place = target / path.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(path, place)
            except OSError:
                shutil.copyfile(path, place)


def pack_tars(source: Path, out: Path, episodes_per_tar: int = 100) -> list[Path]:
    """Pack a drop of folders as the tars in which AgiBot-World is distributed; `task_info` stays plain JSON.

    Raises ValueError if `source` holds no episode.
    """
    found = sorted(
        (int(path.name), int(path.parent.name)) for path in (source / "proprio_stats").glob("*/*") if path.is_dir()
    )
    if not found:
        raise ValueError(f"{source} holds no episode below proprio_stats")
    link_tree(source / "task_info", out / "task_info")
    tars = []
    for tree in ("parameters", "proprio_stats"):
        for group in _chunks(found, episodes_per_tar):
            members = [(source / tree / str(t) / str(e), f"{t}/{e}") for e, t in group]
            tars.append(_tar(out / tree / f"{_range([e for e, _ in group])}.tar", members))
    for task_id in sorted({t for _, t in found}):
        ids = [e for e, t in found if t == task_id]
        for chunk in _chunks(ids, episodes_per_tar):
            folder = source / "observations" / str(task_id)
            path = out / "observations" / str(task_id) / f"{_range(chunk)}.tar"
            tars.append(_tar(path, [(folder / str(e), str(e)) for e in chunk]))
    return tars


def _chunks(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _range(ids: Sequence[int]) -> str:
    return f"{min(ids)}-{max(ids)}"


def _tar(path: Path, members: Iterable[tuple[Path, str]]) -> Path:
    """A tar of folders under given names: sorted, and with nothing in it of who packed it or when."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for folder, name in members:
            for file in sorted(p for p in folder.rglob("*") if p.is_file()):
                info = tarfile.TarInfo(f"{name}/{file.relative_to(folder).as_posix()}")
                info.size, info.mode = file.stat().st_size, 0o644
                with open(file, "rb") as stream:
                    tar.addfile(info, stream)
    return path
