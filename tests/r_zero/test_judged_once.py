"""The best iteration was judged to be chosen: its copy is not judged again, and nothing else passes for a copy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from components.dft.config import EvaluateStageConfig
from components.dft.judging_stages import evaluate
from components.r_zero.config import SelectStageConfig
from components.r_zero.stages import select
from components.store.api import Store
from components.store.errors import ConfigurationError
from components.store.stage import Workspace, run_stage
from data_contracts.base import Contract
from data_contracts.lineage import Kind, Metric, StageRecord
from data_contracts.scores import Scores, SetScores, Share

CONFIG = EvaluateStageConfig(name="scores", samples=2, pass_at=(1,))


class Empty(Contract):
    """Of stages that stand for others."""


def made(
    store: Store, stage: str, kind: Kind, files: Mapping[str, str], config: Contract | None = None, seed: int = 0,
    **inputs: StageRecord,
) -> StageRecord:  # fmt: skip
    def build(ws: Workspace) -> Mapping[str, Metric]:
        for name, text in files.items():
            (ws.out / name).write_text(text)
        return {}

    return run_stage(
        store=store, stage=stage, kind=kind, name="x", inputs=inputs, config=config or Empty(), seed=seed,
        sources=("data_contracts/base.py",), build=build,
    )  # fmt: skip


def scored(store: Store, model: StageRecord, problems: StageRecord, value: float, **config: object) -> StageRecord:
    share = Share(value=value, low=0.0, high=1.0)
    found = SetScores(problems=1, samples=2, greedy=share, mean=share, pass_at={1: value}, unboxed=0, cut=0, tokens=1)
    scores = Scores(model=model.version, sets={"test": found}, files={"test": "same"})
    files = {"scores.json": scores.model_dump_json(), "test-samples.jsonl": f"samples of {model.version}"}
    asked = CONFIG.model_copy(update=config)
    return made(store, f"dft.evaluate-{model.stage}", "evaluations", files, asked, model=model, problems=problems)


@pytest.fixture
def no_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whoever wants to sample is told that vLLM is not there."""
    monkeypatch.setenv("ORRERY_ROLLOUT_PYTHON", str(tmp_path / "none"))


@pytest.fixture
def problems(folder_store: Store) -> StageRecord:
    return made(folder_store, "dft.problems", "datasets", {"test.jsonl": "{}\n"})


def best_of(store: Store, problems: StageRecord, **config: object) -> tuple[StageRecord, StageRecord]:
    """What is selected of two solvers, and the scores of that one."""
    base = scored(store, made(store, "dft.base", "models", {"config.json": "0"}), problems, 0.1)
    solvers = [
        made(store, f"r_zero.solver-{n}", "models", {"config.json": "{}", "model.safetensors": n, "losses.jsonl": n})
        for n in ("1", "2")
    ]
    scores = [scored(store, solver, problems, 0.4 - i / 10, **config) for i, solver in enumerate(solvers)]
    chosen = select(
        store, SelectStageConfig(name="best", iterations=2), 0, base_scores=base, first=solvers[0], second=solvers[1],
        first_scores=scores[0], second_scores=scores[1],
    )  # fmt: skip
    return chosen, scores[0]


@pytest.mark.usefixtures("no_engine")
def test_the_best_iteration_is_not_sampled_again(folder_store: Store, problems: StageRecord) -> None:
    """Breaks if every run paid for one evaluation more, or the gate met the scores of another iteration."""
    best, known = best_of(folder_store, problems)
    found = evaluate(folder_store, CONFIG, 0, best, problems)
    ref = found.object("scores.json")
    scores = Scores.model_validate(json.loads(folder_store.read(found.key_of(ref), ref.sha256)))
    assert (scores.model, scores.sets["test"].mean.value) == (best.version, 0.4)
    assert found.metrics["test_mean"] == 0.4
    samples, there = found.object("test-samples.jsonl"), known.object("test-samples.jsonl")
    assert (samples.sha256, found.key_of(samples)) == (there.sha256, known.key_of(there)), "not copied"


@pytest.mark.usefixtures("no_engine")
@pytest.mark.parametrize("other", ["settings", "seed", "problems", "weights"])
def test_what_was_judged_otherwise_is_judged_again(other: str, folder_store: Store, problems: StageRecord) -> None:
    """Breaks if the gate compared scores of other problems, of fewer samples, or of other weights."""
    best, _ = best_of(folder_store, problems, **({"max_tokens": 7} if other == "settings" else {}))
    asked = made(folder_store, "dft.problems", "datasets", {"test.jsonl": "[]"}, seed=1)
    if other == "weights":
        weights = {"config.json": "{}", "model.safetensors": "changed"}
        inputs = {"scores": best_of(folder_store, problems)[1]}
        best = made(folder_store, "r_zero.select", "models", weights, **inputs)
    with pytest.raises(ConfigurationError):  # it went on to the model, which is none
        evaluate(folder_store, CONFIG, 1 if other == "seed" else 0, best, asked if other == "problems" else problems)
