"""What stands for R-Zero's players in the test of its control flow: what they score is what they are told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from components.store.api import Store
from components.store.stage import Workspace, run_stage
from data_contracts.base import Contract
from data_contracts.lineage import Metric, StageRecord
from data_contracts.scores import Scores, SetScores, Share


class ToyConfig(Contract):
    """What the base and each iteration score."""

    name: str = "toy"
    scores: tuple[float, ...]


class Made(NamedTuple):
    model: StageRecord
    scores: StageRecord


def play(store: Store, config: ToyConfig, seed: int, number: int) -> Made:
    """A model, and its scores."""

    def write(ws: Workspace) -> Mapping[str, Metric]:
        (ws.out / "weights.txt").write_text(str(number))
        return {}

    model = run_stage(
        store=store, stage=f"toy.solver-{number}", kind="models", name="toy-solver", inputs={}, config=config,
        seed=seed, sources=("data_contracts/base.py",), build=write,
    )  # fmt: skip

    def judge(ws: Workspace) -> Mapping[str, Metric]:
        share = Share(value=config.scores[number], low=0.0, high=1.0)
        found = SetScores(problems=1, samples=8, greedy=share, mean=share, pass_at={}, unboxed=0.0, cut=0.0, tokens=1.0)
        scores = Scores(model=model.version, sets={"test": found}, files={"test": "same"})
        (ws.out / "scores.json").write_text(scores.model_dump_json())
        return {}

    scores = run_stage(
        store=store, stage=f"toy.judge-{number}", kind="evaluations", name="toy-scores", inputs={"model": model},
        config=config, seed=seed, sources=("data_contracts/base.py",), build=judge,
    )  # fmt: skip
    return Made(model, scores)


def publish(store: Store, config: ToyConfig, seed: int, model: StageRecord) -> StageRecord:
    """What stands for the gate and what comes after it."""

    def build(ws: Workspace) -> Mapping[str, Metric]:
        (ws.out / "weights.txt").write_text(ws.fetch("model", "weights.txt").read_text())
        return {}

    return run_stage(
        store=store, stage="toy.publish", kind="models", name="toy", inputs={"model": model}, config=config, seed=seed,
        sources=("data_contracts/base.py",), build=build,
    )  # fmt: skip
