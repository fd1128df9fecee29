"""Camera parameters: intrinsics, and the camera's pose in the robot's base frame for every frame.

`{view}_intrinsic_params.json` holds fx, fy, ppx, ppy (pixels) and k1, k2, p1, p2, k3;
`{view}_extrinsic_params_aligned.json` holds a list with one `rotation_matrix` and `translation_vector` (m) per frame:
camera to base (reference, B3).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from components.agibot.blob import Blob, TooLarge
from components.agibot.checks.evidence import Calibration, Evidence
from components.agibot.checks.flanges import ORIENTATION, POSITION, SIDES
from components.agibot.checks.places import after, count, frames
from components.agibot.proprio import Array
from data_contracts.catalogue import Thresholds, finding, thresholds
from data_contracts.embodiment import Camera
from data_contracts.reasons import Finding

DISTORTION = ("k1", "k2", "p1", "p2", "k3")


class _Malformed(Exception):
    """The JSON does not hold what it should."""


def view_of(camera: str) -> str:
    """The name that a camera's parameter files carry."""
    return camera.removesuffix("_color")


def read_calibration(
    camera: Camera, intrinsic: Blob | None, aligned: Blob | None, count: int, allowed: Thresholds
) -> tuple[Calibration | None, list[Finding]]:
    """The calibration of one camera over `count` frames (0: not known), and what is wrong with it."""
    view, findings = view_of(camera.name), []
    for name, blob in (("intrinsic_params", intrinsic), ("extrinsic_params_aligned", aligned)):
        if blob is None:
            message = f"{camera.name} has no {view}_{name}.json"
            findings.append(finding("calibration.missing", message, f"{view}_{name}.json"))
    if intrinsic is None or aligned is None:
        return None, findings
    blob = intrinsic
    try:
        values, distortion = _intrinsic(_load(intrinsic))
        blob = aligned
        rotations, translations = _poses(_load(aligned))
    except (_Malformed, TooLarge, OSError) as error:
        return None, [finding("calibration.unreadable", f"{blob.name}: {error}", blob.name)]
    findings += _check_intrinsic(camera, values, intrinsic.name, allowed)
    if count and len(rotations) != count:
        message = f"{camera.name} has {len(rotations)} aligned extrinsics, the episode {count} frames"
        findings.append(finding("calibration.length-mismatch", message, aligned.name))
    findings += check_rotations(camera.name, rotations, aligned.name, allowed)
    matrix = np.concatenate([rotations, translations[:, :, None]], axis=2).reshape(len(rotations), 12)
    return Calibration(values.astype(np.float32), distortion.astype(np.float32), matrix.astype(np.float32)), findings


def check_rotations(camera: str, rotations: Array, where: str, allowed: Thresholds) -> list[Finding]:
    """(N, 3, 3): orthonormal and right-handed."""
    gram = np.einsum("nij,nik->njk", rotations, rotations)
    error = np.abs(gram - np.eye(3)).max(axis=(1, 2))
    error = np.maximum(error, np.abs(np.linalg.det(rotations) - 1))
    bad = ~(error <= allowed.rotation)
    if not bad.any():
        return []
    message = f"{camera}: {int(bad.sum())} matrices are off a rotation by up to {error.max():.3g}"
    return [finding("calibration.rotation-invalid", message, f"{where}, {frames(bad)}")]


def _check_intrinsic(camera: Camera, values: Array, where: str, allowed: Thresholds) -> list[Finding]:
    fx, fy, cx, cy = values
    low, high = (share * camera.width for share in allowed.focal_range)
    if low <= min(fx, fy) and max(fx, fy) <= high and 0 <= cx <= camera.width and 0 <= cy <= camera.height:
        return []
    message = f"{camera.name}: fx {fx:.1f}, fy {fy:.1f}, centre ({cx:.1f}, {cy:.1f}) for {camera.width}x{camera.height}"
    return [finding("calibration.intrinsics-range", message, where)]


def _load(blob: Blob) -> Any:
    try:
        return json.loads(blob.read(thresholds().max_json_bytes))
    except (ValueError, RecursionError) as error:
        raise _Malformed(f"no JSON: {' '.join(str(error).split())[:200]}") from None


def _intrinsic(document: Any) -> tuple[Array, Array]:
    inner = document.get("intrinsic") if isinstance(document, dict) else None
    if not isinstance(inner, dict):
        raise _Malformed("no object 'intrinsic'")
    values = _numbers([inner.get(name) for name in ("fx", "fy", "ppx", "ppy")], (4,), "fx, fy, ppx, ppy")
    return values, _numbers([inner.get(name, 0.0) for name in DISTORTION], (5,), ", ".join(DISTORTION))


def _poses(document: Any) -> tuple[Array, Array]:
    """Rotations (N, 3, 3) and translations (N, 3)."""
    if not isinstance(document, list) or not document:
        raise _Malformed("no list of extrinsics")
    try:
        inner = [entry["extrinsic"] for entry in document]
        rotations, translations = [e["rotation_matrix"] for e in inner], [e["translation_vector"] for e in inner]
    except (TypeError, KeyError, IndexError):
        raise _Malformed("an entry lacks extrinsic.rotation_matrix or extrinsic.translation_vector") from None
    n = len(document)
    return _numbers(rotations, (n, 3, 3), "rotation_matrix"), _numbers(translations, (n, 3), "translation_vector")


def _numbers(values: list[Any], shape: tuple[int, ...], what: str) -> Array:
    try:
        array = np.asarray(values)
        if array.dtype.kind not in "iuf":
            raise ValueError
        array = array.astype(np.float64).reshape(shape)
    except (ValueError, TypeError, OverflowError):
        raise _Malformed(f"{what} are not {' x '.join(map(str, shape))} numbers") from None
    if not np.isfinite(array).all() or np.abs(array).max() > 1e9:
        raise _Malformed(f"{what} are not finite")
    return array


# Where the cameras are, against what the arms do


def check_poses(evidence: Evidence) -> Iterator[Finding]:
    """Cameras of the head must not jump; with one pose per frame, those of the hands must follow the hands."""
    known = {c.name: c for c in evidence.robot.cameras}
    positions = evidence.arrays.get(POSITION)
    for name, found in evidence.calibrations.items():
        where = f"{view_of(name)}_extrinsic_params_aligned.json"
        if name.startswith("head"):
            yield from check_jumps(name, found, where, evidence.allowed)
        if positions is None or len(found.camera_to_base) != len(positions):
            continue
        for arm, side in enumerate(SIDES):
            if name.startswith(f"hand_{side}"):
                yield from check_follows(name, found.positions, positions[:, arm], where, evidence.allowed)
        if name == "head_color" and ORIENTATION in evidence.arrays:
            yield from check_in_view(known[name], found, evidence, where)


def check_jumps(camera: str, found: Calibration, where: str, allowed: Thresholds) -> Iterator[Finding]:
    """Steps and turns of a camera between frames."""
    steps = np.linalg.norm(np.diff(found.positions, axis=0), axis=1)
    cosines = (np.einsum("nij,nij->n", found.rotations[1:], found.rotations[:-1]) - 1) / 2
    turns = np.arccos(np.clip(cosines, -1, 1))
    bad = (steps > allowed.camera_step_m) | (turns > allowed.camera_turn_rad)
    if bad.any():
        message = (
            f"{camera} steps up to {100 * steps.max():.1f} cm and turns up to {np.degrees(turns.max()):.1f} degrees "
            f"between frames; {count(bad, 'such jump')}"
        )
        yield finding("calibration.pose-jump", message, f"{where}, {frames(after(bad))}")


def check_follows(camera: str, positions: Array, flange: Array, where: str, allowed: Thresholds) -> Iterator[Finding]:
    """A hand's camera that stands still while its hand moves; both (N, 3) m."""
    moved, travelled = np.ptp(positions, axis=0).max(), float(np.ptp(flange, axis=0).max())
    if moved < allowed.camera_still_m and travelled > allowed.camera_travel_m:
        message = f"{camera} stays within {1000 * moved:.2f} mm while its flange moves over {100 * travelled:.1f} cm"
        yield finding("calibration.hand-still", message, where)


def check_in_view(camera: Camera, found: Calibration, evidence: Evidence, where: str) -> Iterator[Finding]:
    """The tool points of arms that move, projected by the pinhole model into the head's image.

    p_camera = R^T (p - t), with the camera's pose (R, t) in the base frame and x right, y down, z forward. Lenses bend
    too little at the image's edge to matter for a share of frames.
    """
    positions, orientations = evidence.arrays[POSITION], evidence.arrays[ORIENTATION]
    x, y, z, w = np.moveaxis(orientations, -1, 0)
    along = np.stack([2 * (x * z + w * y), 2 * (y * z - w * x), w * w + z * z - x * x - y * y], axis=-1)
    tools = positions + evidence.robot.tool_offset * along
    fx, fy, cx, cy = found.intrinsic.astype(np.float64)
    seen = np.einsum("nji,naj->nai", found.rotations, tools - found.positions[:, None])
    depth = np.maximum(seen[..., 2], 1e-6)
    u, v = fx * seen[..., 0] / depth + cx, fy * seen[..., 1] / depth + cy
    inside = (seen[..., 2] > 0) & (u >= 0) & (u < camera.width) & (v >= 0) & (v < camera.height)
    for arm, side in enumerate(SIDES):
        outside = ~inside[:, arm]
        moves = np.ptp(positions[:, arm], axis=0).max() > evidence.allowed.camera_travel_m
        if moves and outside.mean() > evidence.allowed.out_of_view:
            message = (
                f"the {side} tool lies outside {camera.name} at {outside.mean():.0%} of the frames, though its arm "
                f"works; up to {evidence.allowed.out_of_view:.0%} is usual"
            )
            yield finding("calibration.end-out-of-view", message, f"{where}, {side}, {frames(outside)}")
