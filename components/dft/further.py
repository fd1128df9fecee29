"""A model that goes on to learn from supervised data: what R-Zero's best solver may do (arXiv 2508.05004, Sec. 4)."""

from __future__ import annotations

from collections.abc import Mapping

from components.dft.config import FurtherStageConfig
from components.dft.stages import TRAINING_SOURCES, _sets, _tune
from components.store.api import Store
from components.store.stage import Workspace, run_stage
from data_contracts.lineage import Metric, StageRecord


def further(
    store: Store, config: FurtherStageConfig, seed: int, model: StageRecord, problems: StageRecord
) -> StageRecord:
    """The model fine-tuned on the training chats of `problems` that pass their checks, held-out problems among them.

    It is handed on as it is where nothing is to be trained.
    """
    if config.tune is None:
        return model
    wanted = config.tune

    def build(ws: Workspace) -> Mapping[str, Metric]:
        from components.dft.validate import validate_file

        folder = ws.fetch_tree("model")
        sets = list(_sets(ws).values())
        checked = validate_file(config.checks, ws.fetch("problems", "train.jsonl"), sets, folder, ws.scratch)
        return {**checked, **_tune(ws, wanted, seed, folder, ws.scratch / "accepted.jsonl")}

    return run_stage(
        store=store, stage=f"dft.further-{config.tune.loss.variant}", kind="models", name=config.name,
        inputs={"model": model, "problems": problems}, config=config, seed=seed, build=build,
        sources=(*TRAINING_SOURCES, "components/dft/further.py", "components/dft/validate.py",
                 "components/dft/checks.py", "data_contracts"),
    )  # fmt: skip
