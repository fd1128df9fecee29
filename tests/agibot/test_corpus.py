"""The fault corpus is complete: every complaint of the field, every check and every reason has a fault that makes it.

The lists are those of the public issue trackers and of the catalogue of checks that the intake was built to; a line
names the reasons that tell it.
"""

from __future__ import annotations

from data_contracts.catalogue import catalogue

from .corpus import CORPUS, HIDES, ONE_PLACE

ELSEWHERE = {
    "inventory.empty-drop": "test_checks.py, CASES",
    "language.text-varies": "test_across.py",
    "duplicate.other-content": "test_join.py",
    "archive.reader-crashed": "test_validate.py",
}
"""Reasons that are about more than one episode, or about no episode at all, and the test that makes them."""

COMPLAINTS = {
    "actions longer than states": ("hdf5.action-longer-than-state",),
    "corrupt videos": ("video.unreadable", "video.undecodable", "video.empty-file"),
    "actions shorter or empty, their index lost": (
        "hdf5.action-shorter-than-state", "hdf5.action-unplaceable", "hdf5.missing-key", "hdf5.index-invalid",
    ),
    "quaternions filled with zeros": ("kinematics.quaternion-zero",),
    "rows and frames misaligned": ("video.frame-count", "hdf5.length-mismatch"),
    "intrinsics or extrinsics missing": ("calibration.missing", "inventory.missing-parameters"),
    "folders in folders of the same name": ("inventory.nested-duplicate",),
    "flanges out of the head's view": ("calibration.end-out-of-view",),
    "listed but not on disk, on disk but not listed": (
        "inventory.missing-observations", "inventory.missing-proprio", "inventory.missing-task-info",
    ),
    "corrupt tars": ("archive.truncated", "archive.unreadable"),
    "timestamps that violate the tolerance or fall": ("time.not-increasing", "time.jitter", "time.short-gap"),
    "clocks that overrun the video": ("time.rate", "time.unit", "time.gap"),
    "a wrong number of frames in the container, the last frame undecodable": ("video.frame-count", "video.undecodable"),
    "pictures without contrast": ("video.black", "video.blurred"),
    "the left arm's poses do not fit the robot's description": ("kinematics.flange-residual",),
    "default extrinsics in the aligned file": ("calibration.hand-still",),
    "empty odometry while the base moves": ("kinematics.odometry-missing",),
    "grippers of another polarity or unit": (
        "kinematics.gripper-not-following", "kinematics.gripper-unit", "kinematics.gripper-range",
    ),
    "actions copied from states": ("hdf5.action-equals-state",),
    "no labels": ("language.no-spans", "language.unreadable-labels"),
}  # fmt: skip
"""What users of AgiBot-World, of its converters and of LeRobot complain about, as far as it is an episode's fault.

What a converter does wrong (drift of float timestamps, file indices, statistics, memory) is tested where that is:
test_publish, test_lerobot, test_statistics, tests/benchmarks.
"""
CHECKS = {
    "inventory": (
        "inventory.missing-task-info", "inventory.missing-observations", "inventory.missing-proprio",
        "inventory.missing-parameters", "inventory.duplicate-id", "inventory.nested-duplicate", "archive.truncated",
        "inventory.missing-camera", "inventory.unreadable-task-info",
    ),
    "tars": ("archive.unreadable", "archive.unsafe-member", "archive.too-large"),
    "HDF5": (
        "hdf5.unreadable", "hdf5.missing-key", "hdf5.wrong-shape", "hdf5.wrong-type", "hdf5.length-mismatch",
        "hdf5.action-longer-than-state", "hdf5.action-shorter-than-state", "hdf5.action-unplaceable",
        "hdf5.index-invalid", "hdf5.not-finite", "kinematics.state-frozen", "hdf5.unsafe-reference",
        "hdf5.no-frames", "hdf5.too-many-frames",
    ),
    "time": ("time.not-increasing", "time.rate", "time.jitter", "time.short-gap", "time.gap", "time.unit"),
    "kinematics": (
        "kinematics.quaternion-norm", "kinematics.quaternion-zero", "kinematics.joint-limit-margin",
        "kinematics.joint-limit", "kinematics.velocity-high", "kinematics.velocity-impossible", "kinematics.jerk",
        "kinematics.end-step", "kinematics.end-turn", "kinematics.flange-residual", "kinematics.gripper-impossible",
        "kinematics.gripper-range", "kinematics.gripper-not-following", "kinematics.gripper-unit", "kinematics.idle",
        "hdf5.action-equals-state", "kinematics.odometry-missing",
    ),
    "video": (
        "video.empty-file", "video.unreadable", "video.frame-count", "video.rate", "video.resolution",
        "video.pts-irregular", "video.undecodable", "video.black", "video.frozen", "video.blurred",
        "video.hands-swapped", "video.codec",
    ),
    "depth": ("depth.frame-count", "depth.format", "depth.holes"),
    "calibration": (
        "calibration.rotation-invalid", "calibration.length-mismatch", "calibration.intrinsics-range",
        "calibration.pose-jump", "calibration.hand-still", "calibration.end-out-of-view", "calibration.missing",
        "calibration.unreadable",
    ),
    "language": (
        "language.span-invalid", "language.span-overlap", "language.span-gap", "language.coverage-low",
        "language.no-spans", "language.empty-text", "language.unknown-skill", "language.span-short",
        "language.no-instruction", "language.unreadable-labels",
    ),
    "copies": ("duplicate.episode", "duplicate.near", "duplicate.part", "duplicate.same-part"),
}  # fmt: skip


def test_every_reason_has_a_fault() -> None:
    """A reason that nothing can trigger is a promise that is not kept."""
    codes = [fault.code for fault in CORPUS]
    assert len(set(codes)) == len(codes)
    assert set(catalogue()) == set(codes) | set(ELSEWHERE)


def test_every_complaint_and_every_check_has_a_fault() -> None:
    codes = {fault.code for fault in CORPUS}
    assert {code for codes in COMPLAINTS.values() for code in codes} <= codes
    assert {code for codes in CHECKS.values() for code in codes} == codes, "the list of checks is whole"


def test_what_cannot_coexist_names_faults() -> None:
    """A misspelt exclusion would exclude nothing, and its pair be called hidden."""
    codes = {fault.code for fault in CORPUS}
    assert set(HIDES) <= codes
    assert set().union(*ONE_PLACE) <= codes
    assert [p for hidden in HIDES.values() for p in hidden if not any(c.startswith(p) for c in codes)] == []
