"""`episode_intake` for real: episodes recorded in simulation become a published dataset; bad drops publish nothing."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from components.store.open import open_store

Run = Callable[..., subprocess.CompletedProcess[str]]
SMALL = ["--recipe", "tiny", "--set", "record.episodes=2", "--set", "intake.strips=1"]


@pytest.fixture(scope="module")
def drop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A raw drop of two short episodes."""
    import sys

    folder = tmp_path_factory.mktemp("drop") / "raw"
    words = ["episodes", "record", str(folder), "--task", "press:1", "--episodes", "2", "--seed", "3"]
    subprocess.run([sys.executable, "-m", "pipelines.cli", *words], check=True, timeout=200, capture_output=True)
    return folder


def published(place: Path) -> list[str]:
    """Keys of dataset versions."""
    return [s.key for s in open_store(str(place / ".orrery" / "store")).list("datasets/")]


@pytest.mark.slow
def test_recorded_episodes_become_a_dataset_once(orrery: Run, place: Path) -> None:
    """The door of the whole loop: record, validate, publish, show; and a second run that repeats nothing."""
    done = orrery("run", "episode_intake", *SMALL, "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert [(s["name"], s["status"]) for s in document["stages"]] == [
        ("robots.record", "succeeded"),
        ("agibot.intake", "succeeded"),
    ]
    datasets = json.loads(orrery("datasets", "list", "--json").stdout)["datasets"]
    assert [d["episodes"] for d in datasets] == [2]
    name = f"{datasets[0]['name']}/{datasets[0]['version']}"
    shown = json.loads(orrery("datasets", "show", name, "--json").stdout)
    assert len(shown["episodes"]) == 2
    assert json.loads(orrery("datasets", "diff", name, name, "--json").stdout) == {
        "added": [], "removed": [], "changed": [], "repaired": [], "refused": [], "accepted": [],
        "drift": {"joint": 0.0, "eef14": 0.0},
    }  # fmt: skip
    page = Path(document["report"]).read_text()
    assert "data:image/png" in page or "data:image/jpeg" in page, "the report lacks film strips"

    again = orrery("run", "episode_intake", *SMALL, "--json")
    assert again.returncode == 0, again.stderr
    assert {s["status"] for s in json.loads(again.stdout)["stages"]} == {"cached"}


def test_an_uploaded_drop_becomes_a_dataset(orrery: Run, place: Path, drop: Path) -> None:
    """A robot's own upload takes the same way as a recorded drop."""
    done = orrery("run", "drop_intake", "--set", f"drop={drop}", "--json")
    assert done.returncode == 0, done.stderr
    stages = [s["name"] for s in json.loads(done.stdout)["stages"]]
    assert stages == ["agibot.adopt", "agibot.examine-1-of-1", "agibot.join"]
    before = published(place)
    assert any(key.endswith("manifest.json") for key in before)

    again = orrery("run", "drop_intake", "--set", f"drop={drop}", "--json")
    stages = {s["name"]: s["status"] for s in json.loads(again.stdout)["stages"]}
    assert stages == {"agibot.adopt": "cached", "agibot.join": "cached"}, "a run shows the version that it found"
    assert published(place) == before


def test_an_empty_drop_publishes_nothing_and_says_so(orrery: Run, place: Path) -> None:
    (place / "empty").mkdir()
    done = orrery("run", "drop_intake", "--set", f"drop={place / 'empty'}")
    assert done.returncode in (1, 2), done.stderr
    assert "Traceback" not in done.stderr
    assert not any(key.endswith("record.json") for key in published(place))


def test_a_drop_of_only_bad_episodes_publishes_nothing_and_says_why(orrery: Run, place: Path, drop: Path) -> None:
    bad = place / "bad"
    shutil.copytree(drop, bad)
    for video in bad.rglob("head_color.mp4"):
        video.unlink()
        video.write_bytes(b"not a video")
    done = orrery("run", "drop_intake", "--set", f"drop={bad}")
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "video." in done.stderr, "the message names the reason"
    assert not any(key.endswith("manifest.json") for key in published(place)), "a shard alone is no dataset"


def test_validate_prints_the_agreed_document_and_exits_by_it(orrery: Run, place: Path, drop: Path) -> None:
    good = orrery("episodes", "validate", str(drop), "--json")
    assert good.returncode == 0
    document = json.loads(good.stdout)
    assert document["summary"]["accepted"] == 2
    assert {e["verdict"] for e in document["episodes"]} == {"accepted"}

    bad = place / "bad"
    shutil.copytree(drop, bad)
    stats = sorted(bad.rglob("proprio_stats.h5"))[0]
    stats.unlink()
    stats.write_bytes(b"")
    worse = orrery("episodes", "validate", str(bad), "--json")
    assert worse.returncode == 1
    document = json.loads(worse.stdout)
    assert document["summary"]["quarantined"] == 1
    assert all({"code", "severity", "message", "where"} == set(f) for e in document["episodes"] for f in e["findings"])
