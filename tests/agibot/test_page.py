"""The intake's page: every bad episode with its reason, its picture and the bad span shaded; names stay text."""

from __future__ import annotations

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
