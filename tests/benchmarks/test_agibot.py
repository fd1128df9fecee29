"""An intake decodes every frame; what it does besides must cost little next to that."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import av

from components.agibot.drop import open_drop
from components.agibot.examine import Job, Settings, examine
from data_contracts.lineage import Metric

from .conftest import RECORDING, Table

T = TypeVar("T")
LEAST_SHARE_OF_DECODING_SPEED = 0.4


def test_intake_is_not_much_slower_than_decoding(drop: tuple[Path, dict[str, Metric]], table: Table) -> None:
    """All checks of an episode, against PyAV decoding the same videos and doing nothing with them; CPU seconds."""
    root, _ = drop
    settings = Settings(RECORDING.embodiment, RECORDING.cameras)
    jobs = [Job(source, settings) for source in open_drop(root).episodes.values()]
    videos = sorted(root.rglob("*.mp4"))
    examine(jobs[0])  # imports and tables are made once
    decoding, frames = cpu_seconds(lambda: sum(map(decode, videos)))
    checking, verdicts = cpu_seconds(lambda: [examine(job) for job in jobs])
    assert {v.verdict for v in verdicts} == {"accepted"}
    assert frames == sum(v.frames for v in verdicts) * len(RECORDING.cameras)
    table("intake of frames, one core", [
        ("frames", f"{frames}"),
        ("bare PyAV decode", f"{frames / decoding:.0f} /s"),
        ("examine an episode", f"{frames / checking:.0f} /s"),
        ("share of decoding speed", f"{decoding / checking:.2f}"),
    ])  # fmt: skip
    assert decoding / checking >= LEAST_SHARE_OF_DECODING_SPEED


def cpu_seconds(call: Callable[[], T]) -> tuple[float, T]:
    started = time.process_time()
    result = call()
    return time.process_time() - started, result


def decode(path: Path) -> int:
    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        return sum(1 for _ in container.decode(video=0))
