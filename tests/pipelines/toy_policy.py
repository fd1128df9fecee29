"""A training that is a toy, with the lineage of a policy: a model of a dataset, its codec, a gate, a version."""

from __future__ import annotations

from collections.abc import Mapping

from components.release import registry
from components.store.api import Store
from components.store.errors import OrreryError
from components.store.stage import Workspace, run_stage
from data_contracts.base import Contract
from data_contracts.lineage import Kind, Metric, StageRecord
from data_contracts.release import Decision


class TrainConfig(Contract):
    policy: str
    fail: bool = False


def train(store: Store, config: TrainConfig, seed: int, dataset: StageRecord, model: StageRecord | None) -> StageRecord:
    """A "policy" of a dataset, through a gate that passes, published and made the candidate."""
    inputs = {"dataset": dataset} | ({"video": model} if model is not None else {})
    made = _published(store, config, "ge_act.specialize", "models", f"{config.policy}-model", inputs)
    codec = _published(store, config, "ge_base.codec", "models", f"{config.policy}-codec", {"dataset": dataset})
    gate = _published(store, config, "release.gate", "evaluations", f"{config.policy}-gate", {"model": made})
    released = {"model": made, "codec": codec, "gate": gate}
    record = _published(store, config, "release.publish", "models", config.policy, released)
    registry.promote(store, config.policy, record.version, "candidate")
    return record


def _published(
    store: Store, config: TrainConfig, stage: str, kind: Kind, name: str, inputs: Mapping[str, StageRecord]
) -> StageRecord:
    def build(ws: Workspace) -> dict[str, Metric]:
        if config.fail:
            raise OrreryError("the toy broke; wind it up again")
        rule = {"name": "toy", "value": None, "threshold": None, "passed": True, "sentence": "It is a toy."}
        if stage == "release.gate":
            model = inputs["model"].as_input().model_dump()
            decision = {"policy": config.policy, "passed": True, "model": model, "rules": [rule]}
            (ws.out / "decision.json").write_text(Decision.model_validate(decision).model_dump_json())
        else:
            (ws.out / "text.txt").write_text(f"{stage} {sorted(inputs)}")
        return {}

    return run_stage(
        store=store, stage=stage, kind=kind, name=name, inputs=inputs, config=config, seed=0,
        sources=("data_contracts/base.py",), build=build,
    )  # fmt: skip
