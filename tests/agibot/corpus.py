"""The fault corpus as a whole: which faults there are, what each is a case of, and which can be in one episode."""

from __future__ import annotations

from pathlib import Path

from components.agibot.across import compare
from components.agibot.drop import open_drop
from components.agibot.examine import Job, examine
from components.agibot.reading import Settings
from data_contracts.catalogue import catalogue

from .broken import BROKEN
from .faults import FAULTS, Fault

CORPUS = (*FAULTS, *BROKEN)
_NO_STATES = (
    "hdf5.", "time.", "kinematics.", "language.", "calibration.length-mismatch", "calibration.hand-still",
    "calibration.end-out-of-view", "depth.frame-count", "video.frame-count", "video.frozen", "video.hands-swapped",
    "duplicate.episode", "duplicate.near",
)  # fmt: skip
HIDES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("inventory.missing-proprio", "hdf5.unreadable", "hdf5.no-frames", "hdf5.too-many-frames", "archive.too-large"),
        _NO_STATES,
    ),
    "inventory.missing-observations": ("video.", "depth.", "inventory.missing-camera", "inventory.nested-duplicate",
                                       "duplicate.part", "duplicate.same-part"),
    "inventory.missing-parameters": ("calibration.",),
    "archive.unreadable": ("calibration.",),
    "archive.truncated": ("calibration.",),
    "inventory.missing-task-info": ("language.", "inventory.duplicate-id"),
    "inventory.unreadable-task-info": ("language.", "inventory.duplicate-id", "inventory.missing-task-info"),
    "hdf5.missing-key": ("kinematics.quaternion-",),
    "hdf5.action-equals-state": ("kinematics.state-frozen",),
    "video.rate": ("video.pts-irregular",),
    "hdf5.wrong-shape": ("hdf5.action-shorter-than-state",),  # it would be placed upon that state
    "hdf5.not-finite": ("hdf5.action-shorter-than-state",),
}  # fmt: skip
"""What can't be judged beside a fault, by codes or their beginnings: what can't be read has no faults."""
ONE_PLACE = (
    {"language.unknown-skill", "language.span-short", "language.span-gap", "language.unreadable-labels",
     "language.no-spans", "language.span-invalid", "language.empty-text", "language.span-overlap",
     "language.coverage-low"},
    {"kinematics.gripper-not-following", "kinematics.gripper-unit", "kinematics.gripper-range",
     "kinematics.gripper-impossible"},
    {"kinematics.joint-limit", "kinematics.joint-limit-margin"},
    {"kinematics.quaternion-zero", "kinematics.quaternion-norm"},
    {"kinematics.idle", "kinematics.velocity-high", "kinematics.velocity-impossible", "kinematics.jerk"},
    {"kinematics.idle", "kinematics.end-step", "kinematics.end-turn"},
    {"kinematics.idle", "hdf5.action-equals-state"},
    {"time.not-increasing", "time.jitter", "time.rate", "time.unit"},
    {"time.unit", "time.gap", "time.short-gap"},
    {"hdf5.length-mismatch", "hdf5.wrong-type", "hdf5.unsafe-reference"},
    {"hdf5.not-finite", "hdf5.wrong-shape"},
    {"video.black", "video.blurred", "video.frozen"},
    {"video.undecodable", "video.unreadable", "video.empty-file", "video.resolution", "video.codec",
     "inventory.missing-camera", "video.hands-swapped"},
    {"video.frame-count", "video.rate", "video.pts-irregular", "video.hands-swapped"},
    {"depth.holes", "depth.frame-count", "depth.format"},
    {"calibration.intrinsics-range", "calibration.missing"},
    {"calibration.hand-still", "calibration.length-mismatch", "calibration.rotation-invalid", "calibration.unreadable"},
    {"archive.truncated", "archive.unreadable", "archive.unsafe-member", "inventory.missing-parameters"},
    {"duplicate.part", "duplicate.same-part"},
    {"duplicate.episode", "duplicate.near"},
    {"hdf5.no-frames", "hdf5.too-many-frames", "hdf5.unreadable", "archive.too-large", "inventory.missing-proprio"},
)  # fmt: skip
"""Faults that set the same values or files, or are levels of one check: labels, a gripper, the clock, a video."""


def coexist(a: Fault, b: Fault) -> bool:
    """Whether both can be in one episode so that each can be told."""
    if any({a.code, b.code} <= group for group in ONE_PLACE):
        return False
    for one, other in ((a, b), (b, a)):
        if other.code.startswith(HIDES.get(one.code, ())) and one.code in HIDES:
            return False
        if one.code in ("duplicate.episode", "duplicate.near") and catalogue()[other.code].severity == "error":
            return False  # a refused episode is nobody's original
    return True


def found_in(root: Path, settings: Settings) -> set[str]:
    """Every reason that a drop gets, its episodes and itself."""
    drop = open_drop(root)
    episodes = compare([examine(Job(source, settings)) for source in drop.episodes.values()], settings)
    of_drop = {f.code for found in drop.findings.values() for f in found}
    return of_drop | {f.code for episode in episodes for f in episode.findings}
