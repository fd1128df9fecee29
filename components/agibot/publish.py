"""Writes a dataset version: LeRobot v3 files, film strips, and the manifest that says what is in it.

The layout is `components.agibot.dataset`'s. Episodes lie in key order, so equal drops give equal bytes. Memory does not
grow with the drop: tables are written episode by episode, videos packet by packet, statistics are streamed.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from components.agibot import lerobot
from components.agibot.columns import ACTION, STATE
from components.agibot.config import IntakeConfig
from components.agibot.dataset import IMAGES, MANIFEST
from components.agibot.drop import EpisodeSource
from components.agibot.examine import Examined, stem
from components.agibot.statistics import FORMS, Summary, in_form, levels, normalisation, of_levels, of_rows, summarise
from components.agibot.tables import TableFiles, table_of
from components.agibot.videos import VideoJoiner, VideoPlace, video_path
from components.telemetry.progress import progress
from data_contracts.dataset import DatasetManifest, EpisodeEntry, SpaceStatistics
from data_contracts.embodiment import Embodiment
from data_contracts.report import ValidationReport

_BATCH = 500
"""Episodes whose rows of `meta/episodes` are written together."""


@dataclass(frozen=True)
class Episode:
    """A usable episode on its way into the dataset."""

    index: int
    first: int
    """number of its first frame in the dataset"""
    task: int
    examined: Examined
    source: EpisodeSource
    kept: Path
    """what `components.agibot.examine.keep` wrote of it, without the suffix"""

    @property
    def frames(self) -> int:
        return self.examined.frames

    def load(self, *names: str) -> dict[str, NDArray[Any]]:
        """Kept arrays by name; without names, the columns of both spaces."""
        with np.load(self.kept.with_name(self.kept.name + ".npz"), allow_pickle=False) as file:
            return {name: file[name] for name in names or (*STATE.values(), *ACTION.values())}

    def data(self, fps: int) -> dict[str, NDArray[Any]]:
        """The columns of `data/`, in LeRobot's order."""
        return self.load() | lerobot.indices(self.frames, fps, self.first, self.index, self.task)


@dataclass
class Version:
    """The dataset that is being written into `out`."""

    out: Path
    config: IntakeConfig
    episodes: list[Episode]
    tasks: list[str]
    levels: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    """how often each level occurs in each channel, by camera, over the frames that were sampled"""
    samples: dict[str, int] = field(default_factory=dict)

    @property
    def robot(self) -> Embodiment:
        return self.config.profile.robot(self.config.embodiment)

    @property
    def frames(self) -> int:
        return sum(e.frames for e in self.episodes)


def publish(
    out: Path,
    config: IntakeConfig,
    work: Path,
    sources: dict[tuple[int, int], EpisodeSource],
    examined: Sequence[Examined],
    report: ValidationReport,
    origin: dict[str, str],
) -> DatasetManifest:
    """Write the usable ones of `examined` into `out`; what was kept of them lies in `work`.

    Raises OrreryError if a file of the drop changed since it was examined.
    """
    version = _plan(out, config, work, sources, [e for e in examined if e.usable])
    with progress(len(version.episodes), "publishing", "episodes") as bar:
        for _ in _write_episodes(version):
            bar.advance()
    with progress(2 * len(version.episodes), "taking statistics", "passes over episodes") as bar:
        summaries = summarise(lambda: _streams(version, bar.advance))
    _write_meta(version, summaries)
    _copy_strips(version)
    manifest = _manifest(version, summaries, report, origin)
    lerobot.write_json(out / "report.json", report.model_dump(mode="json"))
    lerobot.write_json(out / MANIFEST, manifest.model_dump(mode="json"))
    return manifest


def _plan(
    out: Path, config: IntakeConfig, work: Path, sources: dict[tuple[int, int], EpisodeSource], usable: list[Examined]
) -> Version:
    tasks: dict[str, int] = {}
    episodes: list[Episode] = []
    first = 0
    for index, found in enumerate(usable):
        task = tasks.setdefault(found.instruction, len(tasks))
        episodes.append(Episode(index, first, task, found, sources[found.key], stem(work, *found.key)))
        first += found.frames
    return Version(out, config, episodes, list(tasks))


# Episodes: data, calibration, videos, meta/episodes


def _write_episodes(version: Version) -> Iterator[Episode]:
    """Write everything that is per episode; yields each when it is done."""
    config, fps = version.config, version.robot.fps
    schema, rows = _schema(version), []
    with ExitStack() as stack:
        data, calibration, meta = (
            stack.enter_context(TableFiles(version.out / tree)) for tree in ("data", "calibration", "meta/episodes")
        )
        joiners = {c: stack.enter_context(VideoJoiner(version.out, IMAGES + c, fps)) for c in config.cameras}
        for episode in version.episodes:
            row = _identity(episode) | _labels(episode)
            columns = episode.data(fps)
            row |= _place("data", data.add(table_of(columns)))
            if config.calibration:
                row |= _place("calibration", calibration.add(table_of(_poses(episode, config.cameras))))
                row |= _intrinsics(episode, config.cameras)
            for camera, joiner in joiners.items():
                blob = episode.source.video(camera)
                assert blob is not None  # an episode without it is not usable
                row |= _video(IMAGES + camera, joiner.add(blob, episode.frames), fps)
            row |= _statistics(version, episode, columns)
            rows.append(row)
            if len(rows) == _BATCH or episode.index + 1 == len(version.episodes):
                chunk, file = meta.next_file()
                places = {"meta/episodes/chunk_index": chunk, "meta/episodes/file_index": file}
                meta.add(pa.Table.from_pylist([r | places for r in rows], schema=schema))
                rows.clear()
            yield episode


def _identity(episode: Episode) -> dict[str, Any]:
    return {
        "episode_index": episode.index,
        "tasks": [episode.examined.instruction],
        "length": episode.frames,
        "dataset_from_index": episode.first,
        "dataset_to_index": episode.first + episode.frames,
        "source/task_id": episode.examined.task_id,
        "source/episode_id": episode.examined.episode_id,
    }


def _labels(episode: Episode) -> dict[str, Any]:
    entry = episode.source.entry
    assert entry is not None  # nor is one that task_info does not list
    spans = entry.spans or ()
    return {
        "labels/scene": entry.init_scene_text,
        "labels/start_frame": [s.start for s in spans],
        "labels/end_frame": [s.end for s in spans],
        "labels/action_text": [s.text for s in spans],
        "labels/skill": [s.skill for s in spans],
    }


def _place(tree: str, place: Any) -> dict[str, int]:
    return {f"{tree}/chunk_index": place.chunk, f"{tree}/file_index": place.file, f"{tree}/row_group": place.row_group}


def _video(key: str, place: VideoPlace, fps: int) -> dict[str, Any]:
    """Timestamps are divided once from whole frames: sums of durations would drift."""
    return {
        f"videos/{key}/chunk_index": place.chunk,
        f"videos/{key}/file_index": place.file,
        f"videos/{key}/from_timestamp": place.start / fps,
        f"videos/{key}/to_timestamp": (place.start + place.frames) / fps,
    }


def _poses(episode: Episode, cameras: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Camera to base per frame, (N, 12), by camera."""
    kept = episode.load(*(f"calibration/{c}/camera_to_base" for c in cameras))
    return {c: kept[f"calibration/{c}/camera_to_base"] for c in cameras}


def _intrinsics(episode: Episode, cameras: Sequence[str]) -> dict[str, list[float]]:
    names = [f"calibration/{c}/{part}" for c in cameras for part in ("intrinsic", "distortion")]
    return {name: values.tolist() for name, values in episode.load(*names).items()}


def _statistics(version: Version, episode: Episode, columns: dict[str, NDArray[Any]]) -> dict[str, Any]:
    """The episode's own statistics; its images' levels are added to the version's."""
    found = {name: lerobot.statistics(of_rows(_matrix(values))) for name, values in columns.items()}
    for camera in version.config.cameras:
        samples = episode.load(f"samples/{camera}")[f"samples/{camera}"]
        counts = levels(samples)
        version.levels[camera] = version.levels.get(camera, 0) + counts
        version.samples[camera] = version.samples.get(camera, 0) + len(samples)
        found[IMAGES + camera] = lerobot.statistics(of_levels(counts, len(samples)), image=True)
    return {f"stats/{name}/{key}": value for name, values in found.items() for key, value in values.items()}


def _schema(version: Version) -> pa.Schema:
    """The columns of `meta/episodes`, spelled out: an episode without labels must not change their types."""
    integer, text, real = pa.int64(), pa.string(), pa.float64()
    fields = {"episode_index": integer, "tasks": pa.list_(text), "length": integer}
    fields |= {name: integer for name in ("dataset_from_index", "dataset_to_index")}
    fields |= {name: integer for name in ("source/task_id", "source/episode_id")}
    fields |= {"labels/scene": text, "labels/start_frame": pa.list_(integer), "labels/end_frame": pa.list_(integer)}
    fields |= {"labels/action_text": pa.list_(text), "labels/skill": pa.list_(text)}
    for tree in ("data", "calibration") if version.config.calibration else ("data",):
        fields |= {f"{tree}/{name}": integer for name in ("chunk_index", "file_index", "row_group")}
    for camera in version.config.cameras:
        key = f"videos/{IMAGES}{camera}"
        fields |= {f"{key}/chunk_index": integer, f"{key}/file_index": integer}
        fields |= {f"{key}/from_timestamp": real, f"{key}/to_timestamp": real}
        if version.config.calibration:
            fields |= {f"calibration/{camera}/{part}": pa.list_(pa.float32()) for part in ("intrinsic", "distortion")}
    fields |= {"meta/episodes/chunk_index": integer, "meta/episodes/file_index": integer}
    names = [*STATE.values(), *ACTION.values(), *lerobot.INDICES, *(IMAGES + c for c in version.config.cameras)]
    for name in names:
        kind = pa.list_(pa.list_(pa.list_(real))) if name.startswith(IMAGES) else pa.list_(real)
        fields |= {
            f"stats/{name}/{key}": kind for key in ("min", "max", "mean", "std", "q01", "q10", "q50", "q90", "q99")
        }
        fields[f"stats/{name}/count"] = pa.list_(integer)
    return pa.schema(list(fields.items()))


# The dataset as a whole: statistics, meta, strips, manifest


def _streams(version: Version, advance: Any) -> Iterator[dict[str, NDArray[Any]]]:
    """Of every episode: each column, and each action space in the forms that are differences."""
    for episode in version.episodes:
        columns: dict[str, NDArray[Any]] = {
            name: _matrix(values) for name, values in episode.data(version.robot.fps).items()
        }
        for space in STATE:
            state, action = columns[STATE[space]], columns[ACTION[space]]
            for form in FORMS:
                if form != "absolute":
                    columns[f"{space}/{form}"] = in_form(state, action, space, form, version.config.chunk)
        yield columns
        advance()


def _matrix(values: NDArray[Any]) -> NDArray[np.float64]:
    """(N,) or (N, D) -> (N, D), in double precision."""
    return values.astype(np.float64).reshape(len(values), -1)


def _write_meta(version: Version, summaries: dict[str, Summary]) -> None:
    robot, config, meta = version.robot, version.config, version.out / "meta"
    codecs = {c: lerobot.video_facts(video_path(version.out, IMAGES + c, 0, 0), robot.fps) for c in config.cameras}
    described = lerobot.features(robot, config.cameras, codecs)
    totals = (len(version.episodes), version.frames, len(version.tasks))
    lerobot.write_json(meta / "info.json", lerobot.info(robot, *totals, described))
    stats = {name: lerobot.statistics(summaries[name]) for name in described if name in summaries}
    for camera, counts in version.levels.items():
        stats[IMAGES + camera] = lerobot.statistics(of_levels(counts, version.samples[camera]), image=True)
    lerobot.write_json(meta / "stats.json", stats)
    lerobot.write_tasks(meta / "tasks.parquet", version.tasks)


def _copy_strips(version: Version) -> None:
    """Film strips of `strips` episodes, spread evenly."""
    count = min(version.config.strips, len(version.episodes))
    for position in np.linspace(0, len(version.episodes) - 1, count).round().astype(int):
        episode = version.episodes[position]
        strip = episode.kept.with_name(episode.kept.name + ".jpg")
        target = version.out / "strips" / strip.name
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(strip, target)


def _manifest(
    version: Version, summaries: dict[str, Summary], report: ValidationReport, origin: dict[str, str]
) -> DatasetManifest:
    statistics = []
    for space in STATE:
        for form in FORMS:
            summary = summaries[ACTION[space] if form == "absolute" else f"{space}/{form}"]
            q01, q99 = (tuple(summary.quantiles[share].tolist()) for share in (0.01, 0.99))
            scale = normalisation(summary, space, form)
            statistics.append(SpaceStatistics(space=space, form=form, normalisation=scale, q01=q01, q99=q99))
    return DatasetManifest(
        name=version.config.name, embodiment=version.config.embodiment, fps=version.robot.fps,
        cameras=version.config.cameras, episodes=tuple(_entry(e) for e in version.episodes),
        statistics=tuple(statistics), summary=report.summary, source=origin,
        state_statistics={s: normalisation(summaries[STATE[s]], s, "absolute") for s in STATE},
    )  # fmt: skip


def _entry(episode: Episode) -> EpisodeEntry:
    found = episode.examined
    return EpisodeEntry(
        index=episode.index, task_id=found.task_id, episode_id=found.episode_id, instruction=found.instruction,
        frames=found.frames, repaired=found.verdict == "repaired", source_sha256=found.source_sha256,
    )  # fmt: skip
