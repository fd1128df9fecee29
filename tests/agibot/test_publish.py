"""A published dataset must hold what the robot recorded: row k and frame k of every episode, in every file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from components.agibot import lerobot, publish, tables, videos
from components.agibot.columns import ACTION, STATE
from components.agibot.drop import open_drop
from components.agibot.examine import Job, examine
from components.agibot.statistics import BINS, FLOORS, FORMS, GRIPPER_FLOOR, in_form
from components.agibot.validate import make_settings, report
from components.store.files import hash_file
from data_contracts.action import Form, Space, gripper_dims

from .conftest import CAMERAS, INTAKE, SETTINGS, Published, RawDrop, RawEpisode


def expected_state(raw: RawEpisode) -> NDArray[np.float64]:
    """`observation.state` as the layout says, from the raw arrays alone."""
    joints, grippers = raw.array("state/joint/position"), raw.array("state/effector/position") / 120
    return np.concatenate([joints[:, :7], grippers[:, :1], joints[:, 7:], grippers[:, 1:]], axis=1)


def test_row_k_is_raw_frame_k(published: Published) -> None:
    dataset = published.dataset
    for index, raw in enumerate(published.good):
        rows = dataset.columns(index, ["observation.state", "observation.state.eef14", "frame_index", "timestamp"])
        np.testing.assert_allclose(rows["observation.state"], expected_state(raw), atol=1e-6)
        np.testing.assert_allclose(
            rows["observation.state.eef14"][:, 7:10], raw.array("state/end/position")[:, 1], atol=1e-6
        )
        turns = Rotation.from_euler("xyz", rows["observation.state.eef14"][:, 3:6])
        wanted = Rotation.from_quat(raw.array("state/end/orientation")[:, 0])
        assert (turns.inv() * wanted).magnitude().max() < 1e-5
        assert (rows["frame_index"] == np.arange(raw.frames)).all()
        np.testing.assert_allclose(rows["timestamp"], np.arange(raw.frames) / 30, atol=1e-6)


def test_actions_are_the_commands(published: Published) -> None:
    """In the repaired episode only every second command is there; the others are the state."""
    dataset = published.dataset
    for index, raw in enumerate(published.good):
        action = dataset.columns(index, ["action"])["action"]
        commands = raw.array("action/joint/position")
        if index == 1:
            np.testing.assert_allclose(action[::2, :7], commands[:, :7], atol=1e-6)
            state = raw.array("state/joint/position")
            np.testing.assert_allclose(action[1::2, 8:15], state[1::2, 7:], atol=1e-6)
        else:
            np.testing.assert_allclose(action[:, :7], commands[:, :7], atol=1e-6)
        np.testing.assert_allclose(action[:, [7, 15]], raw.array("action/effector/position"), atol=1e-6)


@pytest.mark.parametrize("camera", CAMERAS)
def test_frame_k_is_raw_frame_k(published: Published, camera: str) -> None:
    """Pixel for pixel, first to last, in every episode of the joined file: nothing was encoded again or shifted."""
    for index, raw in enumerate(published.good):
        found = np.stack(list(published.dataset.frames(index, camera)))
        np.testing.assert_array_equal(found, raw.decode(camera))


@pytest.mark.parametrize("camera", CAMERAS)
def test_calibration_of_frame_k(published: Published, camera: str) -> None:
    view = camera.removesuffix("_color")
    for index, raw in enumerate(published.good):
        entries = json.loads(raw.parameters(f"{view}_extrinsic_params_aligned").read_text())
        found = published.dataset.camera_to_base(index, camera)
        assert found.shape == (raw.frames, 4, 4)
        np.testing.assert_allclose(found[:, :3, :3], [e["extrinsic"]["rotation_matrix"] for e in entries], atol=1e-6)
        np.testing.assert_allclose(found[:, :3, 3], [e["extrinsic"]["translation_vector"] for e in entries], atol=1e-6)
        k = json.loads(raw.parameters(f"{view}_intrinsic_params").read_text())["intrinsic"]
        wanted = [[k["fx"], 0, k["ppx"]], [0, k["fy"], k["ppy"]], [0, 0, 1]]
        np.testing.assert_allclose(published.dataset.intrinsics(index, camera), wanted, rtol=1e-6)


def test_labels_and_instruction(published: Published) -> None:
    for row, raw in zip(published.dataset.episodes, published.good, strict=True):
        steps = raw.entry()["label_info"]["action_config"]
        assert row.spans == [(s["start_frame"], s["end_frame"], s["action_text"], s["skill"]) for s in steps]
        assert row.values["tasks"] == [raw.entry()["task_name"]]
        assert row.values["labels/scene"] == raw.entry()["init_scene_text"]


def test_the_manifest_says_what_was_made_from_what(published: Published) -> None:
    manifest = published.dataset.manifest
    assert [(e.task_id, e.episode_id) for e in manifest.episodes] == [raw.key for raw in published.good]
    assert [e.frames for e in manifest.episodes] == [raw.frames for raw in published.good]
    assert [e.repaired for e in manifest.episodes] == [False, True, False]
    assert [len(e.repairs) for e in manifest.episodes] == [0, 1, 0]
    [repair] = manifest.episodes[1].repairs
    frames = published.good[1].frames
    assert (repair.key, repair.rows) == ("action/joint/position", (-(-frames // 2), frames))
    assert repair.before != repair.after
    assert len({e.source_sha256 for e in manifest.episodes}) == 3
    assert manifest.source == {"prefix": published.adopted.prefix, "fingerprint": published.adopted.fingerprint}
    total = manifest.summary
    assert (total.accepted, total.repaired, total.quarantined) == (2, 1, 1)
    assert total.frames == sum(e.frames for e in manifest.episodes)
    document = json.loads((published.folder / "report.json").read_text())
    assert len(document["episodes"]) == 4, "the report is of all episodes, also of those that are not here"
    assert document["source"] == published.adopted.prefix


def test_strips_show_some_episodes(published: Published) -> None:
    from PIL import Image

    strips = sorted((published.folder / "strips").iterdir())
    first, _, last = (f"{task}-{episode}.jpg" for task, episode in (raw.key for raw in published.good))
    assert [s.name for s in strips] == [first, last], "spread over the dataset"
    assert Image.open(strips[0]).size == (8 * 160, 120)


# Statistics


def all_actions(published: Published, space: Space, form: Form) -> NDArray[Any]:
    """Every episode's actions in a form, recomputed from the published columns."""
    parts = []
    for index in range(3):
        columns = published.dataset.columns(index, [STATE[space], ACTION[space]])
        state, action = (columns[c].astype(np.float64) for c in (STATE[space], ACTION[space]))
        parts.append(in_form(state, action, space, form, INTAKE.chunk))
    return np.concatenate(parts)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("space", list(STATE))
def test_action_statistics_equal_a_full_recomputation(published: Published, space: Space, form: Form) -> None:
    found = published.dataset.manifest.statistics_of(space, form)
    rows = all_actions(published, space, form)
    floor = np.full(rows.shape[1], FLOORS[form])
    floor[list(gripper_dims(space, 7 if space == "joint" else 6))] = GRIPPER_FLOOR
    np.testing.assert_allclose(found.normalisation.mean, rows.mean(axis=0), atol=1e-9)
    np.testing.assert_allclose(found.normalisation.std, np.maximum(rows.std(axis=0), floor), atol=1e-9)
    width, n = np.ptp(rows, axis=0) / BINS + 1e-12, len(rows)
    for share, quantile in ((0.01, found.q01), (0.99, found.q99)):
        below = np.quantile(rows, share - 1 / n, axis=0, method="lower")
        above = np.quantile(rows, share + 1 / n, axis=0, method="higher")
        assert (quantile >= below - width).all()
        assert (quantile <= above + width).all()


@pytest.mark.parametrize("space", list(STATE))
def test_state_statistics(published: Published, space: Space) -> None:
    rows = np.concatenate([published.dataset.columns(i, [STATE[space]])[STATE[space]] for i in range(3)])
    found = published.dataset.manifest.state_statistics[space]
    np.testing.assert_allclose(found.mean, rows.astype(np.float64).mean(axis=0), atol=1e-9)


# Files


@pytest.fixture(scope="module")
def examined(published: Published, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """All that `publish` takes, for the three good episodes."""
    work = tmp_path_factory.mktemp("work")
    drop = open_drop(published.raw.root)
    found = [examine(Job(source, SETTINGS, str(work))) for source in drop.episodes.values()]
    document = report("drop", found, make_settings("agibot_g1", CAMERAS, True, True))
    return {
        "work": work, "sources": drop.episodes, "examined": found, "report": document,
        "origin": {"prefix": "raw/x/0", "fingerprint": "0" * 64},
    }  # fmt: skip


def hashes(folder: Path) -> dict[str, str]:
    return {p.relative_to(folder).as_posix(): hash_file(p) for p in sorted(folder.rglob("*")) if p.is_file()}


def test_equal_inputs_give_equal_bytes(published: Published, examined: dict[str, Any], tmp_path: Path) -> None:
    """A version is named by what goes in; what comes out must be the same wherever it is made."""
    publish.publish(tmp_path / "one", INTAKE, **examined)
    publish.publish(tmp_path / "two", INTAKE, **examined)
    assert hashes(tmp_path / "one") == hashes(tmp_path / "two")
    ours = {o.path: o.sha256 for o in published.record.objects}
    other = hashes(tmp_path / "one")
    assert ours.keys() == other.keys() | {"report.html"}
    different = {path for path in other if ours[path] != other[path]}
    names_the_drop = {"manifest.json", "report.json", "records/file-000.jsonl"}
    assert different == names_the_drop, "all else is the episodes'"


def test_small_files_hold_the_same(
    published: Published, examined: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large datasets span many files: each episode must be found in its own, of every camera and table."""
    monkeypatch.setattr(tables.TableFiles.__init__, "__defaults__", (1, 0))
    monkeypatch.setattr(videos.VideoJoiner.__init__, "__defaults__", (1,))
    monkeypatch.setattr(publish, "_BATCH", 1)
    publish.publish(tmp_path, INTAKE, **examined)
    split, whole = publish_reader(tmp_path), published.dataset
    for tree in (
        "data/chunk-000",
        "calibration/chunk-000",
        "meta/episodes/chunk-000",
        f"videos/{lerobot.IMAGES}head_color/chunk-000",
    ):
        assert len(list((tmp_path / tree).iterdir())) == 3, tree
    for index, (one, other) in enumerate(zip(split.episodes, whole.episodes, strict=True)):
        assert one.values["meta/episodes/file_index"] == index
        names = [*STATE.values(), *ACTION.values(), *lerobot.INDICES]
        for name, values in split.columns(index, names).items():
            np.testing.assert_array_equal(values, whole.columns(index, [name])[name])
        np.testing.assert_array_equal(split.camera_to_base(index, CAMERAS[1]), whole.camera_to_base(index, CAMERAS[1]))
        for a, b in zip(split.frames(index, CAMERAS[0]), whole.frames(index, CAMERAS[0]), strict=True):
            np.testing.assert_array_equal(a, b)
        assert one.spans == other.spans
    assert split.manifest.statistics == whole.manifest.statistics


def publish_reader(folder: Path) -> Any:
    from components.agibot.dataset import Dataset

    return Dataset.open(folder)


def test_without_calibration(examined: dict[str, Any], tmp_path: Path) -> None:
    publish.publish(tmp_path, INTAKE.model_copy(update={"calibration": False}), **examined)
    dataset = publish_reader(tmp_path)
    assert not (tmp_path / "calibration").exists()
    with pytest.raises(KeyError):
        dataset.camera_to_base(0, CAMERAS[0])


def test_episodes_without_labels_keep_the_table_readable(recorded: RawDrop, tmp_path: Path) -> None:
    """An empty list in the first row must not decide the column's type."""
    raw = recorded.copy(tmp_path / "drop", 2)
    raw.episodes[0].edit_entry(lambda e: e["label_info"].update(action_config=[]))
    drop, work = open_drop(raw.root), tmp_path / "work"
    work.mkdir()
    found = [examine(Job(source, SETTINGS, str(work))) for source in drop.episodes.values()]
    document = report("drop", found, SETTINGS)
    publish.publish(
        tmp_path / "out", INTAKE, work, drop.episodes, found, document, {"prefix": "raw/x/0", "fingerprint": "0" * 64}
    )
    first, second = publish_reader(tmp_path / "out").episodes
    assert first.spans == []
    assert second.spans


def test_reading_what_is_not_there(published: Published) -> None:
    dataset = published.dataset
    with pytest.raises(KeyError, match="no camera 'nose'"):
        dataset.frames(0, "nose")
    with pytest.raises(KeyError, match=r"has episodes 0 \.\. 2, no 3"):
        dataset.columns(3, ["action"])
    with pytest.raises(KeyError, match=r"observation\.smell"):
        dataset.columns(0, ["observation.smell"])
