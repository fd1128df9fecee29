"""The intake stage: cached, resumable, and honest about what it refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from components.agibot.config import AdoptConfig
from components.agibot.stages import adopt, intake
from components.store.errors import OrreryError
from components.store.files import cache_root
from components.store.open import open_store
from components.store.records import find_records

from .conftest import INTAKE, Published, RawDrop, RawEpisode

INTAKE_PROCESS = """
import sys
from components.agibot.config import AdoptConfig, IntakeConfig
from components.agibot.stages import adopt, intake
from components.store.open import open_store

if __name__ == "__main__":
    store = open_store(sys.argv[1])
    raw = adopt(store, AdoptConfig(source=sys.argv[2]), 0)
    intake(store, IntakeConfig.model_validate_json(sys.argv[3]), 0, raw)
"""


def test_metrics(published: Published) -> None:
    frames = sum(raw.frames for raw in published.good)
    assert published.record.metrics == {
        "episodes": 3, "accepted": 2, "repaired": 1, "quarantined": 1, "frames": frames,
        "reasons": "video.empty-file 1",
    }  # fmt: skip
    assert (published.record.kind, published.record.name) == ("datasets", "small")
    assert published.record.inputs == {"raw": published.adopted.as_input()}


def test_a_second_run_is_found(published: Published) -> None:
    started = time.monotonic()
    assert intake(open_store(published.store.url), INTAKE, 0, published.adopted) == published.record
    assert time.monotonic() - started < 5, "nothing was examined again"


def test_the_bad_episode_lies_in_quarantine(published: Published) -> None:
    """A report that says why and where, and no copy of the raw files."""
    task_id, episode_id = published.raw.episodes[3].key
    place = f"quarantine/video.empty-file/small/{published.record.version}"
    assert [s.key for s in published.store.list("quarantine")] == [f"{place}/{task_id}-{episode_id}.json"]
    found = json.loads(published.store.read(f"{place}/{task_id}-{episode_id}.json"))
    assert found["source"]["prefix"] == published.adopted.prefix
    assert (found["episode_id"], found["verdict"]) == (episode_id, "quarantined")
    assert {f["code"] for f in found["findings"]} == {"video.empty-file"}
    for file in found["files"]:
        raw = published.store.stat(f"{published.adopted.prefix}/{file['path']}")
        assert raw is not None
        assert raw.size == file["size"], "the pointers lead to the raw files"


def test_a_drop_of_only_bad_episodes(three: RawDrop, tmp_path: Path) -> None:
    """Nothing is published; the most frequent reason comes first, and the reports say the rest."""
    first, second, third = three.episodes
    first.files.video("head_color").write_bytes(b"")
    second.files.video("hand_left_color").write_bytes(b"")
    third.files.proprio.unlink()
    store = open_store(str(tmp_path / "store"))
    raw = adopt(store, AdoptConfig(source=str(three.root)), 0)
    for _ in range(2):  # the second attempt finds its reports there already
        with pytest.raises(OrreryError) as caught:
            intake(store, INTAKE, 0, raw)
    message = str(caught.value)
    assert "none of the 3 episodes" in message
    assert "video.empty-file (2), inventory.missing-proprio (1)" in message
    assert "Upload the video again." in message
    assert caught.value.exit_code == 1
    assert list(find_records(store, "datasets")) == []
    keys = [s.key for s in store.list("quarantine")]
    names = {Path(k).name for k in keys if k.startswith("quarantine/video.empty-file/small/") and k.endswith(".json")}
    assert names == {f"{e.files.task_id}-{e.files.episode_id}.json" for e in (first, second)}
    strips = [k for k in keys if k.endswith(".jpg")]
    assert [Path(k).name for k in strips if "video." in k] == [f"{second.files.task_id}-{second.files.episode_id}.jpg"]


def test_findings_about_the_drop_itself(one: RawEpisode, tmp_path: Path) -> None:
    """A task_info that can't be read costs its task; the others are published, and it is reported by name."""
    (one.root / "task_info" / "task_7.json").write_text("no JSON")
    store = open_store(str(tmp_path / "store"))
    record = intake(store, INTAKE, 0, adopt(store, AdoptConfig(source=str(one.root)), 0))
    assert record.metrics["episodes"] == 1
    (report,) = [s.key for s in store.list("quarantine")]
    assert report == f"quarantine/inventory.unreadable-task-info/small/{record.version}/task-7.json"


def test_a_killed_intake_goes_on(published: Published, tmp_path: Path) -> None:
    """SIGKILL after the first episode: it is not examined again, and the dataset is the same as without the kill."""
    store = tmp_path / "store"
    script = tmp_path / "process.py"
    script.write_text(INTAKE_PROCESS)
    words = [sys.executable, str(script), str(store), str(published.raw.root), INTAKE.model_dump_json()]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "ORRERY_QUIET": "1"}
    before = set(_kept())
    process = subprocess.Popen(words, env=environment)
    deadline = time.monotonic() + 200
    while not set(_kept()) - before and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    opened = open_store(str(store))
    assert not list(find_records(opened, "datasets")), "the kill came too late to test anything"
    kept = next(iter(set(_kept()) - before))
    mark = kept.read_text().replace('"instruction":"', '"instruction":"Kept: ')
    kept.write_text(mark)

    record = intake(opened, INTAKE, 0, adopt(opened, AdoptConfig(source=str(published.raw.root)), 0))
    wanted = {o.path: o.sha256 for o in published.record.objects}
    found = {o.path: o.sha256 for o in record.objects}
    assert found.keys() == wanted.keys()
    different = {path for path in wanted if found[path] != wanted[path]}
    texts = {"manifest.json", "meta/tasks.parquet"}
    if kept.stem != "{}-{}".format(*published.raw.episodes[3].key):  # the bad one may have ended first
        assert texts <= different, "what was kept was examined again"
    assert not [path for path in different if path.startswith(("videos", "calibration", "strips"))]


def _kept() -> list[Path]:
    """Records of examined episodes in the scratch of any intake."""
    return list((cache_root() / "stages").glob("agibot.intake-*/scratch/episodes/*.json"))
