"""An intake decodes every frame; what it does besides must cost little next to that. CPU seconds, the best of turns.

Episodes are as long as AgiBot-World's (its sample has 2,418 frames): recorded packets again and again. The videos are
the recorder's own, which decode faster than any camera's: what is compared with that is at its worst.
"""

from __future__ import annotations

import multiprocessing
import resource
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import av
import pytest

from components.agibot.config import IntakeConfig
from components.agibot.drop import open_drop
from components.agibot.examine import Job, examine
from components.agibot.part import write_part
from components.agibot.validate import make_settings
from components.robots.config import RecordConfig, TaskPlan
from components.robots.raw_layout import EpisodeFiles
from data_contracts.embodiment import load_embodiment
from data_contracts.lineage import Metric
from data_contracts.profile import Profile

from . import naive_port
from .conftest import RECORDING, Table
from .long_drop import stretch

FRAMES, SHORTER, TURNS = 2400, 600, 4
LEAST_SHARE_OF_DECODING_SPEED = 0.7
LEAST_SPEED_UP_OF_SAMPLING = 10.0
LEAST_SPEED_UP_OVER_A_PORT = 5.0
VIEWS = RECORDING.cameras
LONGEST, MOST_BYTES = 10_000, 1.5 * (1 << 30)
BACK = ("back_left_fisheye", "back_right_fisheye")


def test_full_and_sampled_against_bare_decoding(
    drop: tuple[Path, dict[str, Metric]], tmp_path: Path, table: Table
) -> None:
    """All checks of an episode, against PyAV decoding the same videos, with one thread too, and nothing else."""
    frames = stretch(drop[0], tmp_path / "long", FRAMES)
    videos = sorted(p for p in tmp_path.rglob("*.mp4") if p.stem in VIEWS)
    bare, full, sampled = least(
        lambda: [decode(video) for video in videos],
        lambda: examined(tmp_path / "long", "full"),
        lambda: examined(tmp_path / "long", "sampled"),
    )
    total = frames * len(videos)
    table(f"examination of an episode of {frames} frames and {len(videos)} cameras, one core", [
        ("bare PyAV decode", f"{total / bare:.0f} frames/s"), ("full", f"{total / full:.0f} frames/s"),
        ("sampled", f"{total / sampled:.0f} frames/s"), ("full: share of decoding speed", f"{bare / full:.2f}"),
        ("sampled: times faster than full", f"{full / sampled:.1f}"),
    ])  # fmt: skip
    assert bare / full >= LEAST_SHARE_OF_DECODING_SPEED
    assert full / sampled >= LEAST_SPEED_UP_OF_SAMPLING


def test_a_port_that_opens_each_file_per_check(
    drop: tuple[Path, dict[str, Metric]], tmp_path: Path, table: Table
) -> None:
    frames = stretch(drop[0], tmp_path / "long", SHORTER)
    (source,) = open_drop(tmp_path / "long").episodes.values()
    files = EpisodeFiles(tmp_path / "long", *source.key)
    passed = naive_port.validate(files, VIEWS)
    assert {name for name, good in passed.items() if not good} <= {"not_frozen", "hands_not_swapped"}, "an arm rests"
    full, port = least(
        lambda: examined(tmp_path / "long", "full"), lambda: naive_port.validate(files, VIEWS), turns=2
    )  # fmt: skip
    table(f"against a port with one pass per check, an episode of {frames} frames", [
        ("full", f"{60 / full:.1f} episodes/min"), ("port", f"{60 / port:.1f} episodes/min"),
        ("times faster", f"{port / full:.1f}"),
    ])  # fmt: skip
    assert port / full >= LEAST_SPEED_UP_OVER_A_PORT


def test_the_memory_of_a_long_episode_of_eight_cameras(tmp_path_factory: pytest.TempPathFactory, table: Table) -> None:
    """Examined and made ready for publishing, in a process of its own."""
    from components.robots.record import record_drop

    folder = tmp_path_factory.mktemp("eight")
    config = RecordConfig(name="eight", tasks=(TaskPlan(task="press"),), episodes=1, fisheyes=True)
    record_drop(config, 3, folder / "short", folder / "scratch", workers=1)
    for name in BACK:
        add_camera(folder / "short", "head_left_fisheye", name)
    frames = stretch(folder / "short", folder / "long", LONGEST)
    cameras = tuple(sorted(p.stem for p in (folder / "long").rglob("*.mp4")))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        after_import, after_examining, peak = pool.apply(one_shard, (folder, cameras))
    table(f"memory of a shard: one episode of {frames} frames and {len(cameras)} cameras", [
        ("after imports", f"{after_import / 1e6:.0f} MB"), ("peak of examining", f"{after_examining / 1e6:.0f} MB"),
        ("peak, made ready for publishing", f"{peak / 1e6:.0f} MB"),
    ])  # fmt: skip
    assert (frames >= LONGEST, len(cameras)) == (True, 8)
    assert peak <= MOST_BYTES


def add_camera(drop: Path, like: str, name: str) -> None:
    """AgiBot-World has two more fisheyes than the simulated robot: they get a copy of one's files."""
    for path in [*drop.rglob(f"{like}_color.mp4"), *drop.rglob(f"{like}_*_params*.json")]:
        shutil.copyfile(path, path.with_name(path.name.replace(like, name)))


def with_back_cameras() -> Profile:
    cameras = [c.model_dump(mode="json") for c in load_embodiment("agibot_g1").cameras]
    cameras += [{**cameras[-1], "name": f"{name}_color"} for name in BACK]
    return Profile.model_validate({"robots": {"agibot_g1": {"changes": {"cameras": cameras}}}})


def one_shard(folder: Path, cameras: tuple[str, ...]) -> tuple[int, int, int]:
    """Peak bytes of this process: after imports, after examining, after writing the shard's part."""
    config, work = IntakeConfig(name="eight", cameras=cameras, profile=with_back_cameras()), folder / "work"
    work.mkdir()
    settings = make_settings(config.embodiment, cameras, True, True, config.profile)
    drop, before = open_drop(folder / "long"), peak_bytes()
    found = [examine(Job(source, settings, str(work))) for source in drop.episodes.values()]
    assert [e.verdict for e in found] == ["accepted"], found[0].findings
    examining = peak_bytes()
    write_part(folder / "part", config, work, drop.episodes, found)
    return before, examining, peak_bytes()


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def examined(drop: Path, decode: Literal["full", "sampled"]) -> None:
    settings = replace(make_settings(RECORDING.embodiment, VIEWS, True, True, "simulation"), decode=decode)
    for source in open_drop(drop).episodes.values():
        assert examine(Job(source, settings)).verdict == "accepted"


def least(*calls: Callable[[], object], turns: int = TURNS) -> list[float]:
    """The least CPU seconds of each call; they take turns."""
    best = [float("inf")] * len(calls)
    for _ in range(turns):
        for number, call in enumerate(calls):
            started = time.process_time()
            call()
            best[number] = min(best[number], time.process_time() - started)
    return best


def decode(path: Path) -> int:
    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        return sum(1 for _ in container.decode(video=0))
