"""The join of many shards: what it costs for each episode, and that its memory does not grow with their number.

By hand, with as many as you like: python -m tests.benchmarks.test_intake_join 400 50
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from components.agibot import lerobot
from components.agibot.config import IntakeConfig
from components.agibot.dataset import IMAGES, SKETCHES
from components.agibot.examine import Examined
from components.agibot.part import COLUMNS, EXAMINED, FACTS, ROWS, Part, flat_statistics, with_forms
from components.agibot.publish import Version, write_version
from components.agibot.statistics import Sketches, add, levels, of_levels, of_rows, write_sketches
from components.agibot.tables import TableFiles, table_of
from components.agibot.validate import make_settings, report
from components.agibot.videos import video_path
from data_contracts.dataset import TakenDrop

from .conftest import Table

CONFIG = IntakeConfig(name="x", cameras=("head_color",), calibration=False)
FRAMES, VIDEO = 300, f"videos/{IMAGES}head_color"
MOST_MS, MOST_GROWTH = 20.0, 1.3


def test_joining_many_shards_is_a_stream(table: Table) -> None:
    """Statistics come added up from the shards; rows and columns pass through one part at a time."""
    few_seconds, few = apart(10, 25)
    many_seconds, many = apart(60, 25)
    table(f"joining shards of 25 episodes of {FRAMES} frames", [
        ("CPU milliseconds an episode, 10 shards", f"{few_seconds / 250 * 1e3:.1f}"),
        ("CPU milliseconds an episode, 60 shards", f"{many_seconds / 1500 * 1e3:.1f}"),
        ("memory with 10 shards", f"{few / 1e6:.0f} MB"), ("memory with 60 shards", f"{many / 1e6:.0f} MB"),
    ])  # fmt: skip
    assert many_seconds / 1500 * 1e3 <= MOST_MS
    assert many / few <= MOST_GROWTH


def apart(shards: int, episodes: int) -> tuple[float, int]:
    """`joined` in a process that does nothing else."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(joined, (shards, episodes))


def joined(shards: int, episodes: int) -> tuple[float, int]:
    """CPU seconds of writing a version from so many shards, and the bytes of this process at its peak."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parts = [write_shard(folder / f"{n:04d}", n, episodes) for n in range(shards)]
        kept = [(episode, part) for part in parts for episode in part.examined]
        whole = report("raw/x/0", [e for e, _ in kept], make_settings("agibot_g1", CONFIG.cameras, False, True))
        drop = TakenDrop(prefix="raw/x/0", fingerprint="0" * 64, added=len(kept), refused=0)
        started = time.process_time()
        manifest = write_version(Version(folder / "out", never, CONFIG, None, kept), whole, drop)
        seconds = time.process_time() - started
        assert len(manifest.episodes) == shards * episodes
        stats = json.loads((folder / "out" / "meta" / "stats.json").read_text())
        assert stats["observation.state"]["count"] == [shards * episodes * FRAMES]
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def never(*_: object) -> None:
    raise AssertionError("nothing of these lies in a store")


def write_shard(folder: Path, number: int, episodes: int) -> Part:
    """A part as a shard leaves it, every one of the same motions; its video is a stand-in, which is never opened.

    The first one is made, the others are copies with other numbers in their lists.
    """
    first, ids = folder.with_name("0000"), range(number * episodes, (number + 1) * episodes)
    if folder == first:
        write_tables(folder, episodes)
    else:
        shutil.copytree(first, folder)
    row = json.loads((first / "row.json").read_text())
    rows, examined = [], []
    for group, episode in enumerate(ids):
        examined.append(
            Examined(
                task_id=1, episode_id=episode, verdict="accepted", instruction="Press the button.", frames=FRAMES,
                source_sha256=f"{episode:064x}",
            )
        )  # fmt: skip
        rows.append(row | {"source/task_id": 1, "source/episode_id": episode, "data/row_group": group})
    (folder / EXAMINED).write_text("".join(f"{e.model_dump_json()}\n" for e in examined))
    (folder / ROWS).write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return Part(folder)


def write_tables(folder: Path, episodes: int) -> None:
    """The parts of a shard that do not name its episodes, and a row about one of those."""
    rng = np.random.default_rng(0)
    columns = {c: np.cumsum(rng.normal(0, 0.01, (FRAMES, width(c))), axis=0).astype(np.float32) for c in COLUMNS}
    images = levels(rng.integers(0, 255, (8, 120, 160, 3), np.uint8))
    sketches: Sketches = {}
    with TableFiles(folder / "data") as data:
        for _ in range(episodes):
            data.add(table_of(columns))
            add(sketches, with_forms(columns, CONFIG.chunk))
    write_sketches(folder / SKETCHES, sketches, {})
    lerobot.write_json(folder / FACTS, {"head_color": {}})
    path = video_path(folder, IMAGES + "head_color", 0, 0)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")
    found = {name: lerobot.statistics(of_rows(values)) for name, values in columns.items()}
    found[IMAGES + "head_color"] = lerobot.statistics(of_levels(images, 8), image=True)
    row = flat_statistics(found) | {"levels": {"head_color": [8, images.tolist()]}}
    row |= {f"{tree}/{name}": 0 for tree in ("data", VIDEO) for name in ("chunk_index", "file_index")}
    row |= {f"{VIDEO}/from_timestamp": 0.0, f"{VIDEO}/to_timestamp": 10.0, "labels/scene": ""}
    row |= {"labels/start_frame": [0], "labels/end_frame": [FRAMES], "labels/action_text": ["press"]}
    lerobot.write_json(folder / "row.json", row | {"labels/skill": ["Press"]})


def width(column: str) -> int:
    return 14 if column.endswith("eef14") else 16


if __name__ == "__main__":
    seconds, peak = apart(int(sys.argv[1]), int(sys.argv[2]))
    print(f"{sys.argv[1]} shards of {sys.argv[2]}: {seconds:.1f} CPU seconds, {peak / 1e6:.0f} MB")
