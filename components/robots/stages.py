"""The recorder as a stage. Importing this file is cheap: MuJoCo is imported when there is something to record."""

from __future__ import annotations

from collections.abc import Mapping

from components.robots.config import RecordConfig
from components.store.api import Store
from components.store.stage import Workspace, run_stage
from data_contracts.lineage import Metric, StageRecord

SOURCES = ("components/robots", "data_contracts/embodiment.py", "data_contracts/embodiments")


def record(store: Store, config: RecordConfig, seed: int) -> StageRecord:
    """Record a drop of episodes in the AgiBot-World raw layout."""

    def build(ws: Workspace) -> Mapping[str, Metric]:
        from components.robots.record import completed, record_drop
        from components.telemetry.progress import progress

        done = completed(config, seed, ws.scratch)
        with progress(config.total, "recording", "episodes", initial=done) as bar:
            return record_drop(config, seed, ws.out, ws.scratch, advance=bar.advance)

    return run_stage(
        store=store, stage="robots.record", kind="raw", name=config.name, inputs={}, config=config, seed=seed,
        sources=SOURCES, build=build,
    )  # fmt: skip
