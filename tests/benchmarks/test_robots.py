"""Recording in simulation must outrun the clock, or a drop of hours takes days."""

from __future__ import annotations

from pathlib import Path

from data_contracts.embodiment import load_embodiment
from data_contracts.lineage import Metric

from .conftest import RECORDING, Table

LEAST_REALTIME_FACTOR = 1.5


def test_one_core_records_faster_than_real_time(drop: tuple[Path, dict[str, Metric]], table: Table) -> None:
    """Physics, three rendered 640x480 cameras and their encoders, in CPU seconds of one process."""
    cameras = [c for c in load_embodiment(RECORDING.embodiment).cameras if c.name in RECORDING.cameras]
    assert [(c.width, c.height) for c in cameras] == [(640, 480)] * 3
    _, metrics = drop
    factor, seconds = float(metrics["realtime_factor_per_core"]), float(metrics["seconds_of_data"])
    table("recorder, three 640x480 cameras", [
        ("episodes", f"{metrics['episodes']}"),
        ("seconds of data", f"{seconds:.1f} s"),
        ("CPU seconds", f"{seconds / factor:.1f} s"),
        ("real-time factor per core", f"{factor:.2f} x"),
    ])  # fmt: skip
    assert factor >= LEAST_REALTIME_FACTOR
