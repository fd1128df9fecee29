"""The training table of a published dataset: each row must be the frame, state and action of the same moment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from components.agibot.config import AdoptConfig, IntakeConfig
from components.agibot.stages import adopt, intake
from components.ge_base.config import FramesConfig
from components.ge_base.frames import FrameTable
from components.ge_base.frames_build import build_table
from components.robots.raw_layout import (
    Actions,
    ActionSpan,
    CameraTrack,
    EpisodeData,
    EpisodeLabels,
    States,
    write_episode,
    write_task_info,
)
from components.store.errors import ConfigurationError, OrreryError
from components.store.open import open_store

CAMERAS = ("head_color", "hand_left_color")
LENGTHS = (9, 14, 11)
STEP = 0.001
"""rad: the first joint moves by this in every frame of the whole drop"""


def pictures(first: int, frames: int, camera: int) -> Iterator[NDArray[np.uint8]]:
    """Frame n of the drop is as bright as n says; the second camera sees the negative."""
    for n in range(first, first + frames):
        yield np.full((480, 640, 3), 5 * n + 20 if camera == 0 else 235 - 5 * n, np.uint8)


def raw_episode(number: int, first: int, frames: int) -> EpisodeData:
    count = np.arange(first, first + frames)
    joints = np.zeros((frames, 14))
    joints[:, 0] = STEP * count
    turns = np.zeros((frames, 2, 4))
    turns[..., 3] = 1
    state = States(np.zeros((frames, 2)), np.zeros((frames, 2, 3)), turns, joints)
    action = Actions(np.ones((frames, 2)), np.zeros((frames, 2, 3)), turns, joints + STEP / 2)
    poses = np.tile(np.eye(4), (frames, 1, 1))
    k = np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]])
    cameras = tuple(CameraTrack(name, 640, 480, k, poses, pictures(first, frames, c)) for c, name in enumerate(CAMERAS))
    labels = EpisodeLabels(1, number, f"count from {first}", "grey", (ActionSpan(0, frames, "count", "Count"),))
    return EpisodeData(labels, (np.arange(frames) * 1e9 / 30).astype(np.int64), state, action, cameras)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version that the intake made of three synthetic episodes."""
    folder = tmp_path_factory.mktemp("frames")
    episodes = [raw_episode(i, sum(LENGTHS[:i]), n) for i, n in enumerate(LENGTHS)]
    for episode in episodes:
        write_episode(folder / "drop", episode)
    write_task_info(folder / "drop", [e.labels for e in episodes])
    store = open_store(str(folder / "store"))
    raw = adopt(store, AdoptConfig(source=str(folder / "drop")), 0)
    return Path(store.url) / intake(store, IntakeConfig(name="grey", cameras=CAMERAS), 0, raw).prefix


def config(**changes: object) -> FramesConfig:
    usual = {"cameras": CAMERAS, "image_height": 48, "image_width": 64, "holdout_every": 3}
    return FramesConfig.model_validate(usual | changes)


def test_rows_are_of_one_moment(dataset: Path, tmp_path: Path) -> None:
    """A shift by one frame would teach the policy to act on what it has not seen yet."""
    metrics = build_table(config(), dataset, tmp_path)
    assert metrics == {"episodes": 3, "frames": sum(LENGTHS), "held_out": 1}
    table, n = FrameTable.open(tmp_path), np.arange(sum(LENGTHS))
    assert table.frames.shape == (sum(LENGTHS), 2, 48, 64, 3)
    brightness = table.frames.mean(axis=(2, 3, 4))
    assert np.abs(brightness[:, 0] - (5 * n + 20)).max() < 2.5
    assert np.abs(brightness[:, 1] - (235 - 5 * n)).max() < 2.5
    np.testing.assert_allclose(table.columns["state_joint"][:, 0], STEP * n, atol=1e-6)
    np.testing.assert_allclose(table.columns["action_joint"][:, 0], STEP * (n + 0.5), atol=1e-6)
    assert (table.columns["action_eef14"][:, [6, 13]] == 1).all()


def test_episodes_are_where_their_rows_are(dataset: Path, tmp_path: Path) -> None:
    build_table(config(), dataset, tmp_path)
    table = FrameTable.open(tmp_path)
    assert [(e.start, e.stop) for e in table.meta.episodes] == [(0, 9), (9, 23), (23, 34)]
    assert [e.instruction for e in table.meta.episodes] == ["count from 0", "count from 9", "count from 23"]
    assert [e.index for e in table.episodes(held_out=True)] == [2]


def test_one_camera_of_the_dataset(dataset: Path, tmp_path: Path) -> None:
    build_table(config(cameras=CAMERAS[1:]), dataset, tmp_path)
    table = FrameTable.open(tmp_path)
    assert table.frames.shape[1] == 1
    assert table.frames[0].mean() > 200, "the negative"


def test_a_camera_that_the_dataset_lacks(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"hand_right_color.*has \['head_color', 'hand_left_color'\]"):
        build_table(config(cameras=("hand_right_color",)), dataset, tmp_path)


def test_a_folder_that_holds_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(OrreryError, match="holds no dataset version"):
        build_table(config(), tmp_path, tmp_path / "out")
