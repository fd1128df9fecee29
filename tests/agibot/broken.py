"""The rest of the fault corpus: parts that are absent, can't be read, or do not fit each other or the robot.

As in `faults`, strength 0 is the slightest that must be found. Each fault leaves as much as it can to others: it
damages arrays, cameras and files that few others touch. Those that move files come last, so that every fault of a pair
finds the files that it damages.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
from numpy.random import Generator

from components.robots.video import write_depth, write_video

from . import damage
from .conftest import RawDrop, RawEpisode
from .damage import ACTION, CLOCK, JOINTS, entry, spans, tar_of
from .faults import GRIPPER, Fault, beyond, change, inside, poses

Inject = Callable[[RawEpisode, Generator, float], None]
LEFT, RIGHT = "hand_left_color", "hand_right_color"
RIGHT_POSES, LEFT_INTRINSIC = "hand_right_extrinsic_params_aligned", "hand_left_intrinsic_params"
HEAD, WAIST, TURNS = "state/head/position", "state/waist/position", "action/end/orientation"
GIB = 1 << 30


def outright(code: str, how: str, break_it: damage.Damage) -> Fault:
    """A fault that has no strength."""

    def inject(raw: RawEpisode, rng: Generator, strength: float) -> None:
        break_it(raw)

    return Fault(code, how, inject, strengths=(0.0,))


def some(rows: int, strength: float) -> int:
    """One of `rows` up to half of them."""
    return max(1, round(strength * rows / 2))


# Arrays


def rows_lost(key: str) -> Inject:
    return lambda raw, rng, strength: raw.put(key, raw.array(key)[: -some(raw.frames, strength)])


def rows_too_many(raw: RawEpisode, rng: Generator, strength: float) -> None:
    values = raw.array("action/head/position")
    raw.put("action/head/position", np.concatenate([values, values[: some(raw.frames, strength)]]))


def sparse(raw: RawEpisode, rng: Generator, strength: float) -> None:
    """Commands of some frames only, and an index that tells which."""
    kept = np.sort(rng.permutation(raw.frames)[: raw.frames - some(raw.frames, strength)])
    raw.put("action/waist/index", kept)
    raw.put("action/waist/position", raw.array("action/waist/position")[kept])


def index_falls(raw: RawEpisode, rng: Generator, strength: float) -> None:
    count, at = some(raw.frames, strength) + 1, inside(raw, rng)
    change(raw, "action/joint/index", lambda v: v.__setitem__(np.s_[at : at + count], v[at : at + count][::-1]))


def not_numbers(raw: RawEpisode, rng: Generator, strength: float) -> None:
    rows = rng.permutation(raw.frames)[: some(raw.frames, strength)]
    change(raw, WAIST, lambda v: v.__setitem__((rows, 0), rng.choice([np.nan, np.inf])))


def link(raw: RawEpisode, rng: Generator, strength: float) -> None:
    with raw.proprio() as file:
        del file[HEAD]
        file[HEAD] = h5py.ExternalLink("elsewhere.h5", "/x") if strength > 0.5 else h5py.SoftLink("/" + WAIST)


def other_unit(raw: RawEpisode, rng: Generator, strength: float) -> None:
    """A period eleven times the robot's, up to one a thousandth of it."""
    stamps = raw.array(CLOCK)
    factor = 0.001 if strength > 0.5 else 11 + 4 * strength
    raw.put(CLOCK, stamps[0] + ((stamps - stamps[0]) * factor).astype(np.int64))


def too_far(raw: RawEpisode, rng: Generator, strength: float) -> None:
    beyond(raw, 0.12 + 1.4 * strength)


def copied(raw: RawEpisode, rng: Generator, strength: float) -> None:
    rows = np.arange(raw.frames) < (0.6 + 0.4 * strength) * raw.frames
    change(raw, ACTION, lambda v: v.__setitem__(rows, raw.array(JOINTS)[rows]))


def zeros(raw: RawEpisode, rng: Generator, strength: float) -> None:
    rows = rng.permutation(raw.frames)[: some(raw.frames, strength)]
    change(raw, TURNS, lambda v: v.__setitem__((rows, rng.integers(2)), 0.0))


def too_long(raw: RawEpisode, rng: Generator, strength: float) -> None:
    change(raw, TURNS, lambda v: v.__imul__(1.015 + strength / 2))


def gripper(low: float, high: float) -> Inject:
    def inject(raw: RawEpisode, rng: Generator, strength: float) -> None:
        change(raw, GRIPPER, lambda v: v.__setitem__((inside(raw, rng), 1), low + (high - low) * strength))

    return inject


# Videos and depth


def last_lost(raw: RawEpisode, rng: Generator, strength: float) -> None:
    kept = raw.frames - some(raw.frames, strength)
    damage.remux(lambda k: k if k < kept else None, camera=LEFT)(raw)


def other_rate(raw: RawEpisode, rng: Generator, strength: float) -> None:
    damage.remux(lambda k: k, rate=round(29 - 14 * strength), camera=LEFT)(raw)


def stays(raw: RawEpisode, rng: Generator, strength: float) -> None:
    at, more = inside(raw, rng), round(1 + 19 * strength)
    damage.remux(lambda k: k + more * (k > at), camera=LEFT)(raw)


def overwritten(raw: RawEpisode, rng: Generator, strength: float) -> None:
    data = bytearray(raw.files.video(RIGHT).read_bytes())
    start, most = data.index(b"mdat") + len(data) // 3, len(data) // 2
    length = round(2000 + strength * max(0, most - 2000))
    data[start : start + length] = bytes(length)
    raw.files.video(RIGHT).write_bytes(data)


def header_cut(raw: RawEpisode, rng: Generator, strength: float) -> None:
    os.truncate(raw.files.video(RIGHT), round(400 - 390 * strength))


def smaller(raw: RawEpisode, rng: Generator, strength: float) -> None:
    width, height = (624, 480) if strength < 0.5 else (320, 240)
    raw.files.video(RIGHT).unlink()
    write_video(raw.files.video(RIGHT), [np.zeros((height, width, 3), np.uint8)] * raw.frames, width, height)


def depth_lost(raw: RawEpisode, rng: Generator, strength: float) -> None:
    for frame in range(raw.frames - some(raw.frames, strength)):
        write_depth(raw.files.depth(frame), np.full((24, 32), 900, np.uint16))


# Calibration


def poses_lost(raw: RawEpisode, rng: Generator, strength: float) -> None:
    damage.parameters(RIGHT_POSES, lambda d: d[: -some(raw.frames, strength)])(raw)


def sheared(raw: RawEpisode, rng: Generator, strength: float) -> None:
    at, scale = inside(raw, rng), 1.001 + strength
    poses(raw, RIGHT_POSES, lambda r, t: r.__setitem__(at, r[at] * scale))


def zoomed(raw: RawEpisode, rng: Generator, strength: float) -> None:
    damage.parameters(LEFT_INTRINSIC, lambda d: d["intrinsic"].update(fx=640 * (3.1 + 7 * strength)))(raw)


# Labels


def ends_late(raw: RawEpisode, rng: Generator, strength: float) -> None:
    spans((0, raw.frames + round(1 + 99_999 * strength), "press", "Press"))(raw)


def overlap(raw: RawEpisode, rng: Generator, strength: float) -> None:
    at = inside(raw, rng, shared := 1 + some(raw.frames - 20, strength))
    spans((0, at + shared, "reach", "Reach"), (at, -1, "press", "Press"))(raw)


def uncovered(raw: RawEpisode, rng: Generator, strength: float) -> None:
    spans((0, round(raw.frames * (0.78 - 0.6 * strength)), "reach", "Reach"))(raw)


# Whole files: inventory, archives, copies


def proprio_cut(raw: RawEpisode, rng: Generator, strength: float) -> None:
    os.truncate(raw.files.proprio, round(raw.files.proprio.stat().st_size * (0.95 - 0.9 * strength)))


def gzipped(path: Path) -> None:
    path.write_bytes(b"\x1f\x8b" + bytes(2000))


def tar_cut(raw: RawEpisode, rng: Generator, strength: float) -> None:
    """Cut within the last of a tar's files, up to its first."""

    def cut(path: Path) -> None:
        with tarfile.open(path) as tar:
            files = [member for member in tar if member.isfile()]
        chosen = files[round((1 - strength) * (len(files) - 1))]
        os.truncate(path, chosen.offset_data + chosen.size // 2)

    tar_of("parameters", cut)(raw)


def twin(shift: float, more: float) -> Inject:
    """The episode once more, its joints shifted a little."""

    def inject(raw: RawEpisode, rng: Generator, strength: float) -> None:
        other = RawDrop(raw.root).add_copy(raw, raw.files.episode_id + 1)
        other.put(JOINTS, other.array(JOINTS) + shift + more * strength)

    return inject


def lost(code: str, how: str, path: Callable[[RawEpisode], Path]) -> Fault:
    return outright(code, how, damage.remove(path))


BROKEN = (
    Fault("hdf5.length-mismatch", "rows of a state lost", rows_lost(HEAD)),
    Fault("hdf5.action-longer-than-state", "commands too many", rows_too_many),
    Fault("hdf5.action-shorter-than-state", "commands of some frames, and their index", sparse),
    Fault("hdf5.action-unplaceable", "commands lost, and nobody knows which", rows_lost("action/end/position")),
    Fault("hdf5.index-invalid", "an index that falls", index_falls),
    Fault("hdf5.not-finite", "NaN or infinity", not_numbers),
    outright("hdf5.wrong-shape", "a column too few", damage.array(WAIST, lambda v: v[:, :1])),
    outright("hdf5.wrong-type", "text", damage.array(HEAD, lambda v: np.full(v.shape, b"1.0"))),
    outright("hdf5.missing-key", "a required array is empty", damage.array(TURNS, lambda v: v[:0])),
    Fault("hdf5.unsafe-reference", "a link", link),
    Fault("hdf5.action-equals-state", "commands copied from states", copied),
    Fault("time.unit", "no nanoseconds", other_unit),
    Fault("kinematics.joint-limit", "a joint far beyond its limit", too_far),
    Fault("kinematics.quaternion-zero", "filled in", zeros),
    Fault("kinematics.quaternion-norm", "quaternions too long", too_long),
    Fault("kinematics.gripper-range", "beyond closed", gripper(126, 190)),
    Fault("kinematics.gripper-impossible", "another unit", gripper(205, 1000)),
    Fault("video.frame-count", "the last frames lost", last_lost),
    Fault("video.rate", "another rate", other_rate),
    Fault("video.pts-irregular", "a picture that stays too long", stays),
    Fault("video.undecodable", "overwritten pictures", overwritten),
    Fault("video.unreadable", "cut in its header", header_cut),
    outright("video.empty-file", "no bytes", damage.write(lambda r: r.files.video(RIGHT), b"")),
    Fault("video.resolution", "another size", smaller),
    outright("video.codec", "a codec that MP4 lacks", damage.other_codec(RIGHT)),
    Fault("depth.frame-count", "depth of some frames only", depth_lost),
    outright("depth.format", "depth of 8 bits", damage.depth(kind=np.uint8)),
    Fault("calibration.intrinsics-range", "of another camera", zoomed),
    lost("calibration.missing", "no intrinsics", lambda r: r.parameters(LEFT_INTRINSIC)),
    Fault("calibration.length-mismatch", "poses too few", poses_lost),
    Fault("calibration.rotation-invalid", "a matrix that also scales", sheared),
    outright("calibration.unreadable", "no JSON", lambda raw: raw.parameters(RIGHT_POSES).write_text("[")),
    outright("language.no-instruction", "no task name", entry(task_name="  ")),
    outright("language.unreadable-labels", "no labels", entry(label_info=None)),
    outright("language.no-spans", "an empty list", spans()),
    Fault("language.span-invalid", "a step beyond the end", ends_late),
    outright("language.empty-text", "a step without text", spans((0, -1, "", "Press"))),
    Fault("language.span-overlap", "two steps at once", overlap),
    Fault("language.coverage-low", "much is not labelled", uncovered),
    outright("hdf5.no-frames", "one frame", damage.array(CLOCK, lambda v: v[:1])),
    outright("hdf5.too-many-frames", "a trillion frames", damage.endless),
    Fault("duplicate.episode", "the same under another name", twin(0.0, 0.0)),
    Fault("duplicate.near", "nearly the same", twin(0.002, 0.012)),
    Fault("hdf5.unreadable", "a torn file", proprio_cut),
    outright("archive.too-large", "states of a gigabyte", lambda raw: os.truncate(raw.files.proprio, GIB + 1)),
    lost("inventory.missing-camera", "a video is absent", lambda r: r.files.video(RIGHT)),
    outright("inventory.nested-duplicate", "unpacked twice", damage.nested),
    outright("duplicate.part", "another video in a tar", damage.twice(b"x")),
    outright("duplicate.same-part", "the same video in a tar", damage.twice(b"")),
    Fault("archive.truncated", "a torn tar", tar_cut),
    outright("archive.unreadable", "no tar", tar_of("parameters", gzipped)),
    outright("archive.unsafe-member", "a member that leads out", tar_of("parameters", damage.unsafe)),
    lost("inventory.missing-parameters", "no parameters", lambda r: r.root / "parameters"),
    lost("inventory.missing-proprio", "no states", lambda r: r.files.proprio),
    lost("inventory.missing-observations", "no videos", lambda r: r.root / "observations"),
    outright("inventory.duplicate-id", "listed twice", damage.listed_twice),
    outright("inventory.missing-task-info", "not listed", entry(episode_id=1)),
    outright("inventory.unreadable-task-info", "no JSON", lambda raw: raw.task_info.write_text("[{")),
)  # fmt: skip
