"""The intake's stages. Importing this file is cheap: HDF5 and video libraries are imported when there is work."""

from __future__ import annotations

from collections.abc import Mapping

from components.agibot.config import AdoptConfig, IntakeConfig
from components.store.api import Store
from components.store.stage import Workspace, run_stage
from data_contracts.lineage import Metric, StageRecord

SOURCES = ("components/agibot", "data_contracts")


def adopt(store: Store, config: AdoptConfig, seed: int) -> StageRecord:
    """Take a raw drop that lies somewhere already into the store, as an immutable version.

    The version is named by what is there now: a drop that has grown since is another version.
    """
    from components.agibot.adopt import find_upload

    upload = find_upload(store, config)
    found = config.model_copy(update={"fingerprint": upload.fingerprint})

    def build(ws: Workspace) -> Mapping[str, Metric]:
        upload.lay_out(ws.out)
        return {"files": len(upload.files), "bytes": sum(f.ref.size for f in upload.files)}

    return run_stage(
        store=store, stage="agibot.adopt", kind="raw", name=config.name, inputs={}, config=found, seed=seed,
        sources=("components/agibot/adopt.py", "components/agibot/stages.py"), build=build,
    )  # fmt: skip


def intake(store: Store, config: IntakeConfig, seed: int, raw: StageRecord) -> StageRecord:
    """Validate a raw drop, quarantine what is bad, publish the rest as a dataset version."""

    def build(ws: Workspace) -> Mapping[str, Metric]:
        from components.agibot.intake import take_in

        return take_in(ws, config)

    return run_stage(
        store=store, stage="agibot.intake", kind="datasets", name=config.name, inputs={"raw": raw}, config=config,
        seed=seed, sources=SOURCES, build=build,
    )  # fmt: skip
