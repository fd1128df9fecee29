"""The R-Zero stages of an iteration: challenger, questions, labels, solver; and the choice among iterations.

Importing this file is cheap: what needs torch or vLLM is imported when a stage really has to work.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from typing import Literal

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
from data_contracts.scores import Scores

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
    store: Store,
    config: LabelStageConfig,
    seed: int,
    iteration: str,
    solver: StageRecord,
    questions: StageRecord,
    auditor: StageRecord | None = None,
) -> StageRecord:
    """Let the solver vote on every question; keep those that are neither too easy nor too hard for it. A judge audits
    them, if `auditor` holds one."""
    inputs = {"solver": solver, "questions": questions}
    if auditor is not None and any(o.path == "config.json" for o in auditor.objects):
        inputs["auditor"] = auditor

    def build(ws: Workspace) -> Mapping[str, Metric]:
        from components.r_zero.pool import label_questions

        found = label_questions(
            config, ws.fetch_tree("solver"), ws.fetch("questions", "questions.jsonl"), seed, ws.scratch, ws.out,
            ws.fetch_tree("auditor") if "auditor" in ws.inputs else None,
        )  # fmt: skip
        metrics: dict[str, Metric] = {"asked": found.counts.asked, "kept": found.counts.kept, "known": found.kept.known}
        if "auditor" in ws.inputs:
            metrics |= {"judged": found.kept.judged, "unparsable": found.kept.unparsable}
        return metrics | ({"right": round(found.kept.right.value, 4)} if found.kept.right else {})

    return run_stage(
        store=store, stage=f"r_zero.labels-{iteration}", kind="datasets", name=config.name,
        inputs=inputs, config=config, seed=seed, sources=SOURCES, build=build,
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


def decide(
    store: Store,
    config: SelectStageConfig,
    seed: int,
    base_scores: StageRecord,
    first_scores: StageRecord,
    second_scores: StageRecord | None = None,
    third_scores: StageRecord | None = None,
    fourth_scores: StageRecord | None = None,
) -> tuple[Literal["on", "stop"]]:
    """Whether another iteration is played after these. It publishes nothing: the scores say it all."""
    from components.r_zero.select import plays_on

    judged = (first_scores, second_scores, third_scores, fourth_scores)
    on, why = plays_on(config, _scores(store, base_scores), [_scores(store, r) for r in judged if r is not None])
    print(f"{'playing on' if on else 'the end'}: {why}", file=sys.stderr, flush=True)
    return ("on" if on else "stop",)


def select(
    store: Store,
    config: SelectStageConfig,
    seed: int,
    base_scores: StageRecord,
    first: StageRecord,
    first_scores: StageRecord,
    second: StageRecord | None = None,
    second_scores: StageRecord | None = None,
    third: StageRecord | None = None,
    third_scores: StageRecord | None = None,
    fourth: StageRecord | None = None,
    fourth_scores: StageRecord | None = None,
    fifth: StageRecord | None = None,
    fifth_scores: StageRecord | None = None,
) -> StageRecord:
    """The best solver of the iterations that were played, by their scores: a model of its own, with the reason beside
    it."""
    given = {"first": first, "second": second, "third": third, "fourth": fourth, "fifth": fifth}
    solvers = {name: record for name, record in given.items() if record is not None}
    every = (first_scores, second_scores, third_scores, fourth_scores, fifth_scores)
    judged = dict(zip(solvers, (record for record in every if record is not None), strict=True))

    def build(ws: Workspace) -> Mapping[str, Metric]:
        from components.r_zero.select import select

        found = select(
            config, _scores(store, base_scores), {name: _scores(store, record) for name, record in judged.items()},
            ws.out,
        )  # fmt: skip
        best = found.iterations[found.best]
        if solvers[best.name].version != best.model:
            raise ConfigurationError(f"the scores of {best.name} are those of {best.model}; judge each solver itself")
        for file in ws.fetch_tree(best.name).iterdir():
            if file.is_file() and file.name not in MADE_BY_TRAINING:
                shutil.copyfile(file, ws.out / file.name)
        metrics: dict[str, Metric] = {"best": best.name, "model": best.model, "score": round(best.score.value, 4)}
        return metrics | ({"stopped": found.stopped} if found.stopped else {})

    scores = {f"{name}_scores": record for name, record in judged.items()}
    return run_stage(
        store=store, stage="r_zero.select", kind="models", name=config.name,
        inputs={"base_scores": base_scores, **solvers, **scores}, config=config, seed=seed,
        sources=("components/r_zero/select.py", "data_contracts"), build=build,
    )  # fmt: skip


def _scores(store: Store, record: StageRecord) -> Scores:
    ref = record.object("scores.json")
    return Scores.model_validate_json(store.read(record.key_of(ref), ref.sha256))


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
