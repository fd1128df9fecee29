"""An intake at scale: a tar is indexed by its headers alone, and what compares whole datasets grows as they do."""

from __future__ import annotations

import base64
import multiprocessing
import resource
import tarfile
import tempfile
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.agibot import blob as blob_module
from components.agibot.blob import Blob
from components.agibot.config import IntakeConfig
from components.agibot.contract import check_contract
from components.agibot.copies import POINTS
from components.agibot.examine import Examined
from components.agibot.join import decide
from components.agibot.page import intake_page
from components.agibot.part import COLUMNS, with_forms
from components.agibot.statistics import Sketches, add, merge, read_sketches, write_sketches
from components.agibot.stored import index_of
from components.agibot.validate import make_settings, report
from components.store.open import open_store
from data_contracts.changes import changes
from data_contracts.dataset import DatasetManifest, EpisodeEntry

from .conftest import Table

MEMBERS = 10_000
LARGEST_SHARE_READ = 0.01
EPISODES = 100_000
SHARD = IntakeConfig().shard
MOST_SECONDS, MOST_BYTES, MOST_GROWTH = 180.0, 4 << 30, 12.0


class Counted:
    """A store that counts what is read by range."""

    def __init__(self, store: Any) -> None:
        self.store, self.bytes, self.requests = store, 0, 0

    def read_range(self, key: str, start: int, length: int) -> bytes:
        data = self.store.read_range(key, start, length)
        self.bytes, self.requests = self.bytes + len(data), self.requests + 1
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)


def test_indexing_a_tar_reads_its_headers_only(tmp_path: Path, table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """10,000 members in one tar of a store; then again from the kept index. Bodies are holes, and never read."""
    folder = tmp_path / "store" / "raw" / "x"
    folder.mkdir(parents=True)
    with open(folder / "t.tar", "wb") as file:
        for number in range(MEMBERS):
            member = tarfile.TarInfo(f"observations/1/{number}/videos/head_color.mp4")
            member.size = 100_000 + number
            file.write(member.tobuf())
            file.seek(-(-member.size // 512) * 512, 1)
        file.truncate(file.tell())
    size = (folder / "t.tar").stat().st_size
    store = Counted(open_store(str(tmp_path / "store")))
    monkeypatch.setattr(blob_module, "opened", lambda url: store)
    tar = Blob("raw/x/t.tar", 0, size, "observations/t.tar", store.url, "0" * 64)
    tracemalloc.start()
    index, seconds = timed(lambda: index_of(store, tar))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    read, requests = store.bytes, store.requests
    again, cached = timed(lambda: index_of(store, tar))
    assert (len(index.members), index.findings) == (MEMBERS, [])
    assert again == index
    assert store.requests == requests, "the kept index was not used"
    table(f"index of a tar with {MEMBERS} members", [
        ("size of the tar", f"{size / 1e6:.0f} MB"), ("bytes read", f"{read / 1e6:.2f} MB"),
        ("share read", f"{read / size:.3%}"), ("requests", f"{requests}"), ("seconds", f"{seconds:.1f}"),
        ("seconds from the kept index", f"{cached:.2f}"), ("memory at its peak", f"{peak / 1e6:.0f} MB"),
    ])  # fmt: skip
    assert read < LARGEST_SHARE_READ * size


def timed(call: Any) -> tuple[Any, float]:
    started = time.perf_counter()
    return call(), time.perf_counter() - started


def test_the_dataset_level_part_of_a_hundred_thousand_episodes(table: Table) -> None:
    """Half of the episodes are the dataset's, half are new; one in a hundred is a copy, one in a hundred nearly one."""
    small, seconds_small, _, _ = apart(EPISODES // 10)
    large, seconds, steps, peak = apart(EPISODES)
    table(f"dataset-level part of {EPISODES} episodes", [
        ("CPU seconds", f"{seconds:.0f}"), *((f"  {name}", f"{value:.1f}") for name, value in steps.items()),
        (f"CPU seconds of {EPISODES // 10}", f"{seconds_small:.1f}"), ("growth", f"{seconds / seconds_small:.1f}"),
        ("memory of the process", f"{peak / 1e9:.2f} GB"),
    ])  # fmt: skip
    for count, found in ((EPISODES // 10, small), (EPISODES, large)):
        assert found["duplicate.episode"] == count // 200
        assert found["duplicate.near"] == count // 200
    assert seconds <= MOST_SECONDS
    assert peak <= MOST_BYTES
    assert seconds / seconds_small <= MOST_GROWTH


def apart(count: int) -> tuple[dict[str, int], float, dict[str, float], int]:
    """`dataset_level`, and the bytes at its peak, of a process that does nothing else."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measured, (count,))


def measured(count: int) -> tuple[dict[str, int], float, dict[str, float], int]:
    with tempfile.TemporaryDirectory() as folder:
        sums = shard_sums(Path(folder))
        dataset_level(100, sums)  # imports
        found, seconds, steps = dataset_level(count, sums)
    return found, seconds, steps, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class Records:
    """A part of a drop as far as `decide` reads it."""

    def __init__(self, examined: list[Examined]) -> None:
        self.examined = examined


def dataset_level(count: int, sums: list[Path]) -> tuple[dict[str, int], float, dict[str, float]]:
    """Reasons found, CPU seconds in all and by step, for `count` episodes."""
    settings = make_settings("agibot_g1", ("head_color",), True, True)
    episodes = synthetic(count)
    old, new = episodes[: count // 2], episodes[count // 2 :]
    parts: Any = [Records(new[n : n + SHARD]) for n in range(0, len(new), SHARD)]
    steps: dict[str, float] = {}

    def step(name: str, call: Any) -> Any:
        started = time.process_time()
        result = call()
        steps[name] = time.process_time() - started
        return result

    joined = step("join and duplicates", lambda: decide(parts, old, settings))
    whole = [*old, *joined.examined]
    step("contract suite, every episode", lambda: check_contract(whole))
    judged = step("contract suite, drift too", lambda: check_contract(joined.examined, old))
    drift = [o for o in judged.outcomes if "from the last version" in o.expectation]
    assert drift, "the suite has no expectation of drift"
    assert count <= 100 or {o.passed for o in drift} == {True}, "drift was judged, and there is none"
    step("statistics of the shards", lambda: add_up(sums, len(parts)))
    document = step("report", lambda: report("raw/x/0", whole, settings))
    step("distributions and page", lambda: intake_page("raw/x/0", whole, settings))
    before, after = manifest(old, document), manifest([*old, *(e for e, _ in joined.kept)], document)
    found = step("difference", lambda: changes(before, document, after, document))
    assert len(found.added) == len(joined.kept)
    codes = [f.code for e in joined.examined for f in e.findings]
    return {code: codes.count(code) for code in set(codes)}, sum(steps.values()), steps


def shard_sums(folder: Path) -> list[Path]:
    """What eight shards know of their rows: joints of many ranges, so that adding them up widens histograms."""
    rng, files = np.random.default_rng(1), [folder / f"{number}.npz" for number in range(8)]
    for number, file in enumerate(files):
        columns = {name: rng.normal(0, 1 + number / 8, (2000, 16)).astype(np.float32) for name in COLUMNS}
        sketches: Sketches = {}
        add(sketches, with_forms(columns, 4))
        write_sketches(file, sketches, {})
    return files


def add_up(sums: list[Path], shards: int) -> dict[str, Any]:
    """The statistics of so many shards, read and added up as the join does it."""
    found: Sketches = {}
    for number in range(shards):
        merge(found, read_sketches(sums[number % len(sums)])[0])
    return {name: sketch.summary() for name, sketch in found.items()}


def manifest(episodes: list[Examined], document: Any) -> DatasetManifest:
    entries = tuple(
        EpisodeEntry(
            index=n, task_id=e.task_id, episode_id=e.episode_id, instruction=e.instruction, frames=e.frames,
            source_sha256=e.source_sha256,
        )
        for n, e in enumerate(episodes)
    )  # fmt: skip
    return DatasetManifest(
        name="x", embodiment="agibot_g1", fps=30, cameras=("head_color",), episodes=entries, statistics=(),
        state_statistics={}, summary=document.summary, source={},
    )  # fmt: skip


def synthetic(count: int) -> list[Examined]:
    """Smooth motions of 14 joints; of the second half, every hundredth copies one of the first half, and every
    hundredth is 5 mrad beside one."""
    rng = np.random.default_rng(0)
    time_ = np.linspace(0, 1, POINTS)[:, None]
    out, half = [], count // 2
    motions: list[np.ndarray] = []
    for number in range(count):
        points = rng.normal(0, 0.5, 14) + rng.normal(0, 0.6, 14) * np.sin(2 * np.pi * time_ * rng.uniform(0.3, 1, 14))
        motion, picture = f"{number:064x}", f"{rng.integers(0, 2**63):016x}"
        position = number - half
        if position >= 0 and position % 100 in (0, 50):
            original = position
            picture = out[original].picture
            points = motions[original] + (0.005 if position % 100 else 0.0)
            motion = motion if position % 100 else out[original].motion
        if number < half:
            motions.append(points)
        steps = np.clip(np.round(points / 1e-3), -32768, 32767).astype("<i2")
        out.append(
            Examined(
                task_id=1 + number % 50, episode_id=number, verdict="accepted", instruction=f"task {number % 50}",
                frames=300, motion=motion, trajectory=base64.b64encode(steps.tobytes()).decode(), picture=picture,
                source_sha256=f"{number:064x}", aggregates=aggregates(rng),
            )
        )  # fmt: skip
    return out


def aggregates(rng: np.random.Generator) -> dict[str, float]:
    names = ("joint_speed_max", "joint_speed_mean", "action_error_mean", "end_travel_m", "gripper_action_mean")
    values = dict(zip(names, rng.uniform(0.01, 0.5, len(names)).tolist(), strict=True))
    return values | {
        "frames": 300.0,
        "seconds": 10.0,
        "cameras": 1.0,
        "steps": 3.0,
        "labelled_share": 1.0,
        "luma_mean": 100.0,
    }
