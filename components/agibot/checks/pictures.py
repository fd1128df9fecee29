"""What the videos show: pictures that are black, blurred or stand still while the robot moves, and hands swapped."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from components.agibot.checks.evidence import Evidence, VideoInfo
from components.agibot.checks.flanges import POSITION, SIDES
from components.agibot.checks.places import after, frames, runs
from components.agibot.proprio import Array
from data_contracts.catalogue import Thresholds, finding
from data_contracts.reasons import Finding


def check_pictures(evidence: Evidence) -> Iterator[Finding]:
    """All checks of this file, over the frames that were looked at. Swapped hands are only seen where those are all."""
    joints, moving = evidence.arm_joints(), {}
    for name, info in evidence.videos.items():
        where = f"videos/{name}.mp4"
        if len(info.points) != len(info.at) or len(info.at) < 2:
            continue
        yield from check_black(name, info, where, evidence.allowed)
        yield from check_blurred(name, info, where, evidence.allowed)
        if joints is not None and info.frames == evidence.frames:
            arms = [arm for arm, side in enumerate(SIDES) if name.startswith(f"hand_{side}")]
            own = joints[:, arms or [0, 1]].reshape(len(joints), -1)
            yield from check_frozen(name, info, own, where, evidence.allowed)
            if info.whole:
                moving[name] = info.changes
    positions = evidence.arrays.get(POSITION)
    names = [f"hand_{side}_color" for side in SIDES]
    if positions is not None and all(name in moving for name in names):
        yield from check_hands([moving[name] for name in names], positions, evidence.allowed)


def check_black(name: str, info: VideoInfo, where: str, allowed: Thresholds) -> Iterator[Finding]:
    black = info.brightness < allowed.black_level
    if black.mean() > allowed.black_share:
        message = f"{name} is black at {int(black.sum())} of {_looked_at(info)}"
        yield finding("video.black", message, f"{where}, {frames(_at(info, black))}")


def check_blurred(name: str, info: VideoInfo, where: str, allowed: Thresholds) -> Iterator[Finding]:
    """Runs of frames with far less detail than the video has elsewhere; black ones are reported as such."""
    usual = float(np.median(info.sharpness))
    dull = (info.sharpness < allowed.blurred_share * usual) & (info.brightness >= allowed.black_level)
    bad = np.zeros(len(dull), bool)
    for start, end in runs(dull):
        bad[start:end] = info.at[end - 1] - info.at[start] + 1 >= allowed.blurred_frames
    if bad.any():
        least = info.sharpness[bad].min() / usual
        message = f"{name} has {least:.0%} of its usual detail at {int(bad.sum())} of {_looked_at(info)}"
        yield finding("video.blurred", message, f"{where}, {frames(_at(info, bad))}")


def check_frozen(name: str, info: VideoInfo, joints: Array, where: str, allowed: Thresholds) -> Iterator[Finding]:
    """Runs of frames that show the same picture while joints move; `joints` (N, D) rad are those that it should show.

    A blank table under a moving hand looks the same too, so a run counts if the pictures go on with a jump, or if it
    lasts to the end of a video that is lively elsewhere or nowhere. An encoder that repeats a picture changes it a
    little at key frames: a lone step ends no run. A sensor's jump is no motion, so that no step counts for much.
    """
    steps = info.changes
    still = (steps < allowed.frozen_level) & (info.brightness[1:] >= allowed.black_level)
    usual = float(np.median(steps[~still])) if not still.all() else np.inf
    if info.whole:
        still[1:-1] |= still[:-2] & still[2:] & (steps[1:-1] < usual)
    most = allowed.frozen_travel_rad / 4
    path = np.cumsum(np.diff(joints, axis=0, prepend=joints[:1]).clip(-most, most), axis=0)
    travel = np.cumsum(np.abs(np.diff(path[info.at], axis=0, prepend=path[info.at[:1]])), axis=0)
    bad = np.zeros(info.frames - 1, bool)
    for start, end in runs(still):
        moved = (travel[end] - travel[start]).max() > allowed.frozen_travel_rad
        if info.at[end] - info.at[start] >= allowed.frozen_frames and moved:
            ahead = usual if end == len(still) else steps[end]
            least = allowed.frozen_level if end == len(still) else usual
            bad[info.at[start] : info.at[end]] = ahead > allowed.frozen_jump * least
    if bad.any():
        message = f"{name} shows the same picture for {int(bad.sum())} frames while joints move"
        yield finding("video.frozen", message, f"{where}, {frames(after(bad))}")


def check_hands(moving: list[Array], positions: Array, allowed: Thresholds) -> Iterator[Finding]:
    """Whether the hands' pictures change with the other hand's motion: then the two videos were swapped.

    `moving` are the changes (N - 1,) of the left and the right hand's pictures, `positions` (N, 2, 3) the flanges, m.
    Both hands are pooled, so that an arm that rests counts; while both work alike, nothing can be told.
    """
    speeds = np.linalg.norm(np.diff(positions, axis=0), axis=-1)
    pictures = np.stack(moving, axis=1)
    pictures = np.minimum(pictures, np.quantile(pictures, 0.95))  # a grasp fills the picture at once
    speeds = np.minimum(speeds, np.quantile(speeds, 0.95))  # nor is a jump in the numbers a motion
    if not pictures.std() or not speeds.std():
        return
    own, other = (float(np.corrcoef(pictures.ravel(), s.ravel())[0, 1]) for s in (speeds, speeds[:, ::-1]))
    if other - own > allowed.swapped_correlation:
        message = (
            f"the hands' pictures change with the other hand's speed, by a correlation of {other:.2f}, rather than "
            f"with their own, {own:.2f}"
        )
        yield finding("video.hands-swapped", message, "videos/hand_left_color.mp4, videos/hand_right_color.mp4")


def _looked_at(info: VideoInfo) -> str:
    return f"{info.frames} frames" if info.whole else f"{len(info.at)} frames that were decoded"


def _at(info: VideoInfo, looked_at: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(N,) from (M,)."""
    out = np.zeros(info.frames, bool)
    out[info.at[looked_at]] = True
    return out
