"""Drops are joined to a dataset in shards: nothing is lost, nothing is there twice, and what is there is not read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.agibot import contract, stages, stored, validate
from components.agibot.columns import STATE
from components.agibot.config import AdoptConfig, IntakeConfig
from components.agibot.dataset import Dataset
from components.agibot.head import move_head, read_head
from components.agibot.stages import adopt, examine, intake, join, plan
from components.store.api import Store
from components.store.errors import ConfigurationError, OrreryError
from components.store.open import open_store
from components.store.records import lay_out, load_record, reference
from data_contracts.changes import changes
from data_contracts.dataset import DatasetManifest
from data_contracts.lineage import StageRecord
from data_contracts.report import ValidationReport

from .conftest import CAMERAS, RawDrop

CONFIG = IntakeConfig(name="line", cameras=CAMERAS, chunk=10, strips=2, shard=1)


def shards(store: Store, raw: StageRecord, config: IntakeConfig = CONFIG) -> list[StageRecord]:
    """The parts of a drop, made as its plan says."""
    planned = plan(store, config, 0, raw)
    return [examine(store, config, 0, raw, planned.parent, shard) for shard in planned.shards]


def joined(store: Store, root: Path, config: IntakeConfig = CONFIG) -> StageRecord:
    """A drop taken in as the pipeline does it."""
    raw = adopt(store, AdoptConfig(source=str(root)), 0)
    return join(store, config, 0, raw, refs(store, shards(store, raw, config)))


def refs(store: Store, parts: list[StageRecord]) -> list[str]:
    return [reference(store, part).model_dump_json() for part in parts]


def dataset(store: Store, record: StageRecord, folder: Path) -> Dataset:
    return Dataset.open(lay_out(store, record, folder, ("",)))


def document(store: Store, record: StageRecord, path: str) -> Any:
    return json.loads(store.read(record.key_of(record.object(path))))


class Line:
    """Two drops joined one after another: two recorded episodes; then those two, one more, and an empty video."""

    def __init__(self, recorded: RawDrop, folder: Path) -> None:
        self.store = open_store(str(folder / "store"))
        self.first_drop = recorded.copy(folder / "first", 2)
        self.second_drop = recorded.copy(folder / "second", 3)
        bad = self.second_drop.add_copy(self.second_drop.episodes[2], self.second_drop.episodes[2].files.episode_id + 7)
        bad.files.video("head_color").write_bytes(b"")
        self.bad = bad.key
        self.first = joined(self.store, self.first_drop.root)
        self.second = joined(self.store, self.second_drop.root)
        self.folder = folder


@pytest.fixture(scope="module", autouse=True)
def here() -> Iterator[None]:
    """Episodes are examined in this process: a new one for each shard would only cost time, and is tested elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ORRERY_QUIET", "1")
        patch.setattr(validate, "run_tasks", lambda work, tasks, *_: ((n, work(tasks[n])) for n in range(len(tasks))))
        yield


@pytest.fixture(scope="module")
def line(here: None, recorded: RawDrop, tmp_path_factory: pytest.TempPathFactory) -> Line:
    return Line(recorded, tmp_path_factory.mktemp("line"))


def test_a_version_has_its_parents_episodes_and_the_new_ones(line: Line) -> None:
    """Row k and frame k of every episode, old and new, by what LeRobot's tables say of its place."""
    found = dataset(line.store, line.second, line.folder / "view")
    good = line.second_drop.episodes[:3]
    assert [(e.task_id, e.episode_id) for e in found.manifest.episodes] == [raw.key for raw in good]
    first = 0
    for index, raw in enumerate(good):
        row = found.episodes[index]
        assert (row.values["dataset_from_index"], row.values["dataset_to_index"]) == (first, first + raw.frames)
        columns = found.columns(index, ["observation.state", "index", "episode_index", "frame_index"])
        np.testing.assert_allclose(
            columns["observation.state"][:, :7], raw.array("state/joint/position")[:, :7], atol=1e-6
        )
        assert (columns["index"] == first + np.arange(raw.frames)).all()
        assert (columns["episode_index"] == index).all()
        np.testing.assert_array_equal(np.stack(list(found.frames(index, CAMERAS[0]))), raw.decode(CAMERAS[0]))
        assert found.camera_to_base(index, CAMERAS[1]).shape == (raw.frames, 4, 4)
        first += raw.frames
    assert found.info["total_episodes"] == 3
    assert found.info["total_frames"] == first


def test_files_of_the_parent_are_referred_to_as_they_are(line: Line) -> None:
    """No byte of an old episode is written again; videos of new ones stay where their shard put them."""
    old = {o.path: line.first.key_of(o) for o in line.first.objects if o.path.startswith(("data/", "videos/"))}
    new = {o.path: line.second.key_of(o) for o in line.second.objects}
    assert old.items() <= new.items()
    videos = [key for path, key in new.items() if path.startswith("videos/")]
    assert len(videos) == len(set(videos)) == 3 * len(CAMERAS)
    assert not any(key.startswith(line.second.prefix) for key in videos)
    assert all(line.store.stat(key) is not None for key in new.values())


def test_statistics_are_those_of_all_episodes(line: Line) -> None:
    found = dataset(line.store, line.second, line.folder / "statistics")
    for space, column in STATE.items():
        rows = np.concatenate([found.columns(i, [column])[column] for i in range(3)]).astype(np.float64)
        np.testing.assert_allclose(found.manifest.state_statistics[space].mean, rows.mean(axis=0), atol=1e-9)
    stats = json.loads((found.folder / "meta" / "stats.json").read_text())
    assert stats["index"]["count"] == [found.info["total_frames"]]
    assert stats["index"]["max"] == [found.info["total_frames"] - 1]


def test_statistics_leave_out_what_only_the_comparison_refuses(
    recorded: RawDrop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shard of two sound episodes adds up both; when the join finds one of them to be a copy, its rows must go."""
    store = open_store(str(tmp_path / "store"))
    drop = recorded.copy(tmp_path / "drop", 3)
    drop.add_copy(drop.episodes[0], drop.episodes[2].files.episode_id + 7)
    record = joined(store, drop.root, CONFIG.model_copy(update={"shard": 2}))
    assert [Path(s.key).suffix for s in store.list("quarantine/duplicate.episode")] == [".jpg", ".json"]
    found = dataset(store, record, tmp_path / "view")
    stats = json.loads((found.folder / "meta" / "stats.json").read_text())
    for column in (*STATE.values(), "frame_index"):
        rows = np.concatenate([found.columns(i, [column])[column] for i in range(3)]).astype(np.float64)
        assert stats[column]["count"] == [found.info["total_frames"]] == [len(rows)]
        np.testing.assert_allclose(stats[column]["mean"], np.atleast_1d(rows.mean(axis=0)), atol=1e-9)
        assert stats[column]["max"] == np.atleast_1d(rows.max(axis=0)).tolist()


def test_a_large_drop_gets_larger_shards_not_more(line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """KFP hands the list of parts on as one argument, whose length is limited."""
    monkeypatch.setattr(stages, "MOST_SHARDS", 2)
    raw = adopt(line.store, AdoptConfig(name="wide", source=str(line.second_drop.root)), 0)
    asked = CONFIG.model_copy(update={"name": "wide"})
    planned = plan(line.store, asked, 0, raw)
    assert planned.shards == ["0/2", "1/2"]
    parts = [examine(line.store, asked, 0, raw, None, shard) for shard in planned.shards]
    assert [part.metrics["episodes"] for part in parts] == [2, 2]


def test_the_version_says_what_came_and_what_was_refused(line: Line) -> None:
    manifests = [
        DatasetManifest.model_validate(document(line.store, r, "manifest.json")) for r in (line.first, line.second)
    ]
    reports = [
        ValidationReport.model_validate(document(line.store, r, "report.json")) for r in (line.first, line.second)
    ]
    found = changes(manifests[0], reports[0], manifests[1], reports[1])
    assert [(e.task_id, e.episode_id) for e in found.added] == [line.second_drop.episodes[2].key]
    assert (found.removed, found.changed) == ((), ())
    assert [(r.task_id, r.episode_id, r.codes) for r in found.refused] == [(*line.bad, ("video.empty-file",))]
    assert manifests[1].parent == line.first.prefix
    assert [(d.added, d.refused) for d in manifests[1].drops] == [(2, 0), (1, 1)]
    assert (manifests[1].summary.accepted, manifests[1].summary.quarantined) == (3, 1)


def test_only_new_episodes_are_examined(line: Line) -> None:
    """Two of the second drop's four were known by the place of their files' bytes, so its plan has two shards."""
    assert line.second.metrics["added"] == 1
    parts = [line.second.inputs[name] for name in line.second.inputs if name.startswith("part-")]
    assert [load_record(line.store, p.prefix).metrics["episodes"] for p in parts] == [1, 1]


@pytest.mark.parametrize("which", ["first_drop", "second_drop"])
def test_the_same_drop_again_changes_nothing(line: Line, which: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even its refused episodes are looked at again; the dataset's last version is handed on."""
    before = [s.key for s in line.store.list("datasets")]
    monkeypatch.setattr(stored, "inventory", None)
    assert joined(line.store, getattr(line, which).root) == line.second
    assert [s.key for s in line.store.list("datasets")] == before


def test_two_intakes_at_once_lose_nothing(recorded: RawDrop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another drop is joined between this one's reading of the head and its swap: this one is built again upon it."""
    from components.agibot import head

    store = open_store(str(tmp_path / "store"))
    drops = [recorded.copy(tmp_path / str(n), [recorded.episodes[n]]) for n in range(2)]
    raws = [adopt(store, AdoptConfig(name=f"drop-{n}", source=str(d.root)), 0) for n, d in enumerate(drops)]
    parts = [refs(store, shards(store, raw)) for raw in raws]

    def interrupted(at: Store, record: StageRecord, etag: str | None) -> bool:
        monkeypatch.setattr(head, "move_head", move_head)
        monkeypatch.setattr(head, "joining", lambda *_: _nobody())
        join(store, CONFIG, 0, raws[1], parts[1])
        return move_head(at, record, etag)

    monkeypatch.setattr(head, "move_head", interrupted)
    record = join(store, CONFIG, 0, raws[0], parts[0])
    found = DatasetManifest.model_validate(document(store, record, "manifest.json"))
    assert sorted((e.task_id, e.episode_id) for e in found.episodes) == sorted(e.key for e in recorded.episodes[:2])
    assert read_head(store, CONFIG.name)[0] == record


def test_a_kill_before_the_swap_leaves_the_old_version_and_loses_no_work(
    line: Line, recorded: RawDrop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The version is there but nobody's: the dataset's last one is the old one until the next start goes on."""
    from components.agibot import head

    store = open_store(str(tmp_path / "store"))
    old = joined(store, recorded.copy(tmp_path / "old", 1).root)
    raw = adopt(store, AdoptConfig(name="new", source=str(line.first_drop.root)), 0)
    parts = refs(store, shards(store, raw))

    def killed(*_: Any) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(head, "move_head", killed)
        with pytest.raises(KeyboardInterrupt):
            join(store, CONFIG, 0, raw, parts)
    assert read_head(store, CONFIG.name)[0] == old
    monkeypatch.setattr("components.agibot.join.write_joined", None)
    record = join(store, CONFIG, 0, raw, parts)
    assert (record.metrics["episodes"], read_head(store, CONFIG.name)[0]) == (2, record)


def test_a_drop_that_breaks_the_contract_leaves_the_dataset_and_its_reports(
    recorded: RawDrop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of three episodes are bad: what is refused is the version, and a person can see why. Kept, Data Docs tell."""
    monkeypatch.setattr(contract, "LEAST_EPISODES", 2)
    store = open_store(str(tmp_path / "store"))
    first = joined(store, recorded.copy(tmp_path / "first", 2).root)
    assert "all kept" in store.read(first.key_of(first.object("data_docs.html"))).decode()
    drop = recorded.copy(tmp_path / "second", [recorded.episodes[2]])
    for number in (1, 2):
        copy = drop.add_copy(drop.episodes[0], drop.episodes[0].files.episode_id + 100 * number)
        copy.files.video("head_color").write_bytes(b"")
    with pytest.raises(OrreryError, match=r"nothing was published\. usable-most: .*quarantine/contract/line/"):
        joined(store, drop.root)
    assert read_head(store, CONFIG.name)[0] == first
    kept = {s.key.rpartition("/")[2] for s in store.list("quarantine/contract/line")}
    assert kept == {"report.html", "data_docs.html", "outcomes.json"}


def _nobody() -> Any:
    from contextlib import nullcontext

    return nullcontext()


def test_a_part_given_twice_counts_once(line: Line, tmp_path: Path) -> None:
    """A retried shard gives the same part again: its episodes must not be there twice."""
    store = open_store(str(tmp_path / "store"))
    raw = adopt(store, AdoptConfig(source=str(line.first_drop.root)), 0)
    parts = refs(store, shards(store, raw))
    assert join(store, CONFIG, 0, raw, [*parts, *parts]).metrics["episodes"] == 2


def test_an_episode_of_a_known_name_with_other_bytes_is_refused(line: Line, tmp_path: Path) -> None:
    """The dataset keeps its own; the drop's is reported. One whose files only moved is known by their bytes."""
    store, raw = line.store, line.first_drop.copy(tmp_path / "drop", 2)
    raw.episodes[0].edit_entry(lambda e: e.update(task_name="Something else altogether."))
    shutil.move(raw.root / "parameters", raw.root / "elsewhere")
    (raw.root / "parameters").mkdir()
    shutil.move(next((raw.root / "elsewhere").iterdir()), raw.root / "parameters" / "1-999")
    inside = raw.root / "parameters" / "1-999"
    task = str(raw.episodes[0].files.task_id)
    (raw.root / "parameters" / task).mkdir()
    shutil.move(inside, raw.root / "parameters" / task / "1-999")
    before, _ = read_head(store, CONFIG.name)
    assert joined(store, raw.root) == before
    reports = [s.key for s in store.list("quarantine/duplicate.other-content")]
    assert [Path(key).stem for key in reports] == ["{}-{}".format(*raw.episodes[0].key)]


def test_a_dataset_of_another_layout_is_not_joined_to(line: Line) -> None:
    other = CONFIG.model_copy(update={"cameras": CAMERAS[:1]})
    with pytest.raises(ConfigurationError, match=r"cameras: .*give the new one another name"):
        joined(line.store, line.second_drop.root, other)


def test_a_version_of_its_own_begins_the_line_and_never_replaces_it(published: Any, line: Line) -> None:
    """`agibot.intake` gives a dataset its head, so that drops can be joined to recorded episodes."""
    assert read_head(published.store, published.record.name)[0] == published.record
    raw = adopt(line.store, AdoptConfig(source=str(line.first_drop.root)), 0)
    own = intake(line.store, CONFIG, 0, raw)
    assert own.prefix not in (line.first.prefix, line.second.prefix)
    assert read_head(line.store, CONFIG.name)[0] == line.second
