"""Validation of a whole drop: one bad episode never stops the others, and the report says all there is to say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from components.agibot import validate as module
from components.agibot.drop import open_drop
from components.agibot.examine import Job, examine
from components.agibot.validate import count_reasons, examine_drop, make_settings, report, validate
from components.store.errors import ConfigurationError
from data_contracts.report import ValidationReport

from .conftest import CAMERAS, HEAD_ONLY, RawDrop, RawEpisode, examine_all
from .pool_tasks import examine_or_die


def test_a_reader_that_dies_costs_its_episode(three: RawDrop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A crash in a C library must end as a finding of that episode, with the others examined as ever."""
    bad = three.episodes[1]
    bad.files.proprio.write_bytes(b"crash")
    monkeypatch.setattr(module, "examine", examine_or_die)
    (tmp_path / "work").mkdir()
    examined = examine_drop(open_drop(three.root), HEAD_ONLY, tmp_path / "work", workers=1)
    assert [e.verdict for e in examined] == ["accepted", "quarantined", "accepted"]
    (crashed,) = examined[1].findings
    assert crashed.code == "archive.reader-crashed"
    assert str(bad.files.episode_id) in crashed.message
    assert crashed.where.startswith("observations/")


def test_what_was_examined_is_not_examined_again(
    three: RawDrop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A drop of thousands of episodes takes hours: a kill must cost minutes. (Here all work would crash.)"""
    first = [examine(Job(source, HEAD_ONLY)) for source in open_drop(three.root).episodes.values()]
    work = tmp_path / "work"
    work.mkdir()
    for episode in first[:2]:
        path = module.stem(work, *episode.key)
        path.with_name(path.name + ".json").write_text(episode.model_dump_json())
    for raw in three.episodes:
        raw.files.proprio.write_bytes(b"crash")
    monkeypatch.setattr(module, "examine", examine_or_die)
    done: list[int] = []
    examined = examine_drop(open_drop(three.root), HEAD_ONLY, work, workers=1, advance=lambda: done.append(1))
    assert [e.model_copy(update={"findings": ()}) for e in examined[:2]] == first[:2], "but for what comparing adds"
    assert examined[2].findings[-1].code == "archive.reader-crashed"
    assert len(done) == 3, "progress counts what an earlier start did"


def test_the_report_counts_and_lists_everything(three: RawDrop) -> None:
    raws = three.episodes
    raws[0].files.video("head_color").write_bytes(b"")
    (three.root / "task_info" / "task_5.json").write_text("no JSON")
    found = validate(three.root, cameras=CAMERAS, workers=1, quiet=True)
    assert ValidationReport.model_validate_json(module.report_json(found)) == found
    assert found.source == str(three.root)
    assert [(e.task_id, e.episode_id, e.verdict) for e in found.episodes] == [
        (*raws[0].key, "quarantined"), (*raws[1].key, "accepted"), (*raws[2].key, "accepted"), (5, -1, "quarantined"),
    ]  # fmt: skip
    frames = raws[1].frames + raws[2].frames
    assert found.summary.model_dump() == {
        "accepted": 2, "repaired": 0, "quarantined": 2, "frames": frames, "seconds": round(frames / 30, 6),
    }  # fmt: skip


def test_reasons_are_counted_by_episode(one: RawEpisode) -> None:
    (examined,) = examine_all(one.root)
    two = examined.model_copy(update={"findings": (module.finding("video.unreadable", "a"),) * 2})
    three = examined.model_copy(update={"findings": (module.finding("hdf5.unreadable", "a"),)})
    counts = count_reasons([three, two, two.model_copy(), three, two])
    assert list(counts.items()) == [("video.unreadable", 3), ("hdf5.unreadable", 2)]


def test_an_empty_folder_is_a_finding_and_a_missing_one_an_error(tmp_path: Path) -> None:
    found = validate(tmp_path, quiet=True)
    assert [(e.task_id, e.episode_id, e.findings[0].code) for e in found.episodes] == [(-1, -1, "inventory.empty-drop")]
    with pytest.raises(ConfigurationError, match="is not there"):
        validate(tmp_path / "absent", quiet=True)


@pytest.mark.parametrize(
    ("embodiment", "cameras", "message"),
    [("r2d2", CAMERAS, "unknown embodiment 'r2d2'"), ("agibot_g1", ("nose",), "no camera 'nose'; it has head_color")],
)
def test_unknown_robots_and_cameras_list_the_known_ones(
    embodiment: str, cameras: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        make_settings(embodiment, cameras, True, True)


def test_a_team_changes_a_threshold_with_a_file(one: RawEpisode, tmp_path: Path) -> None:
    """Without touching code: the flange's step that everybody is warned of is usual for this task of theirs."""
    positions = one.array("state/end/position")
    positions[10:, 0, 0] += 0.1
    one.put("state/end/position", positions)
    assert "kinematics.end-step" in {f.code for f in examine_all(one.root)[0].findings}
    path = tmp_path / "ours.json"
    path.write_text(json.dumps({"name": "ours", "tasks": {one.files.task_id: {"end_step_m": 0.2}}}))
    ours = make_settings("agibot_g1", CAMERAS[:1], True, True, str(path))
    assert "kinematics.end-step" not in {f.code for f in examine_all(one.root, ours)[0].findings}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "profile .* is neither a readable file nor one of simulation"), ("{", "profile .*: .*JSON"),
        ('{"tasks": {"1": {"end_step_m": -1}}}', r"tasks\.1: end_step_m: "),
        ('{"robots": {"r2d2": {}}}', "unknown embodiment 'r2d2'"),
    ],
)  # fmt: skip
def test_a_wrong_profile_is_refused_with_its_field(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "ours.json"
    if text:
        path.write_text(text)
    with pytest.raises(ConfigurationError, match=message):
        make_settings("agibot_g1", CAMERAS, True, True, str(path))


def test_equal_drops_give_equal_reports(recorded: RawDrop) -> None:
    first, second = (report("drop", examine_all(recorded.root), HEAD_ONLY) for _ in range(2))
    assert module.report_json(first) == module.report_json(second)
