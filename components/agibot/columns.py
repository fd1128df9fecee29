"""From checked arrays to the columns of a dataset: the two action spaces, grippers 0 open .. 1 closed everywhere.

- `observation.state`, `action`: `joint` layout: per arm its joints (rad), then the gripper; left arm first.
- `observation.state.eef14`, `action.eef14`: per arm flange xyz (m, base frame), extrinsic-xyz Euler angles (rad, each
  in (-pi, pi]), then the gripper.

The state's gripper is the actuator's position scaled by the embodiment's open and closed; the action's is the command.
Both are clipped to 0..1: what lies outside is within the tolerance of the checks.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.agibot.checks.arrays import closed_share
from components.agibot.proprio import Array
from data_contracts.action import Space
from data_contracts.embodiment import Embodiment

STATE: dict[Space, str] = {"joint": "observation.state", "eef14": "observation.state.eef14"}
ACTION: dict[Space, str] = {"joint": "action", "eef14": "action.eef14"}


def columns(arrays: dict[str, NDArray[Any]], embodiment: Embodiment) -> dict[str, NDArray[np.float32]]:
    """The four columns by name, float32 (N, D), from arrays with N rows each."""
    out = {}
    for group, names in (("state", STATE), ("action", ACTION)):
        gripper = arrays[f"{group}/effector/position"]
        closed = np.clip(closed_share(gripper, embodiment) if group == "state" else gripper, 0.0, 1.0)
        joints, ends = arrays[f"{group}/joint/position"], arrays[f"{group}/end/position"]
        out[names["joint"]] = _per_arm(joints.reshape(len(joints), 2, -1), closed)
        poses = np.concatenate([ends, euler(arrays[f"{group}/end/orientation"])], axis=2)
        out[names["eef14"]] = _per_arm(poses, closed)
    return out


def euler(quaternions: Array) -> Array:
    """Quaternions (N, 2, 4) xyzw to extrinsic-xyz Euler angles (N, 2, 3)."""
    from scipy.spatial.transform import Rotation

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # at gimbal lock one of many equal answers is as good as another
        return Rotation.from_quat(quaternions.reshape(-1, 4)).as_euler("xyz").reshape(-1, 2, 3)


def _per_arm(values: Array, closed: Array) -> NDArray[np.float32]:
    """(N, 2, K) and (N, 2) to (N, 2 (K + 1)): each arm's values, then its gripper."""
    joined = np.concatenate([values, closed[:, :, None]], axis=2)
    return joined.reshape(len(joined), -1).astype(np.float32)
