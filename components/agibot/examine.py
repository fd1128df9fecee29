"""Everything that is decided about one episode on its own: read its parts, run the checks, prepare its columns."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from components.agibot.checks.arrays import Aligned, align, check_copied
from components.agibot.checks.calibration import Calibration, check_calibration, view_of
from components.agibot.checks.clock import check_clock
from components.agibot.checks.depth import check_depth
from components.agibot.checks.kinematics import check_kinematics
from components.agibot.checks.language import check_language
from components.agibot.checks.video import VideoInfo, check_video
from components.agibot.columns import columns
from components.agibot.drop import EpisodeSource
from components.agibot.proprio import TIMESTAMP, Proprio, read_proprio
from components.store.files import write_atomic
from data_contracts.base import Contract, fingerprint
from data_contracts.catalogue import finding, thresholds
from data_contracts.embodiment import Camera, Embodiment, load_embodiment
from data_contracts.reasons import Finding
from data_contracts.report import EpisodeVerdict, Verdict


@dataclass(frozen=True)
class Settings:
    """What the intake asks of every episode."""

    embodiment: str
    cameras: tuple[str, ...]
    calibration: bool = True
    repair: bool = True

    @property
    def robot(self) -> Embodiment:
        return load_embodiment(self.embodiment)

    def camera(self, name: str) -> Camera:
        return next(c for c in self.robot.cameras if c.name == name)


@dataclass(frozen=True)
class Job:
    """One episode to examine. With a `folder`, what publishing needs is kept there."""

    source: EpisodeSource
    settings: Settings
    folder: str = ""


class Examined(Contract):
    """What was found out about one episode: its verdict, and numbers for the dataset-level checks and the report."""

    task_id: int
    episode_id: int
    verdict: Verdict
    findings: tuple[Finding, ...] = ()
    instruction: str = ""
    frames: int = 0
    repaired: tuple[str, ...] = ()
    motion: str = ""
    """hash of the quantised joint angles: equal for copies of an episode"""
    source_sha256: str = ""
    aggregates: dict[str, float] = Field(default_factory=dict)

    @property
    def key(self) -> tuple[int, int]:
        return self.task_id, self.episode_id

    @property
    def usable(self) -> bool:
        return self.verdict != "quarantined"

    def as_verdict(self) -> EpisodeVerdict:
        return EpisodeVerdict(
            task_id=self.task_id, episode_id=self.episode_id, verdict=self.verdict, findings=self.findings
        )


def examine(job: Job) -> Examined:
    """Check one episode. Never raises for its content; a defect in a reader is the pool's to catch."""
    source, settings = job.source, job.settings
    found = list(source.findings)
    proprio = None
    if source.proprio is not None:
        proprio, problems = read_proprio(source.proprio, settings.robot)
        found += problems
    parts = _Parts(source, settings, proprio, found)
    aligned = parts.check_arrays()
    infos = parts.check_videos()
    calibrations = parts.check_calibrations()
    parts.check_rest()
    verdict = judge(found, bool(aligned.repaired))
    count = proprio.frames if proprio else 0
    examined = Examined(
        task_id=source.task_id, episode_id=source.episode_id, verdict=verdict, findings=tuple(found), frames=count,
        instruction=source.entry.task_name if source.entry else "", repaired=tuple(aligned.repaired),
        motion=_motion(aligned.arrays), aggregates=_aggregates(aligned.arrays, infos, source, settings, count),
        source_sha256=source_hash(source) if job.folder and verdict != "quarantined" else "",
    )  # fmt: skip
    if job.folder:
        keep(Path(job.folder), examined, aligned.arrays, infos, calibrations, settings)
    return examined


def judge(findings: list[Finding], repaired: bool) -> Verdict:
    """One error is enough to keep an episode out."""
    if any(f.severity == "error" for f in findings):
        return "quarantined"
    return "repaired" if repaired else "accepted"


@dataclass
class _Parts:
    """The checks of an episode's parts, gathered in one list of findings."""

    source: EpisodeSource
    settings: Settings
    proprio: Proprio | None
    found: list[Finding]

    def check_arrays(self) -> Aligned:
        if self.proprio is None:
            return Aligned()
        robot = self.settings.robot
        aligned = align(self.proprio, robot, self.settings.repair)
        self.found += aligned.findings
        self.found += check_clock(aligned.arrays[TIMESTAMP], robot.fps)
        self.found += check_kinematics(aligned.arrays, robot)
        self.found += check_copied(aligned.arrays)
        return aligned

    def check_videos(self) -> dict[str, VideoInfo]:
        infos: dict[str, VideoInfo] = {}
        there = any(p.startswith("videos/") for p in self.source.parts["observations"])
        for name in self.settings.cameras:
            blob = self.source.video(name)
            if blob is not None:
                count = self.proprio.frames if self.proprio else 0
                infos[name], problems = check_video(blob, self.settings.camera(name), count, self.settings.robot.fps)
                known = self.proprio is not None
                self.found += [p for p in problems if known or p.code != "video.frame-count"]
            elif there:
                where = f"observations/{self.source.task_id}/{self.source.episode_id}/videos/{name}.mp4"
                self.found.append(finding("inventory.missing-camera", f"there is no video of {name}", where))
        return infos

    def check_calibrations(self) -> dict[str, Calibration]:
        if not self.settings.calibration:
            return {}
        if not self.source.parts["parameters"]:
            where = f"parameters/{self.source.task_id}/{self.source.episode_id}"
            self.found.append(finding("inventory.missing-parameters", "there are no camera parameters", where))
            return {}
        out: dict[str, Calibration] = {}
        for name in self.settings.cameras:
            view = view_of(name)
            intrinsic = self.source.parameters(f"{view}_intrinsic_params.json")
            aligned = self.source.parameters(f"{view}_extrinsic_params_aligned.json")
            count = self.proprio.frames if self.proprio else 0
            calibration, problems = check_calibration(self.settings.camera(name), intrinsic, aligned, count)
            known = self.proprio is not None
            self.found += [p for p in problems if known or p.code != "calibration.length-mismatch"]
            if calibration is not None:
                out[name] = calibration
        return out

    def check_rest(self) -> None:
        if self.proprio is None:
            return
        if self.source.entry is not None:
            self.found += check_language(self.source.entry, self.proprio.frames, self.settings.robot.fps)
        self.found += check_depth(self.source.depth(), self.proprio.frames)


def _motion(arrays: dict[str, NDArray[Any]]) -> str:
    joints = arrays.get("state/joint/position")
    if joints is None:
        return ""
    grid = np.clip(np.round(joints / thresholds().duplicate_joint_rad), -(2**62), 2**62).astype(np.int64)
    return hashlib.sha256(str(grid.shape).encode() + grid.tobytes()).hexdigest()


def _aggregates(
    arrays: dict[str, NDArray[Any]], infos: dict[str, VideoInfo], source: EpisodeSource, settings: Settings, count: int
) -> dict[str, float]:
    """Numbers about the episode as a whole, for the contract suite and for reports. Only finite ones."""
    out: dict[str, float] = {
        "frames": float(count),
        "seconds": count / settings.robot.fps,
        "cameras": float(len(infos)),
    }
    out["steps"] = float(len(source.entry.spans)) if source.entry and source.entry.spans else 0.0
    joints, ends = arrays.get("state/joint/position"), arrays.get("state/end/position")
    if joints is not None:
        speed = np.abs(np.diff(joints, axis=0)) * settings.robot.fps
        out |= {"joint_speed_max": float(speed.max()), "joint_speed_mean": float(speed.mean())}
        if (action := arrays.get("action/joint/position")) is not None:
            out["action_error_mean"] = float(np.abs(action - joints).mean())
    if ends is not None:
        out["end_travel_m"] = float(np.linalg.norm(np.diff(ends, axis=0), axis=-1).sum())
    if (gripper := arrays.get("action/effector/position")) is not None:
        out["gripper_action_mean"] = float(gripper.mean())
    lumas = [info.samples.mean() for info in infos.values() if len(info.samples)]
    if lumas:
        out["luma_mean"] = float(np.mean(lumas))
    return {name: value for name, value in out.items() if np.isfinite(value)}


def source_hash(source: EpisodeSource) -> str:
    """Hash over the raw files that the episode was made from, wherever they lie."""
    parts = [
        [tree, path, blob.sha256()] for tree, files in source.parts.items() for path, blob in sorted(files.items())
    ]
    entry = source.entry
    labels = None if entry is None else [entry.task_name, entry.init_scene_text, [vars(s) for s in entry.spans or ()]]
    return fingerprint([source.task_id, source.episode_id, parts, labels])


# What publishing needs of an episode, kept in the scratch folder


def stem(folder: Path, task_id: int, episode_id: int) -> Path:
    return folder / f"{task_id}-{episode_id}"


def keep(
    folder: Path,
    examined: Examined,
    arrays: dict[str, NDArray[Any]],
    infos: dict[str, VideoInfo],
    calibrations: dict[str, Calibration],
    settings: Settings,
) -> None:
    """Write an episode's film strip and, if it is usable, its columns; last its record, which makes it complete."""
    path = stem(folder, *examined.key)
    first = infos.get(settings.cameras[0])
    if first is not None and len(first.samples):
        _write_strip(path.with_name(path.name + ".jpg"), first.samples)
    if examined.usable:
        kept: dict[str, NDArray[Any]] = dict(columns(arrays, settings.robot))
        kept |= {f"samples/{name}": info.samples for name, info in infos.items()}
        for name, calibration in calibrations.items():
            kept |= {f"calibration/{name}/{part}": values for part, values in vars(calibration).items()}
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        with open(part, "wb") as file:
            np.savez(file, **kept)  # type: ignore[arg-type]
        os.replace(part, path.with_name(path.name + ".npz"))
    write_atomic(path.with_name(path.name + ".json"), examined.model_dump_json().encode())


def _write_strip(path: Path, samples: NDArray[np.uint8]) -> None:
    """(S, h, w, 3) side by side, as JPEG."""
    from PIL import Image

    strip = np.concatenate(list(samples), axis=1)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    Image.fromarray(strip).save(part, format="JPEG", quality=80)
    os.replace(part, path)
