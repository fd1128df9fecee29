"""`orrery episodes view`: what is shown of an episode, what Rerun makes of that, and what is said without Rerun."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from components.agibot.view import of_dataset, of_drop, show, viewer
from components.store.errors import ConfigurationError

from .conftest import Published, RawDrop


def test_an_episode_of_a_dataset(published: Published) -> None:
    """The last one: its frames begin in the middle of a file that it shares."""
    shown, raw = of_dataset(published.dataset, "2"), published.good[2]
    assert shown.frames == raw.frames
    assert {len(s.values) for s in shown.series.values()} == {raw.frames}
    assert all(s.values.shape[1] == len(s.names) for s in shown.series.values())
    film = shown.films["head_color"]
    assert film.first == sum(r.frames for r in published.good[:2])
    assert shown.instruction == raw.entry()["task_name"]
    with pytest.raises(ConfigurationError, match=r"episodes 0 \.\. 2"):
        of_dataset(published.dataset, "3")


def test_an_episode_of_a_drop_with_its_findings(three: RawDrop) -> None:
    """A bad one can be looked at: that is what a viewer is for."""
    raw = three.episodes[1]
    joints = raw.array("state/joint/position")
    joints[20:, 0] += 0.6
    raw.put("state/joint/position", joints)
    shown = of_drop(three.root, str(raw.files.episode_id), "agibot_g1", "")
    assert "kinematics.velocity-impossible" in {f.code for f in shown.findings}
    np.testing.assert_array_equal(shown.series["state/joint/position"].values, joints)
    assert set(shown.films) == {"head_color", "hand_left_color"}
    assert shown.films["head_color"].data == raw.files.video("head_color").read_bytes()
    with pytest.raises(ConfigurationError, match=r"--episode '9/9': the drop has no such episode; it has \d+/\d+"):
        of_drop(three.root, "9/9", "agibot_g1", "")


def test_without_rerun_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images lack it: importing it fails there, as it does here."""
    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(ConfigurationError, match=r"Rerun is not installed.*pip install 'rerun-sdk=="):
        viewer()


def test_rerun_reads_what_was_written(published: Published, tmp_path: Path) -> None:
    file = tmp_path / "episode.rrd"
    show(of_dataset(published.dataset, "0"), file)
    command = [sys.executable, "-m", "rerun", "rrd", "stats", str(file)]
    told = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    assert "/cameras/head_color" in told
    assert "/observation.state" in told
