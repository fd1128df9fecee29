"""The stages that train: `base` from random weights, `train` with one loss (its stage bears the loss's name), `dpo`,
`online`, and `further` for a model that was trained otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from components.dft.config import BaseStageConfig, DpoConfig, FurtherStageConfig, OnlineConfig, TuneConfig
from components.dft.data_stages import (
    CHECKING_SOURCES,
    GENERATOR_SOURCES,
    SAMPLE_STAGE,
    SAMPLING_SOURCES,
    judged_sets,
    repeated,
)
from components.store.api import Store
from components.store.stage import Workspace, run_stage
from data_contracts.lineage import Metric, StageRecord

TRAINING_SOURCES = (
    "components/training",
    *(f"components/dft/{name}.py" for name in ("train", "head", "losses", "loss_config", "reading", "benchmarks")),
    *(f"components/language/{name}.py" for name in ("fused", "tokenise", "model", "tokenizer", "config")),
)  # fmt: skip


def base(store: Store, config: BaseStageConfig, seed: int, problems: StageRecord) -> StageRecord:
    """The embedded default model: an own tokenizer and a small network, pretrained on generated problems."""

    def build(ws: Workspace) -> Mapping[str, Metric]:
        from components.language import model, tokenizer

        folder = ws.scratch / "start"
        model.create(config.model, tokenizer.create(config.tokenizer, config.problems, seed, folder), seed, folder)
        return _tune(ws, config.tune, seed, folder, ws.fetch("problems", "base.jsonl"))

    return run_stage(
        store=store, stage="dft.base", kind="models", name=config.name, inputs={"problems": problems}, config=config,
        seed=seed, sources=(*TRAINING_SOURCES, *GENERATOR_SOURCES), build=build,
    )  # fmt: skip


def train(
    store: Store, config: TuneConfig, seed: int, model: StageRecord, chats: StageRecord, repetition: str = ""
) -> StageRecord:
    """Fine-tune a model on validated chats, or on its own right answers, with one loss: an arm of the comparison.

    `repetition` tells stages apart that differ in their seed alone, here and below.
    """
    setting = "offline-" if chats.stage.startswith(SAMPLE_STAGE) else ""

    def build(ws: Workspace) -> Mapping[str, Metric]:
        return _tune(ws, config, seed, ws.fetch_tree("model"), ws.fetch("chats", "accepted.jsonl"))

    return run_stage(
        store=store, stage=f"dft.{setting}{config.loss.variant}{repeated(repetition)}", kind="models",
        name=config.name, inputs={"model": model, "chats": chats}, config=config, seed=seed,
        sources=TRAINING_SOURCES, build=build,
    )  # fmt: skip


def further(
    store: Store, config: FurtherStageConfig, seed: int, model: StageRecord, problems: StageRecord
) -> StageRecord:
    """Fine-tune a model that was trained otherwise on the training chats of `problems` that pass their checks; it is
    handed on as it is where nothing is to be trained."""
    if config.tune is None:
        return model
    tune = config.tune

    def build(ws: Workspace) -> Mapping[str, Metric]:
        from components.dft.validate import validate_file

        folder, sets = ws.fetch_tree("model"), list(judged_sets(ws).values())
        checked = validate_file(config.checks, ws.fetch("problems", "train.jsonl"), sets, folder, ws.scratch)
        return {**checked, **_tune(ws, tune, seed, folder, ws.scratch / "accepted.jsonl")}

    return run_stage(
        store=store, stage=f"dft.further-{tune.loss.variant}", kind="models", name=config.name,
        inputs={"model": model, "problems": problems}, config=config, seed=seed, build=build,
        sources=(*TRAINING_SOURCES, *CHECKING_SOURCES),
    )  # fmt: skip


def dpo(
    store: Store, config: DpoConfig, seed: int, model: StageRecord, pairs: StageRecord, repetition: str = ""
) -> StageRecord:
    """Train a model to prefer its right answers to its wrong ones: the offline setting's rival."""

    def build(ws: Workspace) -> Mapping[str, Metric]:
        inputs = {"model": ws.fetch_tree("model"), "pairs": ws.fetch("pairs", "pairs.jsonl")}
        return _trained(ws, "components.dft.dpo:trainee", config, seed, inputs)

    return run_stage(
        store=store, stage=f"dft.dpo{repeated(repetition)}", kind="models", name=config.name,
        inputs={"model": model, "pairs": pairs}, config=config, seed=seed,
        sources=(*TRAINING_SOURCES, "components/dft/dpo.py"), build=build,
    )  # fmt: skip


def online(
    store: Store, config: OnlineConfig, seed: int, model: StageRecord, chats: StageRecord, repetition: str = ""
) -> StageRecord:
    """Train a model on what it answers as it learns, each answer graded: the online setting's rivals."""

    def build(ws: Workspace) -> Mapping[str, Metric]:
        inputs = {"model": ws.fetch_tree("model"), "chats": ws.fetch("chats", "accepted.jsonl")}
        return _trained(ws, "components.dft.online:trainee", config, seed, inputs)

    return run_stage(
        store=store, stage=f"dft.{config.method}{repeated(repetition)}", kind="models", name=config.name,
        inputs={"model": model, "chats": chats}, config=config, seed=seed,
        sources=("components/training", "components/dft/online.py", "components/dft/offline.py", *SAMPLING_SOURCES),
        build=build,
    )  # fmt: skip


def _tune(ws: Workspace, config: TuneConfig, seed: int, model: Path, chats: Path) -> Mapping[str, Metric]:
    return _trained(ws, "components.dft.train:trainee", config, seed, {"model": model, "chats": chats})


def _trained(
    ws: Workspace, entry: str, config: TuneConfig | DpoConfig | OnlineConfig, seed: int, inputs: Mapping[str, Path]
) -> Mapping[str, Metric]:
    from components.launcher.train import train
    from components.training.job import Job

    job = Job(
        entry=entry, config=config.model_dump(mode="json"), train=config.train, seed=seed,
        inputs={name: str(path) for name, path in inputs.items()}, out=str(ws.out), scratch=str(ws.scratch),
    )  # fmt: skip
    return train(ws, job)
