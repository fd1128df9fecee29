"""Everything that is decided about one episode on its own: read its parts, run the checks, prepare its columns."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from components.agibot.checks.evidence import Evidence
from components.agibot.checks.registry import run_checks
from components.agibot.columns import columns
from components.agibot.copies import motion_hash, picture_hash, trajectory_of
from components.agibot.drop import EpisodeSource
from components.agibot.reading import Settings, read
from components.store.files import write_atomic
from data_contracts.base import Contract
from data_contracts.dataset import Repair
from data_contracts.profile import Acceptance
from data_contracts.reasons import Finding
from data_contracts.report import Decode, EpisodeVerdict, Verdict


@dataclass(frozen=True)
class Job:
    """One episode to examine. With a `folder`, what publishing needs is kept there.

    What lies in a store is brought to `scratch`, or else to `folder`.
    """

    source: EpisodeSource
    settings: Settings
    folder: str = ""
    scratch: str = ""


class Examined(Contract):
    """What was found out about one episode: its verdict, and numbers for the dataset-level checks and the report."""

    task_id: int
    episode_id: int
    verdict: Verdict
    findings: tuple[Finding, ...] = ()
    instruction: str = ""
    frames: int = 0
    decode: Decode = "full"
    """how much of its videos was decoded"""
    repaired: tuple[str, ...] = ()
    """which arrays were mended"""
    repairs: tuple[Repair, ...] = ()
    """... and how"""
    accepted: str = ""
    """who accepted it in spite of errors, why, and which"""
    motion: str = ""
    """hash of the quantised joint angles: equal for copies of an episode"""
    trajectory: str = ""
    """the joint angles at 64 even times; near for near copies"""
    picture: str = ""
    """perceptual hash of the first camera's first frame"""
    source_sha256: str = ""
    place: str = ""
    """hash of where the raw files lie, if that is known: if it is equal, they need not be read to know them"""
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
    reading = read(source, settings)
    evidence = reading.evidence
    found = (*source.findings, *reading.findings, *run_checks(evidence))
    found, accepted = accept(found, settings.profile.acceptances.get(source.key))
    verdict = judge(found, bool(reading.repaired))
    examined = Examined(
        task_id=source.task_id, episode_id=source.episode_id, verdict=verdict, findings=found, frames=evidence.frames,
        instruction=source.entry.task_name if source.entry else "", repaired=tuple(r.key for r in reading.repaired),
        repairs=tuple(reading.repaired),
        accepted=accepted, aggregates=_aggregates(evidence), **_likeness(evidence, settings.cameras[0]),
        place=source.place(settings.cameras), decode=settings.decode,
        source_sha256=source.content(settings.cameras) if job.folder and verdict != "quarantined" else "",
    )  # fmt: skip
    if job.folder:
        keep(Path(job.folder), examined, evidence, settings)
    return examined


def accept(findings: tuple[Finding, ...], acceptance: Acceptance | None) -> tuple[tuple[Finding, ...], str]:
    """The findings, those that a person accepts being warnings that say so; and who accepted what, if anything."""
    if acceptance is None:
        return findings, ""
    said = f"by {acceptance.by}: {acceptance.reason}"
    out = []
    codes: dict[str, None] = {}
    for found in findings:
        if found.severity == "error" and found.code in acceptance.codes:
            codes[found.code] = None
            update = {"severity": "warning", "message": f"{found.message}; accepted {said}"}
            found = found.model_copy(update=update)
        out.append(found)
    return tuple(out), f"{said} ({', '.join(codes)})" if codes else ""


def judge(findings: Iterable[Finding], repaired: bool) -> Verdict:
    """One error is enough to keep an episode out."""
    if any(f.severity == "error" for f in findings):
        return "quarantined"
    return "repaired" if repaired else "accepted"


def _likeness(evidence: Evidence, camera: str) -> dict[str, str]:
    """What tells copies: see `components.agibot.copies`."""
    joints, info = evidence.arrays.get("state/joint/position"), evidence.videos.get(camera)
    out = {}
    if joints is not None:
        grid = evidence.allowed.duplicate_joint_rad
        out = {"motion": motion_hash(joints, grid), "trajectory": trajectory_of(joints)}
    if info is not None and len(info.samples):
        out["picture"] = picture_hash(info.samples[0])
    return out


def _aggregates(evidence: Evidence) -> dict[str, float]:
    """Numbers about the episode as a whole, for the contract suite and for reports. Only finite ones."""
    arrays, fps, entry = evidence.arrays, evidence.robot.fps, evidence.entry
    spans = entry.spans or () if entry else ()
    out: dict[str, float] = {
        "frames": float(evidence.frames),
        "seconds": evidence.frames / fps,
        "cameras": float(len(evidence.videos)),
        "steps": float(len(spans)),
        "labelled_share": min(1.0, sum(max(0, s.end - s.start) for s in spans) / max(evidence.frames, 1)),
    }
    joints, ends = arrays.get("state/joint/position"), arrays.get("state/end/position")
    if joints is not None:
        speed = np.abs(np.diff(joints, axis=0)) * fps
        out |= {"joint_speed_max": float(speed.max()), "joint_speed_mean": float(speed.mean())}
        if (action := arrays.get("action/joint/position")) is not None:
            out["action_error_mean"] = float(np.abs(action - joints).mean())
    if ends is not None:
        out["end_travel_m"] = float(np.linalg.norm(np.diff(ends, axis=0), axis=-1).sum())
    if (gripper := arrays.get("action/effector/position")) is not None:
        out["gripper_action_mean"] = float(gripper.mean())
    lumas = [info.samples.mean() for info in evidence.videos.values() if len(info.samples)]
    if lumas:
        out["luma_mean"] = float(np.mean(lumas))
    return {name: value for name, value in out.items() if np.isfinite(value)}


# What publishing needs of an episode, kept in the scratch folder


def stem(folder: Path, task_id: int, episode_id: int) -> Path:
    return folder / f"{task_id}-{episode_id}"


def keep(folder: Path, examined: Examined, evidence: Evidence, settings: Settings) -> None:
    """Write an episode's film strip and, if it is usable, its columns; last its record, which makes it complete."""
    path = stem(folder, *examined.key)
    first = evidence.videos.get(settings.cameras[0])
    if first is not None and len(first.samples):
        _write_strip(path.with_name(path.name + ".jpg"), first.samples)
    if examined.usable:
        kept: dict[str, NDArray[Any]] = dict(columns(evidence.arrays, settings.robot))
        for name, info in evidence.videos.items():
            kept |= {f"samples/{name}": info.samples, f"sampled/{name}": info.sampled}
        for name, calibration in evidence.calibrations.items():
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
