"""What the intake is compared with: the catalogue of checks ported straightforwardly, one function and one pass each.

Every check opens the file that it is about, as a reader of the list would write it down. The checks are those of
`components.agibot.checks` that an episode passes or fails on its own; thresholds are about the same. Each is vectorised
over frames where that is natural: it is the repeated opening, decoding and converting that costs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import h5py
import numpy as np

from components.robots.raw_layout import EpisodeFiles

FPS = 30


def frames_of(path: Path) -> Iterator[av.VideoFrame]:
    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        yield from container.decode(video=0)


def grey_of(path: Path) -> Iterator[np.ndarray]:
    return (frame.to_ndarray(format="gray") for frame in frames_of(path))


def read(path: Path, key: str) -> np.ndarray:
    with h5py.File(path) as file:
        return file[key][()]


# Videos: each of these is called for every camera


def frame_count(path: Path, files: EpisodeFiles) -> bool:
    return sum(1 for _ in frames_of(path)) == len(read(files.proprio, "timestamp"))


def resolution(path: Path, files: EpisodeFiles) -> bool:
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        return (context.width, context.height) == (640, 480)


def regular_times(path: Path, files: EpisodeFiles) -> bool:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        times = sorted(p.pts for p in container.demux(stream) if p.pts is not None)
        return bool(np.allclose(np.diff(times) * float(stream.time_base or 1) * FPS, 1, atol=0.1))


def decodable_at_random(path: Path, files: EpisodeFiles) -> bool:
    count = len(read(files.proprio, "timestamp"))
    wanted = {0, count // 3, count // 2, count - 1}
    return sum(frame.to_ndarray(format="rgb24").any() for n, frame in enumerate(frames_of(path)) if n in wanted) == 4


def not_black(path: Path, files: EpisodeFiles) -> bool:
    return float(np.mean([image.mean() < 8 for image in grey_of(path)])) <= 0.01


def not_frozen(path: Path, files: EpisodeFiles) -> bool:
    last, still, longest = None, 0, 0
    for image in grey_of(path):
        same = last is not None and np.abs(image.astype(np.int16) - last).mean() < 0.1
        last, still = image, still + 1 if same else 0
        longest = max(longest, still)
    moves = np.abs(np.diff(read(files.proprio, "state/joint/position"), axis=0)).max() > 1e-3
    return not (moves and longest >= 15)


def not_blurred(path: Path, files: EpisodeFiles) -> bool:
    detail = np.array([(np.diff(image.astype(np.float32), axis=1) ** 2).mean() for image in grey_of(path)])
    return bool((detail > 0.2 * np.median(detail)).all())


def hands_not_swapped(path: Path, files: EpisodeFiles) -> bool:
    """How much a hand's pictures change, against its own flange's speed and the other's."""
    if not path.stem.startswith("hand"):
        return True
    last, changes = None, []
    for image in grey_of(path):
        changes += [] if last is None else [np.abs(image.astype(np.int16) - last).mean()]
        last = image
    speeds = np.linalg.norm(np.diff(read(files.proprio, "state/end/position"), axis=0), axis=-1).T
    with np.errstate(invalid="ignore", divide="ignore"):  # an arm that rests
        return bool(np.isfinite([np.corrcoef(changes, speed)[0, 1] for speed in speeds]).any())


# States: each opens the file anew


def finite(files: EpisodeFiles) -> bool:
    found = []
    with h5py.File(files.proprio) as file:
        file.visititems(lambda _, node: found.append(node[()]) if isinstance(node, h5py.Dataset) else None)
    return all(bool(np.isfinite(values).all()) for values in found)


def lengths(files: EpisodeFiles) -> bool:
    count = len(read(files.proprio, "timestamp"))
    return all(len(read(files.proprio, f"{g}/joint/position")) == count for g in ("state", "action"))


def clock(files: EpisodeFiles) -> bool:
    return bool((np.diff(read(files.proprio, "timestamp")) > 0).all())


def period(files: EpisodeFiles) -> bool:
    return abs(float(np.median(np.diff(read(files.proprio, "timestamp")))) * FPS / 1e9 - 1) < 0.02


def limits(files: EpisodeFiles) -> bool:
    return float(np.abs(read(files.proprio, "state/joint/position")).max()) < 3.2


def velocity(files: EpisodeFiles) -> bool:
    return float(np.abs(np.diff(read(files.proprio, "state/joint/position"), axis=0)).max()) * FPS < 6.3


def jerk(files: EpisodeFiles) -> bool:
    return bool(np.isfinite(np.diff(read(files.proprio, "state/joint/position"), n=3, axis=0)).all())


def quaternions(files: EpisodeFiles) -> bool:
    return bool((np.abs(np.linalg.norm(read(files.proprio, "state/end/orientation"), axis=-1) - 1) < 0.01).all())


def end_steps(files: EpisodeFiles) -> bool:
    steps = np.linalg.norm(np.diff(read(files.proprio, "state/end/position"), axis=0), axis=-1)
    return float(steps.max()) < 0.05


def gripper(files: EpisodeFiles) -> bool:
    return float(read(files.proprio, "state/effector/position").max()) < 200


def rotations(path: Path, files: EpisodeFiles) -> bool:
    r = np.array([entry["extrinsic"]["rotation_matrix"] for entry in json.loads(path.read_text())])
    return bool(np.abs(np.einsum("nij,nik->njk", r, r) - np.eye(3)).max() < 1e-3)


def pose_count(path: Path, files: EpisodeFiles) -> bool:
    return len(json.loads(path.read_text())) == len(read(files.proprio, "timestamp"))


def pose_steps(path: Path, files: EpisodeFiles) -> bool:
    t = np.array([entry["extrinsic"]["translation_vector"] for entry in json.loads(path.read_text())])
    return "head" not in path.name or float(np.linalg.norm(np.diff(t, axis=0), axis=1).max()) < 0.05


VIDEO: tuple[Callable[[Path, EpisodeFiles], bool], ...] = (
    frame_count, resolution, regular_times, decodable_at_random, not_black, not_frozen, not_blurred, hands_not_swapped,
)  # fmt: skip
STATES: tuple[Callable[[EpisodeFiles], bool], ...] = (
    finite, lengths, clock, period, limits, velocity, jerk, quaternions, end_steps, gripper,
)  # fmt: skip
POSES: tuple[Callable[[Path, EpisodeFiles], bool], ...] = (rotations, pose_count, pose_steps)


def validate(files: EpisodeFiles, cameras: tuple[str, ...]) -> dict[str, bool]:
    """Whether an episode passes each check."""
    aligned = [files.camera_folder / f"{c.removesuffix('_color')}_extrinsic_params_aligned.json" for c in cameras]
    passed = {check.__name__: check(files) for check in STATES}
    passed |= {check.__name__: all(check(files.video(c), files) for c in cameras) for check in VIDEO}
    return passed | {check.__name__: all(check(path, files) for path in aligned) for check in POSES}
