"""Camera parameters: intrinsics, and the camera's pose in the robot's base frame for every frame.

`{view}_intrinsic_params.json` holds fx, fy, ppx, ppy (pixels) and k1, k2, p1, p2, k3;
`{view}_extrinsic_params_aligned.json` holds a list with one `rotation_matrix` and `translation_vector` (m) per frame:
camera to base (reference, B3).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.agibot.blob import Blob, TooLarge
from components.agibot.checks.places import frames
from components.agibot.proprio import Array
from data_contracts.catalogue import finding, thresholds
from data_contracts.embodiment import Camera
from data_contracts.reasons import Finding

DISTORTION = ("k1", "k2", "p1", "p2", "k3")


@dataclass(frozen=True)
class Calibration:
    """One camera over an episode."""

    intrinsic: NDArray[np.float32]
    """(4,) fx, fy, cx, cy in pixels"""
    distortion: NDArray[np.float32]
    """(5,) k1, k2, p1, p2, k3; zero where none is given"""
    camera_to_base: NDArray[np.float32]
    """(N, 12) rows of the 3x4 matrix [R | t], metres, OpenCV axes"""


class _Malformed(Exception):
    """The JSON does not hold what it should."""


def view_of(camera: str) -> str:
    """The name that a camera's parameter files carry."""
    return camera.removesuffix("_color")


def check_calibration(
    camera: Camera, intrinsic: Blob | None, aligned: Blob | None, count: int
) -> tuple[Calibration | None, list[Finding]]:
    """The calibration of one camera over `count` frames, and what is wrong with it."""
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
    findings += _check_intrinsic(camera, values, intrinsic.name)
    if len(rotations) != count:
        message = f"{camera.name} has {len(rotations)} aligned extrinsics, the episode {count} frames"
        findings.append(finding("calibration.length-mismatch", message, aligned.name))
    findings += check_rotations(camera.name, rotations, aligned.name)
    matrix = np.concatenate([rotations, translations[:, :, None]], axis=2).reshape(len(rotations), 12)
    return Calibration(values.astype(np.float32), distortion.astype(np.float32), matrix.astype(np.float32)), findings


def check_rotations(camera: str, rotations: Array, where: str) -> list[Finding]:
    """(N, 3, 3): orthonormal and right-handed."""
    gram = np.einsum("nij,nik->njk", rotations, rotations)
    error = np.abs(gram - np.eye(3)).max(axis=(1, 2))
    error = np.maximum(error, np.abs(np.linalg.det(rotations) - 1))
    bad = ~(error <= thresholds().rotation)
    if not bad.any():
        return []
    message = f"{camera}: {int(bad.sum())} matrices are off a rotation by up to {error.max():.3g}"
    return [finding("calibration.rotation-invalid", message, f"{where}, {frames(bad)}")]


def _check_intrinsic(camera: Camera, values: Array, where: str) -> list[Finding]:
    fx, fy, cx, cy = values
    low, high = (share * camera.width for share in thresholds().focal_range)
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
