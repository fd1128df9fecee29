"""Shows one episode in Rerun: its cameras, states and commands, labelled steps and findings on one time line.

Rerun (`rerun-sdk`) is an optional extra, `orrery[view]`: it is larger than all that the intake needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.agibot.checks.places import spans_in
from components.agibot.checks.registry import run_checks
from components.agibot.columns import ACTION, STATE
from components.agibot.dataset import IMAGES, Dataset
from components.agibot.drop import EpisodeSource, Key, open_drop
from components.agibot.reading import Settings, read
from components.agibot.validate import make_settings
from components.agibot.videos import video_path
from components.store.errors import ConfigurationError
from data_contracts.action import action_names
from data_contracts.embodiment import load_embodiment
from data_contracts.reasons import Finding

TIMELINE = "time"
_LEVELS = {"error": "ERROR", "warning": "WARN", "info": "INFO"}


@dataclass(frozen=True)
class Series:
    """Values (N, D) over an episode's frames, with a name for each of D."""

    values: NDArray[Any]
    names: Sequence[str]


@dataclass(frozen=True)
class Film:
    """An MP4 that holds an episode's frames from number `first` on."""

    data: bytes
    first: int = 0


@dataclass(frozen=True)
class Shown:
    """All of an episode that is shown."""

    name: str
    instruction: str
    fps: int
    frames: int
    series: dict[str, Series]
    films: dict[str, Film]
    steps: Sequence[tuple[int, int, str]] = ()
    """start, end (half open), text"""
    findings: Sequence[Finding] = field(default=())


def of_drop(source: Path, wanted: str, embodiment: str, profile: str) -> Shown:
    """An episode of a raw drop, `TASK/EPISODE` ('' is the first), with what the checks find in it.

    Raises ConfigurationError if there is no such episode, which lists some that are there.
    """
    drop = open_drop(source)
    key = _key(wanted, list(drop.episodes))
    episode = drop.episodes[key]
    robot = load_embodiment(embodiment)
    cameras = [c.name for c in robot.cameras if episode.video(c.name) is not None]
    settings = make_settings(embodiment, cameras or [robot.cameras[0].name], True, True, profile)
    reading = read(episode, settings)
    evidence, entry = reading.evidence, episode.entry
    films = {c: Film(blob.read(blob.size)) for c in cameras if (blob := episode.video(c)) is not None}
    return Shown(
        name=f"task {key[0]}, episode {key[1]}", instruction=entry.task_name if entry else "", fps=settings.robot.fps,
        frames=evidence.frames, series=_raw_series(evidence.arrays), films=films, steps=_steps(episode),
        findings=(*episode.findings, *reading.findings, *_checked(evidence, settings)),
    )  # fmt: skip


def _checked(evidence: Any, settings: Settings) -> Sequence[Finding]:
    return tuple(run_checks(evidence)) if evidence.frames else ()


def _key(wanted: str, known: list[Key]) -> Key:
    if not wanted and known:
        return known[0]
    for key in known:
        if wanted in (f"{key[0]}/{key[1]}", str(key[1])):
            return key
    some = ", ".join(f"{task}/{episode}" for task, episode in known[:8]) or "none"
    raise ConfigurationError(f"--episode {wanted!r}: the drop has no such episode; it has {some}")


def _raw_series(arrays: dict[str, NDArray[Any]]) -> dict[str, Series]:
    """Every array with a row per frame, by its key in proprio_stats.h5."""
    out = {}
    for key, values in sorted(arrays.items()):
        flat = values.reshape(len(values), -1)
        out[key] = Series(flat, [str(n) for n in range(flat.shape[1])])
    return out


def _steps(episode: EpisodeSource) -> list[tuple[int, int, str]]:
    return [(s.start, s.end, s.text) for s in (episode.entry.spans or ())] if episode.entry else []


def of_dataset(dataset: Dataset, wanted: str) -> Shown:
    """An episode of a published version by its index ('' is the first). Raises ConfigurationError."""
    count = len(dataset.episodes)
    if wanted and not (wanted.isdecimal() and int(wanted) < count):
        raise ConfigurationError(f"--episode {wanted!r}: the dataset has episodes 0 .. {count - 1}")
    row, manifest = dataset.episodes[int(wanted or 0)], dataset.manifest
    entry = manifest.episodes[row.index]
    columns = dataset.columns(row.index, [*STATE.values(), *ACTION.values()])
    arms = load_embodiment(manifest.embodiment).joints_per_arm
    names = {column: action_names(space, arms) for kind in (STATE, ACTION) for space, column in kind.items()}
    films = {}
    for camera in manifest.cameras:
        key = f"videos/{IMAGES}{camera}"
        path = video_path(dataset.folder, IMAGES + camera, *row.file(key))
        films[camera] = Film(path.read_bytes(), round(row.values[f"{key}/from_timestamp"] * manifest.fps))
    return Shown(
        name=f"{manifest.name}, episode {row.index} (task {entry.task_id}, episode {entry.episode_id})",
        instruction=entry.instruction, fps=manifest.fps, frames=row.length,
        series={name: Series(values, names[name]) for name, values in columns.items()}, films=films,
        steps=[(start, end, text) for start, end, text, _ in row.spans],
    )  # fmt: skip


def show(shown: Shown, save: Path | None = None) -> None:
    """Open the episode in Rerun's viewer, or write it to `save`. Raises ConfigurationError without `rerun-sdk`."""
    rr = viewer()
    with rr.RecordingStream("orrery-episode", recording_id=shown.name) as recording:
        if save is not None:
            recording.save(save)
        else:
            recording.spawn()
        recording.send_recording_name(shown.name)
        recording.log("instruction", rr.TextDocument(shown.instruction or "(none)"), static=True)
        times = np.arange(shown.frames) / shown.fps
        for name, series in shown.series.items():
            recording.log(name, rr.SeriesLines(names=list(series.names)), static=True)
            column = rr.TimeColumn(TIMELINE, duration=times[: len(series.values)])
            recording.send_columns(name, [column], rr.Scalars.columns(scalars=series.values.astype(np.float64)))
        for camera, film in shown.films.items():
            _film(rr, recording, f"cameras/{camera}", film, shown)
        _texts(rr, recording, shown)


def _film(rr: Any, recording: Any, path: str, film: Film, shown: Shown) -> None:
    """The MP4 as it is, and which of its frames is shown when."""
    asset = rr.AssetVideo(contents=film.data, media_type="video/mp4")
    recording.log(path, asset, static=True)
    stamps = np.sort(asset.read_frame_timestamps_nanos())[film.first :][: shown.frames]
    column = rr.TimeColumn(TIMELINE, duration=np.arange(len(stamps)) / shown.fps)
    recording.send_columns(path, [column], rr.VideoFrameReference.columns_nanos(stamps))


def _texts(rr: Any, recording: Any, shown: Shown) -> None:
    """Steps where they begin, findings at the frames that they name, else at the start."""
    for start, end, text in shown.steps:
        recording.set_time(TIMELINE, duration=max(start, 0) / shown.fps)
        recording.log("steps", rr.TextLog(f"frames {start} .. {end}: {text}", level="INFO"))
    for found in shown.findings:
        spans = spans_in(found.where) or [(0, 0)]
        recording.set_time(TIMELINE, duration=max(spans[0][0], 0) / shown.fps)
        recording.log(
            "findings", rr.TextLog(f"{found.code}: {found.message} ({found.where})", level=_LEVELS[found.severity])
        )


def viewer() -> Any:
    """The `rerun` module. Raises ConfigurationError without it."""
    try:
        import rerun
    except ImportError as error:
        raise ConfigurationError(
            "Rerun is not installed, which shows episodes; install it beside Orrery: "
            "python -m pip install 'rerun-sdk==0.41.0' (or Orrery with its extra: orrery[view])"
        ) from error
    return rerun
