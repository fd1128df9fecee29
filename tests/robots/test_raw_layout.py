"""The writer of the AgiBot-World raw layout, read back with h5py, PyAV, Pillow and json alone."""

from __future__ import annotations

import json
import tarfile
import time
from dataclasses import replace
from pathlib import Path

import av
import h5py
import numpy as np
import pytest
from PIL import Image

from components.robots.raw_layout import (
    Actions,
    ActionSpan,
    CameraTrack,
    EpisodeData,
    EpisodeLabels,
    States,
    pack_tars,
    write_episode,
    write_task_info,
)

from .conftest import RawEpisode, decode, tree_hashes

FRAMES, WIDTH, HEIGHT = 34, 64, 48
KEYS: list[str] = """
timestamp
state/effector/force state/effector/position
state/end/angular state/end/orientation state/end/position state/end/velocity state/end/wrench
state/head/effort state/head/position state/head/velocity
state/joint/current_value state/joint/effort state/joint/position state/joint/velocity
state/robot/orientation state/robot/orientation_drift state/robot/position state/robot/position_drift
state/waist/effort state/waist/position state/waist/velocity
action/effector/force action/effector/index action/effector/position
action/end/angular action/end/index action/end/orientation action/end/position action/end/velocity action/end/wrench
action/head/effort action/head/index action/head/position action/head/velocity
action/joint/effort action/joint/index action/joint/position action/joint/velocity
action/robot/index action/robot/orientation action/robot/orientation_drift action/robot/position
action/robot/position_drift action/robot/velocity
action/waist/effort action/waist/index action/waist/position action/waist/velocity
""".split()  # noqa: SIM905


def images(camera: int) -> np.ndarray:
    """A bright square that moves by two pixels a frame over a flat ground, (FRAMES, HEIGHT, WIDTH, 3)."""
    frames = np.full((FRAMES, HEIGHT, WIDTH, 3), (40, 60 + 40 * camera, 80), np.uint8)
    for t in range(FRAMES):
        x = (2 * t) % (WIDTH - 16)
        frames[t, 16:32, x : x + 16] = (200, 180, 60)
    return frames


def an_episode(task_id: int = 9001, episode_id: int = 1000, **changes: object) -> EpisodeData:
    rng = np.random.default_rng(episode_id)
    quaternions = np.tile([0.0, 0.0, 0.6, 0.8], (FRAMES, 2, 1))
    states = States(
        effector_position=rng.uniform(0, 120, (FRAMES, 2)), end_position=rng.random((FRAMES, 2, 3)),
        end_orientation=quaternions, joint_position=rng.random((FRAMES, 14)),
        head_position=rng.random((FRAMES, 2)), waist_position=rng.random((FRAMES, 2)),
    )  # fmt: skip
    actions = Actions(
        effector_position=rng.random((FRAMES, 2)), end_position=rng.random((FRAMES, 2, 3)),
        end_orientation=quaternions, joint_position=rng.random((FRAMES, 14)), robot_velocity=np.zeros((FRAMES, 2)),
        joint_index=np.arange(3, FRAMES), effector_index=np.arange(FRAMES),
    )  # fmt: skip
    poses = np.tile(np.eye(4), (FRAMES, 1, 1))
    poses[:, 0, 3] = np.arange(FRAMES) / 7
    cameras = tuple(
        CameraTrack(name, WIDTH, HEIGHT, np.array([[50.0, 0, 31.5], [0, 51.0, 23.5], [0, 0, 1]]), poses, images(i))
        for i, name in enumerate(("head_color", "hand_left_color"))
    )
    episode = EpisodeData(
        labels=EpisodeLabels(task_id, episode_id, "Press the button", "One button on a table",
                             (ActionSpan(0, 20, "Reach", "Reach"), ActionSpan(20, FRAMES, "Press", "Press"))),
        timestamps=np.arange(FRAMES, dtype=np.int64) * 33_333_333, states=states, actions=actions, cameras=cameras,
        depth=[np.full((HEIGHT, WIDTH), 500 + t, np.uint16) for t in range(FRAMES)],
    )  # fmt: skip
    return replace(episode, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tasks with two episodes and one, as folders."""
    root = tmp_path_factory.mktemp("layout")
    episodes = [an_episode(9001, 1001), an_episode(9001, 1000), an_episode(9002, 1002)]
    for episode in episodes:
        write_episode(root, episode)
    write_task_info(root, [e.labels for e in episodes])
    return root


def test_hdf5_has_every_documented_key_and_the_right_kinds(written: Path) -> None:
    """A reader of AgiBot-World's files finds every key, also those that hold nothing there."""
    arrays = RawEpisode(written, 9001, 1000).proprio()
    assert sorted(arrays) == sorted(KEYS)
    episode = an_episode(9001, 1000)
    assert arrays["timestamp"].dtype == np.int64
    assert np.array_equal(arrays["timestamp"], episode.timestamps)
    assert np.array_equal(arrays["state/end/position"], episode.states.end_position)
    assert np.array_equal(arrays["action/joint/position"], episode.actions.joint_position)
    assert arrays["action/joint/index"].dtype == np.int64
    assert list(arrays["action/joint/index"]) == list(range(3, FRAMES))
    shapes = {"state/effector/position": (FRAMES, 2), "state/end/orientation": (FRAMES, 2, 4),
              "state/head/position": (FRAMES, 2), "action/robot/velocity": (FRAMES, 2)}  # fmt: skip
    assert {key: arrays[key].shape for key in shapes} == shapes
    empty = {"state/joint/effort", "state/robot/position", "action/end/wrench", "action/head/index",
             "action/robot/position", "state/joint/current_value"}  # fmt: skip
    assert {arrays[key].shape for key in empty} == {(0,)}
    assert {a.dtype for k, a in arrays.items() if not k.endswith(("index", "timestamp"))} == {np.dtype(np.float64)}


def test_videos_decode_to_what_was_written_at_30_hz(written: Path) -> None:
    """Frames would be lost, shifted or off-rate for every trainer downstream."""
    path = RawEpisode(written, 9001, 1000).video("hand_left_color")
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height, stream.average_rate) == (WIDTH, HEIGHT, 30)
        ticks = [frame.pts * stream.time_base * 30 for frame in frames]
    assert ticks == list(range(FRAMES))
    keys = [i for i, frame in enumerate(frames) if frame.key_frame]
    assert max(np.diff([*keys, FRAMES])) <= 15
    difference = np.abs(decode(path).astype(int) - images(1)).mean(axis=(1, 2, 3))
    assert difference.max() < 4
    assert path.read_bytes()[4:8] == b"ftyp"
    assert path.read_bytes().index(b"moov") < path.read_bytes().index(b"mdat")


def test_depth_is_16_bit_millimetres_without_gaps(written: Path) -> None:
    """Eight-bit or rescaled depth would pass unnoticed until someone grasps with it."""
    folder = written / "observations/9001/1000/depth"
    assert sorted(p.name for p in folder.iterdir()) == [f"head_depth_{t:06d}.png" for t in range(FRAMES)]
    with Image.open(folder / "head_depth_000007.png") as image:
        assert image.mode == "I;16"
        assert np.array_equal(np.array(image), np.full((HEIGHT, WIDTH), 507))


def test_camera_parameters_have_documented_names_and_one_pose_per_frame(written: Path) -> None:
    """Readers look for these exact names, and index the aligned list by frame."""
    episode = RawEpisode(written, 9001, 1000)
    assert np.allclose(episode.intrinsic("head"), [[50, 0, 31.5], [0, 51, 23.5], [0, 0, 1]])
    rotations, translations = episode.camera_to_base("hand_left")
    assert rotations.shape == (FRAMES, 3, 3)
    assert np.allclose(translations[:, 0], np.arange(FRAMES) / 7)
    default = episode.parameters("hand_left_extrinsic_params")["extrinsic"]
    assert default["translation_vector"] == [0.0, 0.0, 0.0]


def test_task_info_lists_episodes_by_id_with_half_open_spans(written: Path) -> None:
    entries = json.loads((written / "task_info/task_9001.json").read_text())
    assert [e["episode_id"] for e in entries] == [1000, 1001]
    assert entries[0]["task_name"] == "Press the button"
    assert entries[0]["init_scene_text"] == "One button on a table"
    assert entries[0]["label_info"]["action_config"] == [
        {"start_frame": 0, "end_frame": 20, "action_text": "Reach", "skill": "Reach"},
        {"start_frame": 20, "end_frame": FRAMES, "action_text": "Press", "skill": "Press"},
    ]


def test_tars_hold_the_folders_under_the_documented_names(written: Path, tmp_path: Path) -> None:
    """The tars of AgiBot-World differ by tree in whether members start with the task; readers rely on it."""
    pack_tars(written, tmp_path, episodes_per_tar=2)
    tars = {p.relative_to(tmp_path).as_posix(): p for p in tmp_path.rglob("*.tar")}
    assert set(tars) == {
        "observations/9001/1000-1001.tar", "observations/9002/1002-1002.tar",
        "parameters/1000-1001.tar", "parameters/1002-1002.tar",
        "proprio_stats/1000-1001.tar", "proprio_stats/1002-1002.tar",
    }  # fmt: skip
    unpacked = {}
    for name, path in tars.items():
        prefix = name.rpartition("/")[0]
        with tarfile.open(path) as tar:
            for member in tar.getmembers():
                assert (member.mtime, member.uid, member.uname) == (0, 0, "")
                stream = tar.extractfile(member)
                assert stream is not None
                unpacked[f"{prefix}/{member.name}"] = stream.read()
    folders = {n: (written / n).read_bytes() for n in tree_hashes(written) if not n.startswith("task_info")}
    assert unpacked == folders
    assert "parameters/9002/1002/parameters/camera/head_intrinsic_params.json" in unpacked
    assert (tmp_path / "task_info/task_9002.json").is_file()


def test_equal_data_gives_equal_bytes_at_any_time(tmp_path: Path) -> None:
    """Versions are named by hashes: a time stamp inside a file would make every recording a new one."""
    for name in ("a", "b"):
        write_episode(tmp_path / name, an_episode())
        write_task_info(tmp_path / name, [an_episode().labels])
        pack_tars(tmp_path / name, tmp_path / f"{name}-tars")
        time.sleep(1.1)  # HDF5, tar and mp4 keep whole seconds
    assert tree_hashes(tmp_path / "a") == tree_hashes(tmp_path / "b")
    assert tree_hashes(tmp_path / "a-tars") == tree_hashes(tmp_path / "b-tars")


def _bad_states(**changes: np.ndarray) -> EpisodeData:
    return an_episode(states=replace(an_episode().states, **changes))


@pytest.mark.parametrize(
    ("episode", "message"),
    [
        (lambda: _bad_states(joint_position=np.zeros((FRAMES - 1, 14))), "state/joint/position has 33 rows"),
        (lambda: _bad_states(joint_position=np.full((FRAMES, 14), np.nan)), "not finite"),
        (lambda: _bad_states(end_orientation=np.zeros((FRAMES, 2, 3))), r"state/end/orientation must be \(N, 2, 4\)"),
        (lambda: an_episode(actions=replace(an_episode().actions, joint_index=np.array([2, 1]))), "rise strictly"),
        (lambda: an_episode(actions=replace(an_episode().actions, joint_index=np.array([FRAMES]))), "rise strictly"),
        (lambda: an_episode(labels=replace(an_episode().labels, spans=(ActionSpan(0, 99, "", ""),))), "does not fit"),
        (lambda: an_episode(cameras=(replace(an_episode().cameras[0], frames=images(0)[:9]),)), "gave 9 frames"),
        (lambda: an_episode(cameras=(replace(an_episode().cameras[0], frames=None),)), "was not written before"),
        (lambda: an_episode(cameras=(replace(an_episode().cameras[0], extrinsics=np.eye(4)[None]),)), "extrinsics"),
    ],
)
def test_contradicting_data_is_refused(episode: object, message: str, tmp_path: Path) -> None:
    """The writer must not make the very defects that the intake exists to find."""
    with pytest.raises(ValueError, match=message):
        write_episode(tmp_path, episode())  # type: ignore[operator]


def test_a_part_that_the_robot_lacks_stays_empty(tmp_path: Path) -> None:
    """A robot without a head has no head angles: zeros would be a measurement that nobody made."""
    states = replace(an_episode().states, head_position=np.zeros(0), waist_position=np.zeros(0))
    files = write_episode(tmp_path, an_episode(states=states))
    with h5py.File(files.proprio) as file:
        assert file["state/head/position"].shape == (0,)
