"""What is found is named: the reason, the place within the drop, and numbers, in one line that reads well.

Each case damages a copy of a recorded episode in one way, and says what must be found. Whether all of the fault corpus
is found, and found alone, is `test_faults`' matter.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from components.agibot.reading import Settings
from data_contracts.catalogue import catalogue

from .conftest import CAMERAS, HEAD_ONLY, SETTINGS, RawDrop, RawEpisode, examine_all, findings
from .damage import (
    ACTION,
    CLOCK,
    EXTRINSIC,
    INTRINSIC,
    JOINTS,
    MS,
    Damage,
    add,
    array,
    depth,
    empty,
    endless,
    entry,
    external_link,
    external_storage,
    forget_rotation,
    head,
    jump,
    listed_twice,
    mirror,
    nested,
    other_codec,
    parameters,
    proprio,
    put,
    remove,
    remux,
    scaled_frames,
    scramble_video,
    short_action,
    small_video,
    soft_link,
    spans,
    tar_of,
    twice,
    unsafe,
    virtual,
    write,
    zoom,
)

CASES: list[tuple[str, str, Damage]] = [
    # what is found, how the episode is damaged, the damage
    ("inventory.empty-drop", "no episode at all", empty),
    ("inventory.unreadable-task-info", "no JSON", lambda raw: raw.task_info.write_text("[{")),
    ("inventory.unreadable-task-info", "no list", lambda raw: raw.task_info.write_text("{}")),
    ("inventory.unreadable-task-info", "nested without end", lambda raw: raw.task_info.write_text("[" * 100_000)),
    ("inventory.unreadable-task-info", "an id that is no number", entry(episode_id=[1])),
    ("inventory.duplicate-id", "listed twice", listed_twice),
    ("inventory.missing-task-info", "not listed", entry(episode_id=1)),
    ("inventory.missing-observations", "no videos", remove(lambda r: r.root / "observations")),
    ("inventory.missing-camera", "one video is absent", remove(head)),
    ("inventory.missing-parameters", "no parameters", remove(lambda r: r.root / "parameters")),
    ("inventory.missing-proprio", "no states", remove(proprio)),
    ("inventory.nested-duplicate", "unpacked twice", nested),
    ("archive.unreadable", "no tar", tar_of("proprio_stats", lambda p: p.write_bytes(b"\x1f\x8b" + bytes(2000)))),
    ("archive.truncated", "a torn tar", tar_of("proprio_stats", lambda p: os.truncate(p, 3000))),
    ("archive.unsafe-member", "a member that leads out", tar_of("proprio_stats", unsafe)),
    ("archive.too-large", "states of more than a gigabyte", lambda raw: os.truncate(proprio(raw), (1 << 30) + 1)),
    ("hdf5.unreadable", "no HDF5", write(proprio, b"nothing of that kind")),
    ("hdf5.unreadable", "a torn HDF5", lambda raw: os.truncate(proprio(raw), 9000)),
    ("hdf5.unsafe-reference", "an external link", external_link),
    ("hdf5.unsafe-reference", "a soft link", soft_link),
    ("hdf5.unsafe-reference", "external storage", external_storage),
    ("hdf5.unsafe-reference", "a virtual array", virtual),
    ("hdf5.missing-key", "an empty array", array(ACTION, lambda v: v[:0, :0].ravel())),
    ("hdf5.wrong-type", "text", array(JOINTS, lambda v: np.full(v.shape, b"1.0"))),
    ("hdf5.wrong-type", "an index of fractions", array("action/joint/index", lambda v: v + 0.5)),
    ("hdf5.wrong-shape", "a joint too few", array(JOINTS, lambda v: v[:, :13])),
    ("hdf5.wrong-shape", "flattened", array("state/end/position", lambda v: v.reshape(-1, 6))),
    ("hdf5.no-frames", "one frame", array(CLOCK, lambda v: v[:1])),
    ("hdf5.no-frames", "no frame", array(CLOCK, lambda v: v[:0])),
    ("hdf5.too-many-frames", "a trillion frames", endless),
    ("hdf5.length-mismatch", "a state row lost", array(JOINTS, lambda v: v[:-1])),
    ("hdf5.action-longer-than-state", "an action row too many", array(ACTION, lambda v: np.vstack([v, v[-1:]]))),
    ("hdf5.action-shorter-than-state", "every second command, with its index", short_action(np.s_[::2], np.s_[::2])),
    ("hdf5.action-unplaceable", "fewer commands than index entries", short_action(np.s_[:-3], np.s_[:])),
    ("hdf5.index-invalid", "an index that falls", array("action/joint/index", lambda v: v[::-1])),
    ("hdf5.index-invalid", "an index beyond the episode", array("action/joint/index", lambda v: v + 10_000)),
    ("hdf5.not-finite", "one NaN", array(JOINTS, lambda v: put(v, (3, 2), np.nan))),
    ("hdf5.not-finite", "one infinity", array("action/effector/position", lambda v: put(v, (0, 0), np.inf))),
    ("hdf5.action-equals-state", "commands copied from states", lambda raw: raw.put(ACTION, raw.array(JOINTS))),
    ("time.not-increasing", "the clock stands still", array(CLOCK, lambda v: put(v, 5, v[4]))),
    ("time.not-increasing", "the clock runs back", array(CLOCK, lambda v: v[::-1])),
    ("hdf5.wrong-type", "a clock beyond 64 bits", array(CLOCK, lambda v: put(v, -1, np.iinfo(np.int64).min))),
    ("time.gap", "a pause of a second", array(CLOCK, lambda v: add(v, np.s_[10:], 1000 * MS))),
    ("time.gap", "a clock that falls, too", array(CLOCK, lambda v: put(add(v, np.s_[10:], 1000 * MS), 20, 9))),
    ("time.short-gap", "one frame lost", array(CLOCK, lambda v: add(v, np.s_[10:], 33 * MS))),
    ("time.rate", "27 frames a second", lambda raw: raw.put(CLOCK, scaled_frames(raw, 1.11))),
    ("time.jitter", "every second frame late", array(CLOCK, lambda v: add(v, np.s_[1::2], 12 * MS))),
    ("time.unit", "microseconds", array(CLOCK, lambda v: v // 1000)),
    ("kinematics.joint-limit", "degrees", array(JOINTS, lambda v: np.rad2deg(v))),
    ("kinematics.joint-limit-margin", "a hair beyond", array(JOINTS, lambda v: put(v, np.s_[:, 0], 3.14 + 0.05))),
    ("kinematics.velocity-impossible", "a jump", array(JOINTS, lambda v: add(v, np.s_[10:, 0], 0.5))),
    ("kinematics.velocity-high", "a quick step", array(JOINTS, jump)),
    ("kinematics.end-step", "a flange jumps", array("state/end/position", lambda v: add(v, np.s_[10:, 0, 0], 0.1))),
    ("kinematics.quaternion-zero", "filled in", array("state/end/orientation", lambda v: put(v, np.s_[4, 1], 0))),
    ("kinematics.quaternion-norm", "too long", array("action/end/orientation", lambda v: v * 1.05)),
    ("kinematics.gripper-impossible", "another unit", array("state/effector/position", lambda v: put(v, 7, 999))),
    ("kinematics.gripper-range", "beyond closed", array("state/effector/position", lambda v: put(v, 7, 126))),
    ("video.empty-file", "no bytes", write(head, b"")),
    ("video.unreadable", "no video", write(head, b"\x00\x01 nothing of that kind" * 99)),
    ("video.unreadable", "a playlist that would open other files", write(head, b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n")),
    ("video.unreadable", "cut in its header", lambda raw: os.truncate(head(raw), 400)),
    ("video.undecodable", "cut in the middle", lambda raw: os.truncate(head(raw), head(raw).stat().st_size // 2)),
    ("video.undecodable", "overwritten pictures", scramble_video),
    ("video.frame-count", "the last frame lost", lambda raw: remux(lambda k: k if k < raw.frames - 1 else None)(raw)),
    ("video.resolution", "a quarter of the size", small_video),
    ("video.codec", "a codec that MP4 lacks", other_codec()),
    ("video.rate", "15 frames a second", remux(lambda k: k, rate=15)),
    ("video.pts-irregular", "a picture that stays too long", remux(lambda k: k + (k > 20))),
    ("depth.frame-count", "depth of all frames but one", depth(missing=1)),
    ("depth.format", "depth of 8 bits", depth(kind=np.uint8)),
    ("calibration.missing", "no intrinsics", remove(lambda r: r.parameters(INTRINSIC))),
    ("calibration.unreadable", "no JSON", lambda raw: raw.parameters(EXTRINSIC).write_text("[")),
    ("calibration.unreadable", "text for numbers", parameters(INTRINSIC, lambda d: d["intrinsic"].update(fx="wide"))),
    ("calibration.unreadable", "an entry without rotation", parameters(EXTRINSIC, forget_rotation)),
    ("calibration.length-mismatch", "a pose too few", parameters(EXTRINSIC, lambda d: d[:-1])),
    ("calibration.rotation-invalid", "mirrored", parameters(EXTRINSIC, mirror)),
    ("calibration.intrinsics-range", "of another camera", parameters(INTRINSIC, zoom)),
    ("language.no-instruction", "no task name", entry(task_name="  ")),
    ("language.unreadable-labels", "no labels", entry(label_info=None)),
    ("language.span-invalid", "a step beyond the end", spans((0, 100_000, "press", "Press"))),
    ("language.span-invalid", "a reversed step", spans((20, 10, "press", "Press"))),
    ("language.no-spans", "an empty list", spans()),
    ("language.empty-text", "a step without text", spans((0, -1, "", "Press"))),
    ("language.span-overlap", "two steps at once", spans((0, 30, "reach", "Reach"), (20, -1, "press", "Press"))),
    ("language.span-gap", "seconds without a label", spans((0, 5, "reach", "Reach"), (-5, -1, "press", "Press"))),
    ("language.coverage-low", "half is labelled", spans((0, 20, "reach", "Reach"))),
    ("duplicate.part", "another video in a tar", twice(b"x")),
    ("duplicate.same-part", "the same video in a tar", twice(b"")),
]  # fmt: skip


@pytest.mark.parametrize(("code", "how", "damage"), CASES, ids=[f"{c} ({h})" for c, h, _ in CASES])
def test_damage_is_found_and_named(one: RawEpisode, code: str, how: str, damage: Damage) -> None:
    damage(one)
    found = findings(one.root)
    assert code in {f.code for f in found}, [f"{f.code}: {f.message}" for f in found]
    for finding in found:
        assert finding.severity == catalogue()[finding.code].severity
        text = f"{finding.message} {finding.where}"
        assert finding.message
        assert len(text) < 400, text
        assert str(one.root) not in text, "messages name places within the drop"
        assert "\n" not in text


@pytest.mark.parametrize("settings", [HEAD_ONLY, SETTINGS], ids=["one camera", "two cameras"])
def test_recorded_episodes_are_accepted(recorded: RawDrop, settings: Settings) -> None:
    """The checks must not cry wolf: what the recorder writes is without any error or warning."""
    for examined in examine_all(recorded.root, settings):
        assert {f.code for f in examined.findings} <= {"language.text-varies"}
        assert examined.verdict == "accepted"
        assert examined.frames > 20
        assert examined.instruction


def test_damage_is_found_alone(recorded: RawDrop, tmp_path: Path) -> None:
    """One defect gives its own reason and no others: a reader of the report must not have to guess the cause."""
    only = [
        "video.empty-file",
        "time.short-gap",
        "hdf5.not-finite",
        "time.gap",
        "calibration.length-mismatch",
        "language.span-invalid",
    ]
    for number, wanted in enumerate(only):
        damage = next(d for code, _, d in CASES if code == wanted)
        raw = recorded.copy(tmp_path / str(number), 1).episodes[0]
        damage(raw)
        assert {f.code for f in findings(raw.root)} == {wanted}


def test_an_episode_that_moves_as_another_is_its_copy(one: RawEpisode) -> None:
    RawDrop(one.root).add_copy(one, one.files.episode_id + 1)
    first, second = examine_all(one.root)
    assert first.verdict == "accepted"
    assert [f.code for f in second.findings] == ["duplicate.episode"]
    assert str(one.files.episode_id) in second.findings[0].message


def test_the_copy_of_a_bad_episode_is_kept(one: RawEpisode) -> None:
    """Only one that is used itself can make another redundant."""
    RawDrop(one.root).add_copy(one, one.files.episode_id + 1)
    head(one).write_bytes(b"")
    assert [e.verdict for e in examine_all(one.root)] == ["quarantined", "accepted"]


# The one repair


def test_commands_are_placed_by_their_index_and_rest_on_the_state(one: RawEpisode) -> None:
    from components.agibot.checks.arrays import align
    from components.agibot.drop import open_drop
    from components.agibot.proprio import read_proprio

    state, action = one.array(JOINTS), one.array(ACTION)
    short_action(np.s_[::2], np.s_[::2])(one)
    blob = open_drop(one.root).episodes[one.key].proprio
    assert blob is not None
    proprio, problems = read_proprio(blob, HEAD_ONLY.robot)
    assert proprio is not None
    assert problems == []
    aligned = align(proprio, HEAD_ONLY.robot, repair=True)
    placed = aligned.arrays[ACTION]
    [repair] = aligned.repaired
    assert (repair.key, repair.rows) == (ACTION, (len(action[::2]), len(action)))
    assert repair.before == hashlib.sha256(f"{action[::2].shape}".encode() + action[::2].tobytes()).hexdigest()
    assert repair.after == hashlib.sha256(f"{placed.shape}".encode() + placed.tobytes()).hexdigest()
    np.testing.assert_array_equal(placed[::2], action[::2])
    np.testing.assert_array_equal(placed[1::2], state[1::2])


@pytest.mark.parametrize(("repair", "verdict"), [(True, "repaired"), (False, "quarantined")])
def test_repair_can_be_refused(one: RawEpisode, repair: bool, verdict: str) -> None:
    short_action(np.s_[::2], np.s_[::2])(one)
    (examined,) = examine_all(one.root, Settings("agibot_g1", CAMERAS[:1], repair=repair))
    assert examined.verdict == verdict
    if not repair:
        assert "repair is off" in examined.findings[0].message


def test_gripper_commands_rest_on_the_state_as_a_share(one: RawEpisode) -> None:
    """The state's gripper is in actuator units, the command 0 .. 1: a copy without conversion would slam it shut."""
    key = "action/effector/position"
    one.put("action/effector/index", np.arange(0, one.frames, 2))
    one.put(key, one.array(key)[::2])
    (examined,) = examine_all(one.root)
    assert examined.verdict == "repaired"
    assert {f.code for f in examined.findings} == {"hdf5.action-shorter-than-state"}


def test_cameras_that_are_not_asked_for_may_be_absent(one: RawEpisode) -> None:
    one.files.video("hand_left_color").unlink()
    assert examine_all(one.root, HEAD_ONLY)[0].verdict == "accepted"
    assert examine_all(one.root, SETTINGS)[0].verdict == "quarantined"


def test_calibration_may_be_left_out(one: RawEpisode) -> None:
    remove(lambda r: r.root / "parameters")(one)
    assert examine_all(one.root, Settings("agibot_g1", CAMERAS[:1], calibration=False))[0].verdict == "accepted"
