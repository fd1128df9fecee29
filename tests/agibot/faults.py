"""The fault corpus: faults of known reason, injected into recorded episodes of an AgiBot G1
at a chosen strength from a seed. Here those of episodes that can be read but are not plausible; the rest is `broken`.

A fault takes an episode of its own copy, a random generator and a strength (0 the slightest that must be found, 1 far
beyond doubt).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter
from scipy.spatial.transform import Rotation

from components.robots.video import write_depth, write_video
from data_contracts.embodiment import load_embodiment

from .conftest import RawEpisode
from .damage import ACTION, CLOCK, EXTRINSIC, JOINTS, MS, spans

Array = NDArray[Any]
END, TURN = "state/end/position", "state/end/orientation"
GRIPPER = "state/effector/position"


@dataclass(frozen=True)
class Fault:
    """One way to be wrong, and the reason code that it must get."""

    code: str
    how: str
    inject: Callable[[RawEpisode, Generator, float], None]
    strengths: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)
    """at which it is tried"""


def between(low: float, high: float, strength: float) -> float:
    return low + (high - low) * strength


def change(raw: RawEpisode, key: str, edit: Callable[[Array], object]) -> None:
    """Edit an array of proprio_stats.h5 in place."""
    values = raw.array(key).copy()
    edit(values)
    raw.put(key, values)


def inside(raw: RawEpisode, rng: Generator, length: int = 1) -> int:
    """A random frame with `length` frames after it, away from the ends."""
    return int(rng.integers(5, raw.frames - length - 5))


def busy_arm(raw: RawEpisode) -> int:
    return int(np.ptp(raw.array(END), axis=0).max(axis=1).argmax())


def busy_joint(raw: RawEpisode) -> int:
    return int(np.ptp(raw.array(ACTION), axis=0).argmax())


# Clocks


def pause(low_ms: float, high_ms: float) -> Callable[[RawEpisode, Generator, float], None]:
    def inject(raw: RawEpisode, rng: Generator, strength: float) -> None:
        at = inside(raw, rng)
        raw.put(CLOCK, raw.array(CLOCK) + (np.arange(raw.frames) >= at) * int(between(low_ms, high_ms, strength) * MS))

    return inject


def jitter(raw: RawEpisode, rng: Generator, strength: float) -> None:
    late = np.where(np.arange(raw.frames) % 2, between(11, 15, strength), 0) + rng.uniform(0, 0.5, raw.frames)
    raw.put(CLOCK, raw.array(CLOCK) + (late * MS).astype(np.int64))


def other_rate(raw: RawEpisode, rng: Generator, strength: float) -> None:
    stamps = raw.array(CLOCK)
    raw.put(CLOCK, stamps[0] + ((stamps - stamps[0]) * between(1.03, 1.25, strength)).astype(np.int64))


def stands(raw: RawEpisode, rng: Generator, strength: float) -> None:
    at = inside(raw, rng)
    change(raw, CLOCK, lambda v: v.__setitem__(at, v[at - 1] - int(strength * 20 * MS)))


# Joints, flanges, grippers


def beyond(raw: RawEpisode, rad: float) -> None:
    """All of a still joint, pushed beyond its limit: nothing moves wrongly, only the place is impossible."""
    upper = np.asarray(load_embodiment("agibot_g1").arms.upper)
    values = raw.array(JOINTS)
    joint = int(np.ptp(values, axis=0).argmin())
    shift = upper[joint] + rad - values[:, joint].max()
    change(raw, JOINTS, lambda v: v.__setitem__(np.s_[:, joint], v[:, joint] + shift))


def beyond_limit(raw: RawEpisode, rng: Generator, strength: float) -> None:
    beyond(raw, between(0.025, 0.09, strength))


def jump(low_rad: float, high_rad: float) -> Callable[[RawEpisode, Generator, float], None]:
    def inject(raw: RawEpisode, rng: Generator, strength: float) -> None:
        at, values = inside(raw, rng), raw.array(JOINTS)
        joint = int(np.ptp(values, axis=0).argmin())
        step = between(low_rad, high_rad, strength) * (1 if values[0, joint] < 0 else -1)
        change(raw, JOINTS, lambda v: v.__setitem__(np.s_[at:, joint], v[at:, joint] + step))

    return inject


def spike(raw: RawEpisode, rng: Generator, strength: float) -> None:
    at, joint = inside(raw, rng), int(rng.integers(raw.array(JOINTS).shape[1]))
    change(raw, JOINTS, lambda v: v.__setitem__((at, joint), v[at, joint] + between(0.05, 0.09, strength)))


def held(raw: RawEpisode, rng: Generator, strength: float) -> None:
    """The robot stops early, and the recording goes on."""
    start = int(raw.frames * between(0.42, 0.2, strength))
    for key in (JOINTS, ACTION, END, TURN, "action/end/position", "action/end/orientation"):
        change(raw, key, lambda v: v.__setitem__(np.s_[start:], v[start]))


def dead_encoder(raw: RawEpisode, rng: Generator, strength: float) -> None:
    joint = busy_joint(raw)
    change(raw, JOINTS, lambda v: v.__setitem__(np.s_[:, joint], v[0, joint]))


def end_jump(raw: RawEpisode, rng: Generator, strength: float) -> None:
    at, arm = inside(raw, rng), int(rng.integers(2))
    change(raw, END, lambda v: v.__setitem__(np.s_[at:, arm, 2], v[at:, arm, 2] + between(0.09, 0.3, strength)))


def end_turn(raw: RawEpisode, rng: Generator, strength: float) -> None:
    """A turn about the flange's x; half of the quaternions then change their sign, which must not matter."""
    at, arm = inside(raw, rng), int(rng.integers(2))
    turned = Rotation.from_quat(raw.array(TURN)[at:, arm]) * Rotation.from_euler("x", between(0.5, 1.5, strength))
    signs = np.where(rng.random(raw.frames - at) < 0.5, -1.0, 1.0)[:, None]
    change(raw, TURN, lambda v: v.__setitem__(np.s_[at:, arm], turned.as_quat() * signs))


def end_offset(raw: RawEpisode, rng: Generator, strength: float) -> None:
    """One arm's poses are those of a tool, or of an arm of other lengths."""
    arm = int(rng.integers(2))
    change(raw, END, lambda v: v.__setitem__(np.s_[:, arm, 2], v[:, arm, 2] + between(0.03, 0.23, strength)))


def base_moves(raw: RawEpisode, rng: Generator, strength: float) -> None:
    values = np.zeros((raw.frames, 2))
    values[inside(raw, rng) :, 0] = between(0.06, 0.5, strength)
    raw.put("action/robot/velocity", values)


def closes_to_open(raw: RawEpisode, rng: Generator, strength: float) -> None:
    """The command of a gripper that works, and its state the other way round."""
    grip(raw, rng)
    change(raw, GRIPPER, lambda v: v.__setitem__(np.s_[:], v.max() + v.min() - v))


def other_unit(raw: RawEpisode, rng: Generator, strength: float) -> None:
    """AgiBot's grippers told in 0 .. 1 instead of 0 .. 120."""
    grip(raw, rng)
    change(raw, GRIPPER, lambda v: v.__imul__(1 / 120))


def grip(raw: RawEpisode, rng: Generator) -> None:
    """Let both grippers close and open once, as a working gripper does: a few frames behind its command."""
    at = inside(raw, rng, raw.frames // 3)
    command = np.zeros((raw.frames, 2))
    command[at : at + raw.frames // 3] = 1.0
    raw.put("action/effector/position", command)
    raw.put(GRIPPER, 120 * uniform_filter(np.roll(command, 3, axis=0), (5, 1), mode="nearest"))


# Videos


def edit_video(raw: RawEpisode, camera: str, edit: Callable[[NDArray[np.uint8]], object]) -> None:
    """Decode a video, change its frames (N, H, W, 3) in place, and encode them again."""
    images = raw.decode(camera)
    edit(images)
    path = raw.files.video(camera)
    path.unlink()
    write_video(path, images, images.shape[2], images.shape[1])


def black(raw: RawEpisode, rng: Generator, strength: float) -> None:
    length = int(between(3, 20, strength))
    at = inside(raw, rng, length)
    edit_video(raw, "head_color", lambda v: v.__setitem__(np.s_[at : at + length], 0))


def blurred(raw: RawEpisode, rng: Generator, strength: float) -> None:
    size = int(between(15, 41, strength))
    at = inside(raw, rng, 20)

    def edit(images: NDArray[np.uint8]) -> None:
        images[at : at + 20] = uniform_filter(images[at : at + 20], (0, size, size, 0), mode="nearest")

    edit_video(raw, "head_color", edit)


def frozen(raw: RawEpisode, rng: Generator, strength: float) -> None:
    """The head's stream hangs while the busiest joint is on its way; at the largest strength it never comes back."""
    length = int(between(18, raw.frames, strength))
    speed = np.abs(np.diff(raw.array(JOINTS), axis=0)).sum(axis=1)
    at = int(np.convolve(speed, np.ones(length), "valid").argmax()) if length < raw.frames else 0
    edit_video(raw, "head_color", lambda v: v.__setitem__(np.s_[at : at + length], v[at]))


def swapped_hands(raw: RawEpisode, rng: Generator, strength: float) -> None:
    left, right = raw.files.video("hand_left_color"), raw.files.video("hand_right_color")
    a, b = left.read_bytes(), right.read_bytes()
    left.write_bytes(b)
    right.write_bytes(a)


def holes(raw: RawEpisode, rng: Generator, strength: float) -> None:
    for frame in range(raw.frames):
        image = np.full((24, 32), 900, np.uint16)
        image[rng.random(image.shape) < between(0.7, 1.0, strength)] = 0
        write_depth(raw.files.depth(frame), image)


# Calibration and labels


def poses(raw: RawEpisode, name: str, edit: Callable[[Array, Array], object]) -> None:
    """Edit a camera's rotations (N, 3, 3) and translations (N, 3) in place."""
    document = json.loads(raw.parameters(name).read_text())
    rotations = np.array([e["extrinsic"]["rotation_matrix"] for e in document])
    translations = np.array([e["extrinsic"]["translation_vector"] for e in document])
    edit(rotations, translations)
    out = [
        {"extrinsic": {"rotation_matrix": r.tolist(), "translation_vector": t.tolist()}}
        for r, t in zip(rotations, translations, strict=True)
    ]
    raw.parameters(name).write_text(json.dumps(out))


def head_steps(raw: RawEpisode, rng: Generator, strength: float) -> None:
    at = inside(raw, rng)
    poses(raw, EXTRINSIC, lambda r, t: t.__setitem__(np.s_[at:, 1], t[at:, 1] + between(0.06, 0.3, strength)))


def hand_still(raw: RawEpisode, rng: Generator, strength: float) -> None:
    side = ("left", "right")[busy_arm(raw)]

    def edit(rotations: Array, translations: Array) -> None:
        rotations[:], translations[:] = rotations[0], translations[0]

    poses(raw, f"hand_{side}_extrinsic_params_aligned", edit)


def looks_away(raw: RawEpisode, rng: Generator, strength: float) -> None:
    """The head's camera turned about the base's z, as if its extrinsics were another robot's."""
    angle = between(1.9, 3.0, strength) * (1 if rng.random() < 0.5 else -1)
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    poses(raw, EXTRINSIC, lambda r, t: r.__setitem__(np.s_[:], turn @ r))


def labels(*steps: tuple[Any, ...]) -> Callable[[RawEpisode, Generator, float], None]:
    return lambda raw, rng, strength: spans(*steps)(raw)


def short_step(raw: RawEpisode, rng: Generator, strength: float) -> None:
    at, length = inside(raw, rng), round(between(4, 1, strength))
    spans((0, at, "reach", "Reach"), (at, at + length, "press", "Press"), (at + length, -1, "go", "Retract"))(raw)


def gap(raw: RawEpisode, rng: Generator, strength: float) -> None:
    length = int(between(32, 45, strength))
    at = inside(raw, rng, length)
    spans((0, at, "reach", "Reach"), (at + length, -1, "press", "Press"))(raw)


FAULTS = (
    Fault("time.short-gap", "frames lost", pause(25, 300)),
    Fault("time.gap", "a pause", pause(550, 5000)),
    Fault("time.jitter", "every second frame late", jitter),
    Fault("time.rate", "another rate", other_rate),
    Fault("time.not-increasing", "a clock that stands or falls", stands),
    Fault("kinematics.joint-limit-margin", "a joint beyond its limit", beyond_limit),
    Fault("kinematics.velocity-high", "a quick step", jump(0.15, 0.2)),
    Fault("kinematics.velocity-impossible", "a jump", jump(0.3, 1.0)),
    Fault("kinematics.jerk", "one sample off", spike),
    Fault("kinematics.idle", "the robot stops early", held),
    Fault("kinematics.state-frozen", "a dead encoder", dead_encoder),
    Fault("kinematics.end-step", "a flange jumps", end_jump),
    Fault("kinematics.end-turn", "a flange turns", end_turn),
    Fault("kinematics.flange-residual", "a flange is elsewhere", end_offset),
    Fault("kinematics.odometry-missing", "a base moves unseen", base_moves),
    Fault("kinematics.gripper-not-following", "open and closed swapped", closes_to_open),
    Fault("kinematics.gripper-unit", "0 .. 1 for 0 .. 120", other_unit),
    Fault("video.black", "black frames", black),
    Fault("video.blurred", "an unfocused lens", blurred),
    Fault("video.frozen", "a stream that hangs", frozen),
    Fault("video.hands-swapped", "left for right", swapped_hands),
    Fault("depth.holes", "mostly no depth", holes),
    Fault("calibration.pose-jump", "the head's camera jumps", head_steps),
    Fault("calibration.hand-still", "default extrinsics", hand_still),
    Fault("calibration.end-out-of-view", "another robot's extrinsics", looks_away),
    Fault("language.unknown-skill", "a skill that nobody knows", labels((0, -1, "press", "Juggle"))),
    Fault("language.span-short", "a step of a few frames", short_step),
    Fault("language.span-gap", "seconds without a label", gap),
)
