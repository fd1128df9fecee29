"""The R-Zero stages of an iteration: challenger, questions, labels, solver; and the choice among iterations.

Importing this file is cheap: what needs torch or vLLM is imported when a stage really has to work.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping

from components.r_zero.config import (
    ChallengerStageConfig,
    LabelStageConfig,
    PoolStageConfig,
    SelectStageConfig,
    SolverStageConfig,
)
from components.store.api import Store
from components.store.errors import ConfigurationError
from components.store.stage import Workspace, run_stage
from components.training.config import TrainConfig
from data_contracts.base import Contract
from data_contracts.lineage import Metric, StageRecord

MADE_BY_TRAINING = ("losses.jsonl", "rollouts.jsonl")
SOURCES = ("components/r_zero", "components/language", "components/training", "data_contracts/r_zero.py",
           "data_contracts/rollouts.py")  # fmt: skip


def challenger(
    store: Store, config: ChallengerStageConfig, seed: int, iteration: str, model: StageRecord, solver: StageRecord
) -> StageRecord:
    """Train the challenger against the solver, which stays as it is."""

    def build(ws: Workspace) -> Mapping[str, Metric]:
        inputs = {"model": str(ws.fetch_tree("model")), "solver": str(ws.fetch_tree("solver"))}
        return _train("challenger", ws, config, config.train, seed, inputs)

    return run_stage(
        store=store, stage=f"r_zero.challenger-{iteration}", kind="models", name=config.name,
        inputs={"model": model, "solver": solver}, config=config, seed=seed, sources=SOURCES, build=build,
    )  # fmt: skip


def questions(store: Store, config: PoolStageConfig, seed: int, iteration: str, challenger: StageRecord) -> StageRecord:
    """Sample the challenger's questions and refuse what can't be asked, or repeats another."""

    def build(ws: Workspace) -> Mapping[str, Metric]:
        from components.r_zero.pool import write_questions

        found = write_questions(config, ws.fetch_tree("challenger"), seed, ws.scratch, ws.out)
        return {"asked": found.asked, "kept": found.kept, "clusters": found.clusters}

    return run_stage(
        store=store, stage=f"r_zero.questions-{iteration}", kind="datasets", name=config.name,
        inputs={"challenger": challenger}, config=config, seed=seed, sources=SOURCES, build=build,
    )  # fmt: skip


def labels(
    store: Store, config: LabelStageConfig, seed: int, iteration: str, solver: StageRecord, questions: StageRecord
) -> StageRecord:
    """Let the solver vote on every question; keep those that are neither too easy nor too hard for it."""

    def build(ws: Workspace) -> Mapping[str, Metric]:
        from components.r_zero.pool import label_questions

        found = label_questions(
            config, ws.fetch_tree("solver"), ws.fetch("questions", "questions.jsonl"), seed, ws.scratch, ws.out
        )
        metrics: dict[str, Metric] = {"asked": found.counts.asked, "kept": found.counts.kept, "known": found.kept.known}
        return metrics | ({"right": round(found.kept.right.value, 4)} if found.kept.right else {})

    return run_stage(
        store=store, stage=f"r_zero.labels-{iteration}", kind="datasets", name=config.name,
        inputs={"solver": solver, "questions": questions}, config=config, seed=seed, sources=SOURCES, build=build,
    )  # fmt: skip


def solver(
    store: Store, config: SolverStageConfig, seed: int, iteration: str, model: StageRecord, labels: StageRecord
) -> StageRecord:
    """Train the solver on its own majority's answers."""

    def build(ws: Workspace) -> Mapping[str, Metric]:
        inputs = {"model": str(ws.fetch_tree("model")), "labels": str(ws.fetch("labels", "labels.jsonl"))}
        return _train("solver", ws, config, config.train, seed, inputs)

    return run_stage(
        store=store, stage=f"r_zero.solver-{iteration}", kind="models", name=config.name,
        inputs={"model": model, "labels": labels}, config=config, seed=seed, sources=SOURCES, build=build,
    )  # fmt: skip


def select(
    store: Store,
    config: SelectStageConfig,
    seed: int,
    first: StageRecord,
    second: StageRecord,
    third: StageRecord,
    first_scores: StageRecord,
    second_scores: StageRecord,
    third_scores: StageRecord,
) -> StageRecord:
    """The best solver of the iterations, by their scores: a model of its own, with the reason beside it."""
    solvers = {"first": first, "second": second, "third": third}
    judged = {"first": first_scores, "second": second_scores, "third": third_scores}

    def build(ws: Workspace) -> Mapping[str, Metric]:
        from components.r_zero.select import select
        from data_contracts.scores import Scores

        read = {
            name: Scores.model_validate_json(ws.fetch(f"{name}_scores", "scores.json").read_bytes()) for name in judged
        }
        found = select(config, read, ws.out)
        best = found.iterations[found.best]
        if solvers[best.name].version != best.model:
            raise ConfigurationError(f"the scores of {best.name} are those of {best.model}; judge each solver itself")
        for file in ws.fetch_tree(best.name).iterdir():
            if file.is_file() and file.name not in MADE_BY_TRAINING:
                shutil.copyfile(file, ws.out / file.name)
        return {"best": best.name, "model": best.model, "score": round(best.score.value, 4)}

    return run_stage(
        store=store, stage="r_zero.select", kind="models", name=config.name,
        inputs=solvers | {f"{name}_scores": record for name, record in judged.items()}, config=config, seed=seed,
        sources=("components/r_zero/select.py", "data_contracts"), build=build,
    )  # fmt: skip


def _train(
    player: str, ws: Workspace, config: Contract, train: TrainConfig, seed: int, inputs: dict[str, str]
) -> Mapping[str, Metric]:
    from components.training.job import Job
    from components.training.launch import run_local

    job = Job(
        entry=f"components.r_zero.train:{player}", config=config.model_dump(mode="json"), train=train, seed=seed,
        inputs=inputs, out=str(ws.out), scratch=str(ws.scratch),
    )  # fmt: skip
    return run_local(job)
