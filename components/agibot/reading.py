"""Reads one episode's parts into the evidence that the checks judge, and keeps what kept a part from being read."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from components.agibot.checks.arrays import align
from components.agibot.checks.calibration import read_calibration, view_of
from components.agibot.checks.evidence import Evidence
from components.agibot.checks.video import read_video
from components.agibot.drop import EpisodeSource
from components.agibot.proprio import read_proprio
from data_contracts.catalogue import finding
from data_contracts.dataset import Repair
from data_contracts.embodiment import Camera, Embodiment
from data_contracts.profile import Profile
from data_contracts.reasons import Finding
from data_contracts.report import Decode


@dataclass(frozen=True)
class Settings:
    """What the intake asks of every episode."""

    embodiment: str
    cameras: tuple[str, ...]
    calibration: bool = True
    repair: bool = True
    profile: Profile = field(default_factory=Profile)
    decode: Decode = "full"

    @cached_property
    def robot(self) -> Embodiment:
        """The embodiment, with the profile's changes."""
        return self.profile.robot(self.embodiment)

    def camera(self, name: str) -> Camera:
        return next(c for c in self.robot.cameras if c.name == name)


@dataclass
class Reading:
    """What was read of an episode, what could not be, and what was mended on the way."""

    evidence: Evidence
    findings: list[Finding] = field(default_factory=list)
    repaired: list[Repair] = field(default_factory=list)


def read(source: EpisodeSource, settings: Settings) -> Reading:
    """Everything of one episode. Never raises for its content."""
    profile = settings.profile
    evidence = Evidence(
        robot=settings.robot, allowed=profile.thresholds(settings.embodiment, source.task_id), entry=source.entry,
        depth=source.depth(), chains=profile.chains(settings.embodiment), skills=profile.skills,
        sampled=settings.decode == "sampled",
    )  # fmt: skip
    reading = Reading(evidence)
    _read_arrays(source, settings, reading)
    _read_videos(source, settings, reading)
    if settings.calibration:
        _read_calibrations(source, settings, reading)
    return reading


def _read_arrays(source: EpisodeSource, settings: Settings, reading: Reading) -> None:
    if source.proprio is None:
        return
    proprio, problems = read_proprio(source.proprio, settings.robot)
    reading.findings += problems
    if proprio is not None:
        aligned = align(proprio, settings.robot, settings.repair)
        reading.evidence.frames, reading.evidence.arrays = proprio.frames, aligned.arrays
        reading.findings += aligned.findings
        reading.repaired += aligned.repaired


def _read_videos(source: EpisodeSource, settings: Settings, reading: Reading) -> None:
    there = any(p.startswith("videos/") for p in source.parts["observations"])
    for name in settings.cameras:
        blob, evidence = source.video(name), reading.evidence
        if blob is not None:
            evidence.videos[name], problems = read_video(
                blob, settings.camera(name), evidence.frames, settings.robot.fps, settings.decode
            )
            reading.findings += problems
        elif there:
            where = f"observations/{source.task_id}/{source.episode_id}/videos/{name}.mp4"
            reading.findings.append(finding("inventory.missing-camera", f"there is no video of {name}", where))


def _read_calibrations(source: EpisodeSource, settings: Settings, reading: Reading) -> None:
    if not source.parts["parameters"]:
        where = f"parameters/{source.task_id}/{source.episode_id}"
        reading.findings.append(finding("inventory.missing-parameters", "there are no camera parameters", where))
        return
    for name in settings.cameras:
        view, evidence = view_of(name), reading.evidence
        calibration, problems = read_calibration(
            settings.camera(name),
            source.parameters(f"{view}_intrinsic_params.json"),
            source.parameters(f"{view}_extrinsic_params_aligned.json"),
            evidence.frames,
            evidence.allowed,
        )
        reading.findings += problems
        if calibration is not None:
            evidence.calibrations[name] = calibration
