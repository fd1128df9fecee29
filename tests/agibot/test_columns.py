"""The columns that policies are trained on: left before right, radians, metres, grippers 0 open .. 1 closed."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from components.agibot.columns import ACTION, STATE, columns
from data_contracts.action import action_names
from data_contracts.embodiment import load_embodiment

ROBOT = load_embodiment("agibot_g1")
N = 7


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    out = {}
    for group in ("state", "action"):
        quaternions = Rotation.random(2 * N, random_state=rng).as_quat().reshape(N, 2, 4)
        out |= {
            f"{group}/joint/position": rng.normal(size=(N, 14)),
            f"{group}/end/position": rng.normal(size=(N, 2, 3)),
            f"{group}/end/orientation": quaternions,
        }
    out["state/effector/position"] = rng.uniform(0, 120, (N, 2))
    out["action/effector/position"] = rng.uniform(0, 1, (N, 2))
    return out


def column(found: dict[str, np.ndarray], name: str, space: str, dimension: str) -> np.ndarray:
    names = action_names(space, ROBOT.joints_per_arm)  # type: ignore[arg-type]
    assert found[name].shape == (N, len(names))
    assert found[name].dtype == np.float32
    return found[name][:, names.index(dimension)]


@pytest.mark.parametrize("group", ["state", "action"])
def test_every_dimension_is_where_its_name_says(arrays: dict[str, np.ndarray], group: str) -> None:
    """Swapped arms or a shifted gripper would train without any error."""
    found, names = columns(arrays, ROBOT), STATE if group == "state" else ACTION
    for arm, side in enumerate(("left", "right")):
        for joint in range(7):
            got = column(found, names["joint"], "joint", f"{side}_joint{joint + 1}")
            np.testing.assert_allclose(got, arrays[f"{group}/joint/position"][:, 7 * arm + joint], rtol=1e-6)
        for axis, name in enumerate("xyz"):
            got = column(found, names["eef14"], "eef14", f"{side}_{name}")
            np.testing.assert_allclose(got, arrays[f"{group}/end/position"][:, arm, axis], rtol=1e-6)
        scale = 120.0 if group == "state" else 1.0
        for space in ("joint", "eef14"):
            got = column(found, names[space], space, f"{side}_gripper")  # type: ignore[index]
            np.testing.assert_allclose(got, arrays[f"{group}/effector/position"][:, arm] / scale, rtol=1e-5)


def test_euler_angles_turn_about_fixed_axes(arrays: dict[str, np.ndarray]) -> None:
    """Extrinsic xyz: roll about x first, then pitch about y, then yaw about z, all of the base."""
    found = columns(arrays, ROBOT)[STATE["eef14"]]
    for arm in range(2):
        roll, pitch, yaw = found[:, 7 * arm + 3 : 7 * arm + 6].T
        turn = Rotation.from_rotvec(np.outer(yaw, [0, 0, 1])) * Rotation.from_rotvec(np.outer(pitch, [0, 1, 0]))
        turn = turn * Rotation.from_rotvec(np.outer(roll, [1, 0, 0]))
        wanted = Rotation.from_quat(arrays["state/end/orientation"][:, arm])
        assert (turn.inv() * wanted).magnitude().max() < 1e-5


def test_grippers_a_little_beyond_their_range_are_clipped(arrays: dict[str, np.ndarray]) -> None:
    arrays["state/effector/position"][:] = [125, -2]
    found = columns(arrays, ROBOT)[STATE["joint"]]
    assert (found[:, [7, 15]] == [1, 0]).all()


def test_gimbal_lock_gives_an_angle_and_no_noise(
    arrays: dict[str, np.ndarray], recwarn: pytest.WarningsRecorder
) -> None:
    arrays["state/end/orientation"][:] = Rotation.from_euler("y", 90, degrees=True).as_quat()
    assert np.isfinite(columns(arrays, ROBOT)[STATE["eef14"]]).all()
    assert not recwarn.list
