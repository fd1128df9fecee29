"""The intake's page: every bad episode with its reason, its picture and the bad span shaded; names stay text."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.agibot.checks.places import frames, runs, spans_in
from components.agibot.page import intake_page
from components.agibot.validate import validate
from components.telemetry.report import render

from .conftest import CAMERAS, HEAD_ONLY, Published, RawDrop, examine_all

HOSTILE = "<script>alert(1)</script>"


@given(st.lists(st.booleans(), min_size=1, max_size=60).filter(any))
def test_places_are_read_back(mask: list[bool]) -> None:
    """The plot shades what the message names: the first three runs of bad frames."""
    held = np.array(mask)
    wanted = [(int(a), int(b) - 1) for a, b in runs(held)][:3]
    assert spans_in(f"proprio_stats.h5:state/joint/position, dimension 3, {frames(held)}") == wanted


@pytest.mark.parametrize("where", ["", "task_info, episode 12", "videos/head_color.mp4", "frames of nothing"])
def test_places_without_frames_have_none(where: str) -> None:
    assert spans_in(where) == []


def test_a_bad_episode_is_shown_with_strip_plot_and_mend(three: RawDrop, tmp_path: Path) -> None:
    first, second, _ = three.episodes
    joints = first.array("state/joint/position")
    joints[10:, 0] += 0.5
    first.put("state/joint/position", joints)
    second.edit_entry(lambda e: e.update(task_name=HOSTILE))
    out = tmp_path / "report.html"
    found = validate(three.root, cameras=CAMERAS, page=out, workers=1, quiet=True)
    page = out.read_text(encoding="utf-8")
    assert found.summary.quarantined == 1
    assert f"episode {first.files.episode_id}: quarantined, kinematics.velocity-impossible" in page
    assert "Look for lost frames or for a sensor that jumped." in page
    assert page.count("data:image/jpeg") == 1, "the film strip of the bad episode alone"
    assert "fill: var(--bad)" in page, "the bad span is shaded"
    assert HOSTILE not in page


def test_new_episodes_are_set_beside_the_last_version_s(three: RawDrop) -> None:
    """Value by value: the same ones are at no distance, others at the largest; a task that was not there is said so."""
    old = examine_all(three.root)
    faster = {"joint_speed_max": 99.0}
    new = [e.model_copy(update={"aggregates": e.aggregates | faster}) for e in old]
    page = render(intake_page("drop", new, HEAD_ONLY, known=old))
    assert row_of(page, "joint speed max")[-1].startswith("1.00 (chance ")
    assert row_of(page, "luma mean")[-1].startswith("0.00 (chance ")
    least, low, median, high, most, *before, _ = row_of(page, "luma mean")[1:]
    assert before == [low, median, high], f"{least} .. {most}"
    elsewhere = [e.model_copy(update={"task_id": 1}) for e in new]
    page = render(intake_page("drop", elsewhere, HEAD_ONLY, known=old))
    assert row_of(page, "luma mean")[-1] == "other tasks"
    assert row_of(page, "1")[-1] == "0", "the task had no episode before"


def row_of(page: str, name: str) -> list[str]:
    """The cells of a table's row that begins with `name`, as text."""
    for row in re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL):
        cells = [re.sub(r"<[^>]*>", "", cell).strip() for cell in re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL)]
        if cells and cells[0] == name:
            return cells
    raise AssertionError(f"no row {name}")


def test_a_page_without_pictures(three: RawDrop) -> None:
    """Of a drop without any bad episode, or whose episodes can't be read at all."""
    assert "No episode has an error or a warning." in render(intake_page("drop", examine_all(three.root), HEAD_ONLY))
    for raw in three.episodes:
        raw.files.proprio.unlink()
        raw.files.video("head_color").write_bytes(b"")
    page = render(intake_page("drop", examine_all(three.root), HEAD_ONLY))
    assert "3 quarantined" in page
    assert "There is no usable episode." in page


def test_the_page_lies_beside_the_dataset(published: Published) -> None:
    page = (published.folder / "report.html").read_text(encoding="utf-8")
    assert "video.empty-file" in page
    assert published.adopted.prefix in page
