"""A toy stage, called in this process or as a process of its own that a test can kill.

`python toy.py STORE LOG BEHAVIOUR`: builds, appending a line to LOG per build. Behaviours: `plain`, `slow` (0.5 s),
`hang-building` and `hang-uploading` (say so on stdout and wait to be killed).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from components.store.api import Store
from components.store.open import open_store
from components.store.stage import Workspace, run_stage
from data_contracts.base import Contract
from data_contracts.lineage import Metric, StageRecord

SOURCES = ("components/store/keys.py",)


class ToyConfig(Contract):
    size: int = 3
    rate: float = 0.5


def toy(
    store: Store,
    config: ToyConfig,
    seed: int,
    source: StageRecord | None = None,
    log: Path | None = None,
    behaviour: str = "plain",
    sources: tuple[str, ...] = SOURCES,
) -> StageRecord:
    def build(ws: Workspace) -> Mapping[str, Metric]:
        if log:
            with open(log, "a") as file:
                file.write("build\n")
        resumed = (ws.scratch / "step").exists()
        (ws.scratch / "step").write_text("7")
        (ws.out / "folder").mkdir()
        (ws.out / "folder" / "data.bin").write_bytes(bytes(config.size))
        (ws.out / "seed.txt").write_text(str(seed))
        if behaviour.startswith("random"):
            (ws.out / "noise.bin").write_bytes(os.urandom(16))
        if behaviour == "slow":
            time.sleep(0.5)
        if behaviour == "hang-building":
            (ws.out / "half.bin").write_bytes(b"half")
            _wait_to_be_killed()
        return {"resumed": resumed, "size": config.size}

    inputs = {"source": source} if source else {}
    if behaviour.endswith("hang-uploading"):
        store = _HangsBeforeRecord(store)
    return run_stage(
        store=store, stage="toy.stage", kind="models", name="toy", inputs=inputs, config=config, seed=seed,
        sources=sources, build=build,
    )  # fmt: skip


def _wait_to_be_killed() -> None:
    print("ready", flush=True)
    time.sleep(60)


class _HangsBeforeRecord:
    """The real store, which waits to be killed when the record is about to be written."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def create(self, key: str, data: bytes) -> object:
        if key.endswith("/record.json"):
            _wait_to_be_killed()
        return self._store.create(key, data)


if __name__ == "__main__":
    record = toy(open_store(sys.argv[1]), ToyConfig(), 0, log=Path(sys.argv[2]), behaviour=sys.argv[3])
    print(record.prefix, flush=True)
