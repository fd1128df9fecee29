"""A stage whose output is there must be found, not made: a run of cached stages takes a moment."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

from components.store.api import Store
from components.store.stage import Workspace, run_stage
from data_contracts.base import Contract
from data_contracts.lineage import Metric, StageRecord

from .conftest import Race, Table

MOST_READS = 15.0
"""What finding a version may cost, in reads of its record."""


class Nothing(Contract):
    """A configuration without fields."""


def stage(store: Store, seed: int, source: StageRecord | None = None) -> StageRecord:
    def build(ws: Workspace) -> Mapping[str, Metric]:
        (ws.out / "seed.txt").write_text(f"{seed}")
        return {}

    return run_stage(
        store=store, stage="bench.stage", kind="models", name="bench", inputs={"source": source} if source else {},
        config=Nothing(), seed=seed, sources=("components/store/stage.py", "data_contracts/base.py"), build=build,
    )  # fmt: skip


def test_a_cached_stage_costs_a_few_reads(store: Store, table: Table, race: Race) -> None:
    source = stage(store, 0)
    key = f"{stage(store, 1, source).prefix}/record.json"
    build, cached, read = race(
        lambda: stage(store, uuid.uuid4().int >> 96, source),
        lambda: stage(store, 1, source),
        lambda: store.read(key),
        turns=30,
    )
    table(f"cached stage, {type(store).__name__}", [
        ("build and publish", f"{build * 1e3:.2f} ms"),
        ("find it published", f"{cached * 1e3:.2f} ms"),
        ("read one record", f"{read * 1e3:.2f} ms"),
        ("find / read", f"{cached / read:.1f}"),
    ])  # fmt: skip
    assert cached / read <= MOST_READS
